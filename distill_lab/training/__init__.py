"""A student's training, and what it needs of the teacher."""
