"""Lab 6: how a mask is judged. Of equal scores either may be cut, so a mask is not compared with
ours: in each group it must keep as many as asked, and none that scores less than one it cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import Function, difference

Masks = dict[str, Tensor]
Known = Callable[[], Masks]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A right mask's rule: `scores` in the weights' shape, `groups` brings scores and mask (R, C)
    into the form (number of groups, size of a group), `kept` of each group are kept."""

    scores: Tensor
    groups: Callable[[Tensor], Tensor]
    kept: int
    group: str  # what messages call one

    @property
    def mask(self) -> Tensor:
        """One of the right masks: of equal scores it keeps those that come first."""
        grouped = self.groups(self.scores)
        best = grouped.argsort(dim=-1, descending=True, stable=True)[:, : self.kept]
        mask = torch.zeros_like(grouped, dtype=torch.bool).scatter(-1, best, True)
        return mask.reshape(self.scores.shape)

    def fault(self, mask: Tensor) -> str:
        """What is wrong with a mask of the right shape, as a sentence; "" if nothing is."""
        scores, masks = self.groups(self.scores), self.groups(mask)
        for number, (score, kept) in enumerate(zip(scores, masks, strict=True)):
            where = f"{self.group} {number}" if len(scores) > 1 else f"The {self.group}"
            where = where[0].upper() + where[1:]
            n = int(kept.sum())
            if n != self.kept:
                return f"{where} keeps {n} of its {len(kept)} weights: {self.kept} were asked for."
            worst, best_cut = score[kept].min(), score[~kept].max()
            if worst < best_cut:
                return f"{where} keeps one that scores {worst:.3g}, and cuts one of {best_cut:.3g}."
        return ""


def by_tensor(values: Tensor) -> Tensor:
    return values.reshape(1, -1)


def by_row(values: Tensor) -> Tensor:
    return values


def in_groups_of(m: int) -> Callable[[Tensor], Tensor]:
    """m neighbours of a row, that is along the input, are a group."""
    return lambda values: values.reshape(-1, m)


def drawn(mask: Tensor) -> str:
    """A mask as rows of 1 (kept) and 0 (cut)."""
    rows = mask.int().tolist() if mask.dim() == 2 else [mask.int().flatten().tolist()]
    text = " / ".join("".join(map(str, row)) for row in rows)
    return text if len(text) <= 120 else f"{text[:118]} …"


def expect_mask(
    function: Function,
    arguments: Sequence[Any],
    wanted: Wanted,
    known: Known = dict,
    shown: str | None = None,
) -> None:
    """WrongError unless the function gives a right mask. `known` gives, by a mistake's name,
    the mask that it leads to; it is called where the mask is wrong. `shown` stands in messages for
    a call that is too long."""
    call = shown or f"{function.__name__}({', '.join(map(brief, arguments))})"
    expected = f"{drawn(wanted.mask)}   (1: kept, 0: cut)"
    mask = result_of(function, arguments, call, expected)
    if mask.shape != wanted.scores.shape:
        yours = f"a mask of the shape {tuple(mask.shape)}"
        raise difference(call, yours, f"the weights' shape, {tuple(wanted.scores.shape)}")
    if fault := wanted.fault(mask):
        names = [name for name, other in known().items() if torch.equal(mask, other)]
        raise difference(call, drawn(mask), expected, names[0] if names else fault)
