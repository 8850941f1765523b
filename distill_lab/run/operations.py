"""A budget, and the operations that it stands for.

They are counted as is usual (Kaplan et al. 2020, arXiv 2001.08361): 2 N for a token that goes
forward through N parameters, 6 N for one that is trained on. With LoRA it is a little less.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens that the teacher wrote, and those that it read for it or to be learnt from; the same
    of the student's own sampling; tokens on which it was trained; floating-point operations of all
    these; and seconds of sampling and training."""

    teacher_wrote: int = 0
    teacher_read: int = 0
    student_wrote: int = 0
    student_read: int = 0
    trained: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def plus(self, other: Budget) -> Budget:
        """Both together."""
        return Budget(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Budget)))

    @property
    def values(self) -> dict[str, float]:
        """Its numbers by name."""
        return asdict(self)


def operations(budget: Budget, teacher: int, student: int) -> float:
    """Floating-point operations of a budget's tokens, for models of so many parameters."""
    of_teacher = 2 * teacher * (budget.teacher_wrote + budget.teacher_read)
    of_student = 2 * student * (budget.student_wrote + budget.student_read)
    return of_teacher + of_student + 6 * student * budget.trained
