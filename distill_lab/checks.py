"""What notebooks import to have answers checked: `check`, `hint`, `solution`, `or_ours`,
`before_submitting`, and for Lab 5c its `museum`.
"""

from types import ModuleType

from distill_lab.course.exercises import before_submitting, check, hint, or_ours, solution

__all__ = ["before_submitting", "check", "hint", "or_ours", "solution"]


def __getattr__(name: str) -> ModuleType:
    """The museum loads torch, which other labs' kernels do without."""
    if name != "museum":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill_lab.course.exercises.lab5c import museum

    return museum
