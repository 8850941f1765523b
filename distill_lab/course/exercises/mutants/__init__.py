"""Wrong answers, with the points that each must lose."""
