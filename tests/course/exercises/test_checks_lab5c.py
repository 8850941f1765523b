"""Lab 5c's exercises: the reference is right, a stub is not attempted, each wrong answer loses
exactly its steps and reads what is wrong; and the museum's bugs each fail one test."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab5c import completion_labels
from distill_lab.course.exercises.lab5c.kd_loss import kd_loss
from distill_lab.course.exercises.lab5c.mend import MEND
from distill_lab.course.exercises.lab5c.museum import (
    EXHIBITS,
    SIGNS,
    TESTS,
    finding,
    matrix,
    mended,
    right,
    visit,
)
from distill_lab.losses.distillation import IGNORED, Head, Objective, completion_states, plain_loss

SEEDS = range(5)


def test_labels_are_those_that_training_takes():
    """The hidden states that are picked out for a row are those under its labels."""
    ids, mask = [5, 6, 7, 1, 2, 9, 9, 9], [1, 1, 1, 1, 1, 1, 0, 0]
    labels = completion_labels(ids, 3, 9, mask)
    unshifted = torch.tensor([[IGNORED, IGNORED, IGNORED, 1, 2, 9, IGNORED, IGNORED]])
    places = torch.arange(8).expand(1, 8)[..., None]  # (B, T, 1)
    states, targets = completion_states(places, unshifted)
    assert [i for i, label in enumerate(labels) if label != IGNORED] == states[:, 0].tolist()
    assert [label for label in labels if label != IGNORED] == targets.tolist()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_formula(alpha):
    draw = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 4, 7, generator=draw).double().unbind()
    targets = torch.tensor([0, 6, 3, 3])
    p, q = (torch.softmax(z / 2, -1) for z in (teacher, student))
    ce = -student.log_softmax(-1)[range(4), targets].mean()
    exact = (1 - alpha) * ce + alpha * 4 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(kd_loss(student, teacher, targets, alpha, 2.0), exact.float())


# --- the museum -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", EXHIBITS)
def test_a_bug_fails_one_test_of_five(bug):
    """Four of five pass: so it could be published."""
    assert sum(finding(test, EXHIBITS[bug]) is not None for test in TESTS) == 1
    assert bug in SIGNS


@pytest.mark.parametrize("test", TESTS)
def test_the_right_loss_passes_and_one_bug_does_not(test):
    assert finding(test, right) is None
    assert sum(finding(test, kd) is not None for kd in EXHIBITS.values()) == 1


def test_the_right_loss_is_the_package_own():
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 6, generator=draw)[:, :2].unbind()
    labels = torch.randint(0, 6, (2, 5), generator=draw)
    labels[:, :2] = IGNORED
    states, targets = completion_states(student, labels)
    theirs, _ = completion_states(teacher, labels)
    from distill_lab.losses.distillation import DenseTeacher

    head = Head(torch.eye(6))
    whole = plain_loss(states, head, targets, Objective(1.0, 3.0), DenseTeacher(theirs, head), 11)
    torch.testing.assert_close(right(student, teacher, labels, 3.0, 11), whole.total)


def test_the_matrix_is_a_row_a_bug():
    rows = matrix()
    assert [row[0] for row in rows] == list(EXHIBITS)
    assert [row[1:].count("caught") for row in rows] == [1] * 5


def test_an_exhibit_is_shown_as_it_can_be_mended(capsys):
    visit("accumulation")
    shown = capsys.readouterr().out.splitlines()
    assert "noqa" not in "".join(shown)
    assert shown[7] == "  7      return temperature**2 * kl.mean()"
    kd = mended("accumulation", 7, "return temperature**2 * kl.sum() / n_items")
    assert all(finding(test, kd) is None for test in TESTS)


def test_a_line_may_become_several():
    kd = mended("accumulation", 7, "total = kl.sum()\nreturn temperature**2 * total / n_items")
    assert finding("micro-batches", kd) is None


# --- what the museum says -------------------------------------------------------------------------


def test_there_is_one_hint_an_exhibit_in_their_order():
    assert [hint.partition(":")[0] for hint in MEND.hints] == list(EXHIBITS)


@pytest.mark.parametrize(
    "line",
    [
        "counts = labels[:, 1:] != IGNORED",
        "counts = labels[0, :2]",
        "counts = labels.flatten()[:3]",
    ],
)
def test_a_line_of_another_shape_is_told_so_in_words(line):
    said = str(judge(MEND, lambda bug: ("positions", 6, line)).wrong[3])
    assert "RuntimeError" not in said
    assert "another shape than the lines below it take" in said
    assert 'hint("lab5c.mend", 4)' in said
