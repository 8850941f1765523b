"""What a class handed in: found, unpacked, and told whose it is."""
