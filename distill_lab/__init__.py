"""Reasoning distillation on SQuAD, as in DeepSeek-R1 section 2.4.

Importing this loads neither torch nor transformers.
"""

__version__ = "0.1.0"
