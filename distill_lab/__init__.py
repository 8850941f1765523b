"""Reasoning distillation on SQuAD, as in DeepSeek-R1 section 2.4.

Importing this loads neither torch nor transformers.
"""

import os

__version__ = "0.1.0"

# Threads of OpenMP that wait sleep instead of spinning, so that training beside one busy program (a
# browser, another submission) takes a little longer and not many times as long; read as torch is
# loaded. `python -m benchmarks busy` shows both. A choice of the user's own stands.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
