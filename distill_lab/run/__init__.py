"""A run: its records, settings, folder and processes."""
