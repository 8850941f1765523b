"""Grids of runs by seeds: what a study asks, its cells, what they share, and what it finds."""
