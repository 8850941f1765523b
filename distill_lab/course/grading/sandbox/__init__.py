"""The kernel that runs a student's code, apart from the checks, and what it may not do."""
