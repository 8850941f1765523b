"""Lab 6's exercise drop_blocks: whole blocks are taken out of a model, and its books are mended."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from torch import nn

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.comparing import brief, error_text
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Step,
    WrongError,
    difference,
    expect,
)
from distill_lab.course.exercises.lab6.toys.model import on_a_toy_with_blocks


def drop_blocks(model: Any, indices: Sequence[int]) -> Any:
    """The model without these blocks; the others keep their order, and are numbered anew.
    ValueError for the first or the last block."""
    blocks = list(model.model.layers)
    if {0, len(blocks) - 1} & {*indices}:
        raise ValueError(f"the first and the last of {len(blocks)} blocks stay")
    kept = [block for number, block in enumerate(blocks) if number not in {*indices}]
    for number, block in enumerate(kept):
        block.self_attn.layer_idx = number
    model.model.layers = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return model


Case = tuple[int, list[int], int]  # blocks, those that go, the seed of the weights


def _drawn(rng: random.Random) -> Case:
    """Several blocks go, named in any order, none of them the first or the last. Four or five
    are left."""
    blocks = rng.randint(6, 7)
    indices = rng.sample(range(1, blocks - 1), rng.randint(2, blocks - 4))
    return blocks, indices, rng.randrange(1000)


def _shown(case: Case) -> str:
    return f"drop_blocks(a model of {case[0]} blocks, {case[1]})"


def _left(function: Function, case: Case) -> dict[str, Any]:
    """What the function leaves; WrongError where it leaves no model."""
    left = result_of(function, case, _shown(case), "the model with fewer blocks")
    if not isinstance(left, dict):
        raise difference(_shown(case), brief(left), "the model with fewer blocks")
    return left


def _one_by_one(case: Case) -> list[int]:
    """What `del layers[i]` leaves, one after the other."""
    blocks = list(range(case[0]))
    for index in case[1]:
        del blocks[min(index, len(blocks) - 1)]
    return blocks


def _order(function: Function, rng: random.Random) -> None:
    for case in ((5, [1, 3], 0), _drawn(rng)):
        blocks, indices, _ = case
        right = [n for n in range(blocks) if n not in indices]
        known = {
            _MOVED: _one_by_one(case),
            "The blocks that were named are left, and the others are gone.": sorted(indices),
            "The blocks that were named are left, and the others are gone. ": indices,
            "No block was taken out: give the model a new ModuleList without them.": [
                *range(blocks)
            ],
            "As many blocks as were named are gone, but the last ones, not those.": [
                *range(len(right))
            ],
        }
        known = {name: left for name, left in known.items() if left != right}
        left = _left(function, case)["blocks"]
        shown = f"{_shown(case)}; what is left"
        expect(lambda *_, left=left: left, case, right, known, shown)


def _books(function: Function, rng: random.Random) -> None:
    """Whichever blocks are left, they must be numbered from 0 and counted."""
    for case in ((5, [1, 3], 0), _drawn(rng)):
        left = _left(function, case)
        n = case[0] - len(case[1])
        numbers, said = left["layer_idx"], left["num_hidden_layers"]
        if numbers != [*range(n)] or said != n:
            yours = f"layer_idx {numbers}, num_hidden_layers {said}"
            expected = f"layer_idx {[*range(n)]}, num_hidden_layers {n}"
            raise difference(_shown(case), yours, expected, _symptom(left, n))


def _symptom(left: dict[str, Any], n: int) -> str:
    """What comes of books that do not agree with the blocks."""
    if len(left["blocks"]) != n:
        return f"{len(left['blocks'])} blocks are left, {n} should be."
    wrong = "config.num_hidden_layers" if left["layer_idx"] == [*range(n)] else "layer_idx"
    said = f"{wrong} still speaks of the old model. "
    if left["cache"] == "the same":
        return f"{said}Saved so, it could not be loaded again."
    return f"{said}With a cache, it generates: {left['cache']}; without, it runs."


def _guard(function: Function, rng: random.Random) -> None:
    blocks, inner, seed = _drawn(rng)
    _left(function, (blocks, inner, seed))  # what is allowed is not refused
    for wrong in ([0], [blocks - 1], [inner[0], rng.choice((0, blocks - 1))]):
        case = (blocks, wrong, seed)
        try:
            function(*case)
        except NotImplementedError:
            raise
        except (ValueError, AssertionError):
            continue
        except Exception as error:
            text = f"{error_text(error)}"
            raise WrongError(f"{_shown(case)}\nraised    {text}\nexpected: ValueError") from None
        end = "first" if 0 in wrong else "last"
        said = f"The {end} block was taken out: without it nothing of the language is left."
        raise difference(_shown(case), "a model", "ValueError", said)


_MOVED = "After one block is taken out, those behind it move up: the next index then means another "
_MOVED += "block."
DROP_BLOCKS = Exercise(
    "lab6",
    "drop_blocks",
    drop_blocks,
    (
        Step("those that are named go, the others stay in their order", 1, _order),
        Step("layer_idx and num_hidden_layers say what is left", 1, _books),
        Step("the first and the last block are never dropped", 1, _guard),
    ),
    (
        "First list the blocks that stay, by their old numbers; only then change the model.",
        "model.model.layers = nn.ModuleList(kept) puts them in. Each one still believes to be at "
        "its old place: block.self_attn.layer_idx is where it looks in the cache.",
        "model.config.num_hidden_layers is how many blocks a saved model is loaded with, and how "
        "many places a cache has. For index 0 or len(blocks) - 1: raise ValueError(...).",
    ),
    runner=on_a_toy_with_blocks,
    minutes=15,
    difficulty="medium",
)
