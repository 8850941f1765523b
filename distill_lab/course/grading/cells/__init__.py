"""A notebook's cells: read, sorted, looked through, and put together to be graded."""
