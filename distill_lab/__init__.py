"""Reasoning distillation on SQuAD, as in DeepSeek-R1 section 2.4.

Importing this loads neither torch nor transformers.
"""

import os

__version__ = "0.1.0"

# How long threads of OpenMP (libgomp) spin before they sleep; it is read as torch is loaded. By
# default they spin so long that training beside one busy program (a browser, another submission)
# takes about three times as long; `python -m benchmarks busy` compares. The user's choice stands.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
