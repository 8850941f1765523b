"""One submission's session: started, watched, and judged check by check."""
