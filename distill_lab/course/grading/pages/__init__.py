"""The pages: a student's feedback, and the class."""
