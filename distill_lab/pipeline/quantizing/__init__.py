"""Quantization: a model that has learnt a task in fewer bits, in many ways, and what each costs."""
