"""What runs a student's code, and what it may not do."""
