"""Quantization: the weights of a causal LM as whole numbers, what that costs, and what it saves."""
