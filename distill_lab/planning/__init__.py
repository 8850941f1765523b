"""What a machine can run, and how much memory and time a run will take."""
