"""SQuAD's scores, as exercises import them."""

from distill_lab.tasks.squad.scores import em, f1, normalize_answer

__all__ = ["em", "f1", "normalize_answer"]
