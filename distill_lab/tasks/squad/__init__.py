"""SQuAD: questions, files, and the official scores."""
