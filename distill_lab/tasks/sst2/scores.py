"""Scores of label logits (n, 2): the column is the label, 0 negative and 1 positive.

What is told with an interval is one number a review, so that the reader can resample reviews. The
label predicted is positive where its logit is the greater one; of equal logits it is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_lab.run.records import LabError

Numbers = NDArray[np.float64]


def accuracy(label_logits: Any, labels: Sequence[int]) -> list[float]:
    """Of each review 100 where the label predicted is its own, else 0."""
    right = (_margins(label_logits, len(labels)) > 0) == (np.asarray(labels) == 1)
    return (100.0 * right).tolist()


def label_nll(label_logits: Any, labels: Sequence[int]) -> list[float]:
    """Of each review the negative log-likelihood of its label, in nats, with the two label words as
    all there is: log(1 + exp(other logit - own logit)). A coin's is ln 2 = 0.693."""
    own = _margins(label_logits, len(labels)) * np.where(np.asarray(labels) == 1, 1, -1)
    return np.logaddexp(0, -own).tolist()


def share_positive(label_logits: Any) -> list[float]:
    """Of each review 100 where the label predicted is positive, else 0: a mean of 0 or 100 tells of
    a model that says the same whatever it reads."""
    return (100.0 * (_margins(label_logits) > 0)).tolist()


def agreement(label_logits: Any, other_logits: Any) -> list[float]:
    """Of each review 100 where two models predict the same label, right or wrong, else 0."""
    ours = _margins(label_logits)
    return (100.0 * ((ours > 0) == (_margins(other_logits, len(ours)) > 0))).tolist()


def auc(label_logits: Any, labels: Sequence[int]) -> float:
    """Area under the ROC curve, 0 to 100: of all pairs of a positive and a negative review the
    share in which the positive one has the greater margin; equal ones count half (Mann, Whitney).

    Unlike accuracy it does not depend on where the threshold lies. LabError without both labels.
    """
    margins = _margins(label_logits, len(labels))
    is_positive = np.asarray(labels) == 1
    n_positive = int(is_positive.sum())
    n_negative = len(labels) - n_positive
    if not n_positive or not n_negative:
        raise LabError(
            f"AUC: expected reviews of both labels, found {n_positive} positive and {n_negative} "
            "negative ones. Score more reviews."
        )
    # the ranks of the positives, less the pairs among themselves, count the negatives below each
    below = _ranks(margins)[is_positive].sum() - n_positive * (n_positive + 1) / 2
    return float(100 * below / (n_positive * n_negative))


def _margins(label_logits: Any, n: int | None = None) -> Numbers:
    """The logit of positive less that of negative, (n,)."""
    logits = np.asarray(label_logits, dtype=np.float64)  # (n, 2)
    assert logits.ndim == 2, f"one row a review, found the shape {logits.shape}"
    assert logits.shape[1] == 2, f"one column a label, found the shape {logits.shape}"
    assert n is None or len(logits) == n, f"expected {n} rows of logits, found {len(logits)}"
    return logits[:, 1] - logits[:, 0]


def _ranks(values: Numbers) -> Numbers:
    """The rank of each value from 1 on, (n,); equal ones share the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)  # the rank of each group's last member
    return (last - (sizes - 1) / 2)[group]
