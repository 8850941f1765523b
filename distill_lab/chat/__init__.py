"""A reader's own questions: in a terminal, piped, or in a notebook."""
