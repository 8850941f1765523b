"""The teacher runs once over the kept examples; what training needs of it is kept on the disk.

Several epochs, alphas and temperatures then cost one pass of the teacher, and training needs no
teacher in memory. `fill` makes the cache, or continues it after a `kill -9`: the finished files are
the same to the byte. `TeacherCache` reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from distill_lab.losses.distillation import SparseTeacher
from distill_lab.losses.fused import BUDGET, chunks
from distill_lab.models.loading import LanguageModel, head
from distill_lab.run.distributed import from_main, is_main, shared, wait
from distill_lab.run.records import LabError
from distill_lab.training.batches import Encoded
from distill_lab.training.teacher_cache.files import (
    Meta,
    Writer,
    key,
    read_index,
    read_meta,
    require_same,
    write_meta,
)
from distill_lab.training.teacher_cache.forward import (
    SharedPrefix,
    completion_logits,
    read_shared_prefix,
    teacher_states,
)
from distill_lab.training.teacher_cache.rows import (
    RowFormat,
    kl_errors,
    row_dtype,
    rows_of_logits,
    targets,
)

_SAMPLED_VALUES = 4096  # of each parameter, for the fingerprint


class TeacherCache:
    """A finished cache, read as it is needed; no teacher is loaded."""

    def __init__(self, folder: Path, row_format: RowFormat, teacher_name: str) -> None:
        """LabError where there is no cache, or one that was made otherwise."""
        meta = read_meta(folder)
        if meta is None:
            raise LabError(f"{folder}: expected a teacher cache, found none. Fill it first.")
        wanted = dataclasses.replace(meta, row_format=row_format, teacher=teacher_name)
        require_same(folder, meta, wanted)
        self.folder, self.meta = folder, meta
        index, dtype = read_index(folder, meta.row_format), row_dtype(meta.row_format)
        self.places = index.places
        # an empty file cannot be mapped, and one that was cut short not to its end
        self.rows = (
            np.memmap(folder / "rows.bin", dtype, "r", shape=(index.n_rows,))
            if index.n_rows
            else np.zeros(0, dtype)
        )

    def missing(self, examples: Sequence[Encoded]) -> int:
        """How many of the examples have no records here."""
        return sum(key(self.meta, example) not in self.places for example in examples)

    def targets(self, examples: Sequence[Encoded], temperature: float) -> SparseTeacher:
        """The teacher at the examples' N completion tokens, one example after the other.

        LabError for an example or a temperature that the cache was not made for.
        """
        parts = [self.rows[:0]]
        for example in examples:
            if not example.completion:  # a blank one has no records
                continue
            place = self.places.get(key(self.meta, example))
            if place is None:
                raise LabError(
                    f"{self.folder}: expected the teacher's records of every example, found none "
                    f"of one of {len(example.teacher_prompt)} + {len(example.completion)} tokens. "
                    "Fill the cache with these examples."
                )
            parts.append(self.rows[place[0] : sum(place)])
        return targets(np.concatenate(parts), self.meta.row_format, temperature)


@torch.no_grad()
def fill(
    folder: Path,
    teacher: LanguageModel,
    examples: Sequence[Encoded],
    row_format: RowFormat,
    rows: int = 16,
) -> None:
    """Makes the cache of these examples, or what is missing of it; a pass reads `rows` examples,
    and the processes share the passes.

    LabError where the folder holds a cache of another format or teacher.
    """
    weights = weights_hash(teacher.lm)
    meta = from_main(lambda: _meta(folder, teacher, weights, row_format))
    by_key = {key(meta, example): example for example in examples}
    # by length, so that little is padding; depends on all examples and not on what is done, so
    # that a resumed run computes what the whole one would have
    ordered = sorted(by_key, key=lambda name: (-_length(by_key[name]), name))
    present = from_main(lambda: read_index(folder, meta.row_format).places)
    batches = [ordered[start : start + rows] for start in range(0, len(ordered), rows)]
    todo = [names for names in batches if any(name not in present for name in names)]
    if not todo:
        return
    prefix = read_shared_prefix(teacher.lm, list(by_key.values()))
    print(f"teacher cache: {prefix.reason}")

    def records(names: list[str]) -> list[tuple[str, np.ndarray]]:
        return _records(teacher, {name: by_key[name] for name in names}, meta.row_format, prefix)

    with (
        closing(Writer(folder, meta.row_format)) if is_main() else nullcontext() as writer,
        tqdm(total=len(ordered), desc="teacher cache", unit="example") as bar,
    ):
        bar.update(len(ordered) - sum(map(len, todo)))
        bar.set_postfix(tokens=f"{sum(len(e.completion) for e in by_key.values()):,}")
        for made in shared(todo, records):
            if writer:
                writer.append([(name, its) for name, its in made if name not in present])
            bar.update(len(made))
    wait()  # others read what process 0 wrote


def _length(example: Encoded) -> int:
    return len(example.teacher_prompt) + len(example.completion)


def _meta(folder: Path, teacher: LanguageModel, weights: str, row_format: RowFormat) -> Meta:
    """The folder's own, if there is one and it fits; else a new one, which is written."""
    wanted = Meta(row_format, teacher.name, weights, tokenizer_hash(teacher.tokenizer))
    meta = read_meta(folder)
    if meta is None:
        row_dtype(row_format)  # refuses what cannot be stored
        write_meta(folder, wanted)
        return wanted
    require_same(folder, meta, wanted)
    return meta


def weights_hash(lm: PreTrainedModel) -> str:
    """A hash of all weights' names, shapes and dtypes and of 4,096 values of each, evenly spread.

    Training moves all values of a parameter, so these show it; hashing all of a 7B model would take
    minutes, and a file's hash would not see 4-bit loading or an adapter.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(lm.state_dict().items()):
        if not isinstance(weight, Tensor):  # what 4-bit layers keep beside their weights
            continue
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        values = weight.detach().reshape(-1)
        values = values[:: max(1, len(values) // _SAMPLED_VALUES)].contiguous()
        digest.update(values.view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of which id is which token."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def _records(
    teacher: LanguageModel,
    batch: dict[str, Encoded],
    row_format: RowFormat,
    prefix: SharedPrefix,
) -> list[tuple[str, np.ndarray]]:
    """Each key of a batch with its example's records."""
    lengths = [len(example.completion) for example in batch.values()]
    states = teacher_states(teacher.lm, list(batch.values()), prefix)  # (N, H)
    to_logits = head(teacher.lm)
    uniforms = None
    if row_format.name == "sampled":  # each example's from its key: no batch changes what is drawn
        draws = len(row_format.temperatures), row_format.k
        random = [np.random.Generator(np.random.PCG64(int(name[:32], 16))) for name in batch]
        uniforms = np.concatenate(
            [each.random((n, *draws)) for each, n in zip(random, lengths, strict=True)]
        )  # (N, temperatures, k)
    rows = np.zeros(len(states), row_dtype(row_format))  # (N)
    # `rows_of_logits` holds several copies of the logits
    for part in chunks(len(states), to_logits(states[:1]).shape[-1], True, BUDGET // 4):
        some = None if uniforms is None else uniforms[part]
        rows[part] = rows_of_logits(to_logits(states[part]), row_format, some)
    return list(zip(batch, np.split(rows, np.cumsum(lengths)[:-1]), strict=True))


@torch.no_grad()
def measure(
    student: LanguageModel,
    teacher: LanguageModel,
    examples: Sequence[Encoded],
    temperature: float,
    ks: Sequence[int] = (4, 8, 16, 32, 64, 128, 256),
    n_seeds: int = 8,
) -> list[dict[str, Any]]:
    """How far the KL to a cache is from the whole KL on a few examples, as rows of `kl_errors`."""
    student_logits, teacher_logits, _ = completion_logits(student, teacher, examples)
    return kl_errors(teacher_logits, student_logits, temperature, ks, n_seeds)
