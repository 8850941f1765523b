"""N samples a prompt."""
