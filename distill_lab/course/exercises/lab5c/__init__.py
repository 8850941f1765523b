"""Lab 5c, student training: its three exercises. Here that on the labels; the loss is in
`kd_loss`, the bug museum in `museum` and `mend`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.lab5c.kd_loss import KD_LOSS
from distill_lab.course.exercises.lab5c.mend import MEND
from distill_lab.course.exercises.result_types import WHOLE_NUMBERS, listed
from distill_lab.losses import distillation
from distill_lab.losses.distillation import IGNORED


def completion_labels(
    ids: Sequence[int], prompt_length: int, pad_id: int, attention_mask: Sequence[int]
) -> list[int]:
    """At each position of a row the token that is to be predicted there, and -100 where that is
    none of the completion. `pad_id` tells nothing: the end token may have the same id."""
    position = torch.arange(len(ids))
    in_completion = torch.tensor(attention_mask).bool() & (position >= prompt_length)  # (T)
    labels = distillation.completion_labels(torch.tensor(ids), in_completion)
    return [*labels[1:].tolist(), IGNORED]  # position i is scored against token i + 1


Row = tuple[list[int], int, int, list[int]]  # the arguments of completion_labels


def _row(prompt: list[int], completion: list[int], padding: int, pad_id: int) -> Row:
    ids = [*prompt, *completion]
    mask = [1] * len(ids) + [0] * padding
    return [*ids, *[pad_id] * padding], len(prompt), pad_id, mask


_NOT_SHIFTED = "Not shifted: position i holds the token at i, which the model has just read; it is "
_NOT_SHIFTED += "to predict the one at i + 1."
_WRONG_WAY = "Shifted the wrong way: position i holds the token at i - 1."
_SHORT = "One too short: the last position has nothing to predict, and its label is -100."
_LATE = "Shifted after masking: the first completion token is lost. It is predicted from the last "
_LATE += "position of the prompt."


_CUT = "This row was cut and has no end token, and a token of padding was taken for it: how long "
_CUT += "the row is, attention_mask says."


def _labelled(function: Function, row: Row) -> None:
    """Holds one row against ours."""
    expect(function, row, completion_labels(*row), _instead(row))


def _instead(row: Row) -> dict[str, Any]:
    """What is often written for a row's labels."""
    ids, begin, pad_id, mask = row
    end = sum(mask)

    def learnt(first: int, last: int) -> list[int]:
        """The labels where the tokens from `first` to before `last` are the completion."""
        tokens = [t if first <= position < last else IGNORED for position, t in enumerate(ids)]
        return [*tokens[1:], IGNORED]

    right = learnt(begin, end)
    cut = mask[-1] == 0 and 9 not in ids[begin:end]
    return {
        "There is no ids[i + 1] at the last position: its label is -100.": IndexError,
        _NOT_SHIFTED: [IGNORED, *right[:-1]],
        _WRONG_WAY: [IGNORED, IGNORED, *right[:-2]],
        _SHORT: right[:-1],
        "One too long: as many labels as ids.": [*right, IGNORED],
        "That is the mask, True and False: the tokens are asked for, and -100 where it is False.":
            [label != IGNORED for label in right],
        "Labels of the completion alone: as many labels as ids, -100 where nothing is learnt.":
            [label for label in right if label != IGNORED],
        _LATE: learnt(begin + 1, end + 1),
        "The prompt counts: the student would learn to write the question.": learnt(1, end),
        "The last token of the prompt counts: the completion begins at prompt_length.":
            learnt(begin - 1, end),
        "The padding counts: what stands after the end token is no completion.":
            learnt(begin, len(ids)),
        "The end token is lost: the padding has the same id here. Take the padding from "
        "attention_mask, never from ids.": [IGNORED if t == pad_id else t for t in right],
        "The last token of the completion is lost: it is learnt as well.": learnt(begin, end - 1),
        **({_CUT: learnt(begin, end + 1)} if cut else {}),
    }  # fmt: skip


def _tokens(rng: random.Random, low: int, high: int) -> list[int]:
    return [rng.randint(10, 99) for _ in range(rng.randint(low, high))]


def _shift(function: Function, rng: random.Random) -> None:
    _labelled(function, _row([5], [1, 2, 9], 0, 0))
    _labelled(function, _row([5], _tokens(rng, 3, 6), 0, 0))


def _prompt_masked(function: Function, rng: random.Random) -> None:
    _labelled(function, _row([5, 6, 7], [1, 2, 9], 0, 0))
    _labelled(function, _row(_tokens(rng, 3, 5), [*_tokens(rng, 2, 4), 9], 0, 0))


def _padding(function: Function, rng: random.Random) -> None:
    _labelled(function, _row([5], [1, 2, 9], 2, 0))
    _labelled(function, _row([5], [*_tokens(rng, 2, 4), 9], rng.randint(2, 4), 0))


def _pad_is_end(function: Function, rng: random.Random) -> None:
    _labelled(function, _row([5], [1, 2, 9], 0, 9))
    _labelled(function, _row([5], [*_tokens(rng, 2, 4), 9], rng.randint(1, 3), 9))
    _labelled(function, _row([5], _tokens(rng, 2, 4), 2, 9))  # cut: it has no end token


def _of_longer(function: Function) -> Function:
    """The labels of a row with two more of padding, which are moved up by two."""

    def moved(ids: list[int], n: int, pad_id: int, mask: list[int]) -> list[Any]:
        return listed(function([*ids, pad_id, pad_id], n, pad_id, [*mask, 0, 0]))[2:]

    return moved


def _ignored(labels: list[Any]) -> list[Any]:
    """With -100 for what stands at the last position, which predicts nothing."""
    return [IGNORED if label == labels[-1] else label for label in labels]


_SHIFTED = "each position holds the token after it"
_PROMPT = "the prompt is not learnt"
COMPLETION_LABELS = Exercise(
    "lab5c",
    "completion_labels",
    completion_labels,
    (
        Step(_SHIFTED, 1, _shift),
        Step(_PROMPT, 1, _prompt_masked),
        Step("the padding is not learnt", 1, _padding),
        Step("the end token is learnt, though the padding has its id", 1, _pad_is_end),
    ),
    (
        "Write the row down, and under each token the one that comes after it: that is what the "
        "model must say there.",
        "The label at i is ids[i + 1] where i + 1 is at or after prompt_length and "
        "attention_mask[i + 1] is 1.",
        "Nothing comes after the last position: its label is -100. pad_id is not needed at all.",
    ),
    WHOLE_NUMBERS,
    (
        Slip(_NOT_SHIFTED, _SHIFTED, on_results(lambda labels: [*listed(labels)[1:], IGNORED])),
        Slip(_WRONG_WAY, _SHIFTED, _of_longer),
        Slip(_SHORT, _SHIFTED, on_results(lambda labels: [*listed(labels), IGNORED])),
        Slip(_LATE, _PROMPT, lambda f: lambda ids, n, *rest: f(ids, n - 1, *rest)),
        Slip("-100 is what the loss leaves out: 0, None or another number it would learn.",
             _SHIFTED, on_results(lambda labels: _ignored(listed(labels)))),
        Slip("Labels (1, T): one row is asked for, without an axis for the batch.", _SHIFTED,
             on_results(lambda rows: listed(rows)[0])),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip

EXERCISES = (COMPLETION_LABELS, KD_LOSS, MEND)
