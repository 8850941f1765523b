"""What models make of the held-out reviews or questions, and the texts that they learn from."""
