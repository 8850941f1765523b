"""Tables, pictures and pages, and the paper's numbers."""
