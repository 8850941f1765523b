"""Sampling N completions for each prompt: our sampler, or vLLM."""
