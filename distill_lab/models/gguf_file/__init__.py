"""A causal LM as one GGUF file, in pure Python: what llama.cpp and transformers read."""
