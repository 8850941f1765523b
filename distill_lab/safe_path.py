"""No module comes from the folder that a program was started in: grading is often started among
the files that students handed in, and a `psutil.py` among them would be imported for the real one.

Python's own `-P` does the same from 3.11 on. Nothing is imported here, not even `__future__`, but
what Python has loaded before it runs any program.
"""

import os
import sys

# As `-m` does, without the folder it was started in: this package's, then what its module needs.
_RUN = (
    "import sys; sys.path[0] = sys.argv.pop(1); import distill_lab; "
    "sys.path.append(sys.path.pop(0)); import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def keep() -> None:
    """Takes the folder that this process was started in, and all that is relative to it, out of
    `sys.path`. This package's own, where it is that one, goes to the end: it hides no module."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it is gone, and holds no module
        here = ""
    absolute = [entry for entry in sys.path if os.path.isabs(entry)]
    sys.path[:] = [entry for entry in absolute if os.path.realpath(entry) != here]
    if _ROOT not in sys.path:
        sys.path.append(_ROOT)


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as `python -m` does, but for the folder it is started in."""
    return [sys.executable, "-c", _RUN, _ROOT, module, *arguments]
