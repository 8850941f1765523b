"""What was found, and the files that say so."""
