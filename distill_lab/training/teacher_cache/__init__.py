"""The teacher is run once; what training needs of it lies on the disk."""
