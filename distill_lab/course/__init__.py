"""The course: what notebooks call, exercises, grading, and what builds the notebooks."""
