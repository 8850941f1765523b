"""What exercises import of SQuAD's scores: `em` and `f1` (0 to 100), and `normalize_answer`."""

from distill_lab.tasks.squad.scores import em, f1, normalize_answer

__all__ = ["em", "f1", "normalize_answer"]
