"""The objective: to be read, and the same fast."""
