"""The labs' own pictures."""
