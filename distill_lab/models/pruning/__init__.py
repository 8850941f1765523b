"""Pruning: which weights, neurons or blocks of a causal LM go, and what that leaves on disk."""
