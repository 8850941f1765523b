"""What a run of quantization found: numbers, pictures, words."""
