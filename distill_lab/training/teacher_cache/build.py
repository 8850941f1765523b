"""The teacher is run once over the kept examples; what training needs of it is kept on the disk.

Several epochs, alphas and temperatures then cost one pass of the teacher, and training needs no
teacher in memory. `fill` makes the cache, or goes on with it after a `kill -9`; the finished files
are the same to the byte. `TeacherCache` reads it.
"""

from __future__ import annotations

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
    require_same_teacher,
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
    distances,
    row_dtype,
    rows_of_logits,
    targets,
)

__all__ = ["RowFormat", "TeacherCache", "fill"]

_SAMPLED_VALUES = 4096  # of each parameter, for the fingerprint


class TeacherCache:
    """A finished cache, read as it is needed; no teacher is loaded."""

    def __init__(self, folder: Path, kind: RowFormat, teacher_name: str) -> None:
        """LabError where there is no cache, or one that was made otherwise."""
        meta = read_meta(folder)
        if meta is None:
            raise LabError(f"{folder}: expected a teacher cache, found none. Fill it first.")
        require_same(folder, meta, kind, teacher_name)
        self.folder, self.meta = folder, meta
        index, record = read_index(folder, meta.kind), row_dtype(meta.kind)
        self.places = index.places
        # an empty file cannot be mapped, and one that was cut short not to its end
        self.rows = (
            np.memmap(folder / "rows.bin", record, "r", shape=(index.rows,))
            if index.rows
            else np.zeros(0, record)
        )

    def missing(self, examples: Sequence[Encoded]) -> int:
        """How many of the examples have no records here."""
        return sum(key(self.meta, example) not in self.places for example in examples)

    def targets(self, examples: Sequence[Encoded], temperature: float) -> SparseTeacher:
        """The teacher at the examples' completion tokens, one example after the other (N).

        LabError for an example that was not in the cache's pass, or a temperature.
        """
        found = []
        for example in examples:
            if not example.completion:  # nothing to know
                continue
            place = self.places.get(key(self.meta, example))
            if place is None:
                raise LabError(
                    f"{self.folder}: expected the teacher's records of every example, found none "
                    f"of one of {len(example.teacher_prompt)} + {len(example.completion)} tokens. "
                    "Fill the cache with these examples."
                )
            found.append(self.rows[place[0] : sum(place)])
        rows = np.concatenate(found) if found else self.rows[:0]
        return targets(rows, self.meta.kind, temperature)


@torch.no_grad()
def fill(
    folder: Path,
    teacher: LanguageModel,
    examples: Sequence[Encoded],
    kind: RowFormat,
    rows: int = 16,
) -> None:
    """Makes the cache of these examples, or what is missing of it; `rows` examples a pass, which
    the processes share.

    LabError where the folder holds a cache of another kind or teacher.
    """
    weights = weights_hash(teacher.lm)
    meta = from_main(lambda: _meta(folder, teacher, weights, kind))
    named = {key(meta, example): example for example in examples}
    # by length, so that little is padding; depends on all examples and not on what is done, so
    # that a resumed run computes what the whole one would have
    ordered = sorted(named, key=lambda name: (-_length(named[name]), name))
    have = from_main(lambda: read_index(folder, meta.kind).places)
    batches = [ordered[start : start + rows] for start in range(0, len(ordered), rows)]
    todo = [names for names in batches if any(name not in have for name in names)]
    if not todo:
        return
    beginning = read_shared_prefix(teacher.lm, list(named.values()))
    print(f"teacher cache: {beginning.reason}")

    def records(names: list[str]) -> list[tuple[str, np.ndarray]]:
        made = _records(teacher, [named[name] for name in names], names, meta, beginning)
        return list(zip(names, made, strict=True))

    with (
        closing(Writer(folder, meta.kind)) if is_main() else nullcontext() as writer,
        tqdm(total=len(ordered), desc="teacher cache", unit="example") as bar,
    ):
        bar.update(len(ordered) - sum(map(len, todo)))
        bar.set_postfix(tokens=f"{sum(len(e.completion) for e in named.values()):,}")
        for made in shared(todo, records):
            if writer:
                writer.append([(name, its) for name, its in made if name not in have])
            bar.update(len(made))
    wait()  # others read what process 0 wrote


def _length(example: Encoded) -> int:
    return len(example.teacher_prompt) + len(example.completion)


def _meta(folder: Path, teacher: LanguageModel, weights: str, kind: RowFormat) -> Meta:
    """The cache's own, if there is one and it fits; else a new one."""
    tokenizer = tokenizer_hash(teacher.tokenizer)
    meta = read_meta(folder)
    if meta is None:
        row_dtype(kind)  # refuses what cannot be stored
        meta = Meta(kind, teacher.name, weights, tokenizer)
        write_meta(folder, meta)
    require_same(folder, meta, kind, teacher.name)
    require_same_teacher(folder, meta, weights, tokenizer)
    return meta


def weights_hash(lm: PreTrainedModel) -> str:
    """A hash of all weights' names, shapes and dtypes and of 4,096 values of each, evenly spread.

    Training moves all values of a parameter, so that any of them shows it; the whole of a 7B model
    would take minutes, and a file's hash would not see 4-bit loading or an adapter.
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
    batch: Sequence[Encoded],
    names: Sequence[str],
    meta: Meta,
    shared: SharedPrefix,
) -> list[np.ndarray]:
    """The records of each example of a batch."""
    states = teacher_states(teacher.lm, batch, shared)  # (N, H)
    to_logits = head(teacher.lm)
    uniforms = _uniforms(batch, names, meta.kind) if meta.kind.name == "sampled" else None
    rows = np.zeros(len(states), row_dtype(meta.kind))
    # `keep` holds several copies of the logits
    for part in chunks(len(states), to_logits(states[:1]).shape[-1], True, BUDGET // 4):
        some = None if uniforms is None else uniforms[part]
        rows[part] = rows_of_logits(to_logits(states[part]), meta.kind, some)
    ends = np.cumsum([len(example.completion) for example in batch])
    return np.split(rows, ends[:-1])


def _uniforms(batch: Sequence[Encoded], names: Sequence[str], kind: RowFormat) -> np.ndarray:
    """(N, temperatures, k) uniform numbers, each example's from its key: neither order nor batch
    changes what is drawn."""
    shape = len(kind.temperatures), kind.k
    return np.concatenate(
        [
            np.random.Generator(np.random.PCG64(int(name[:32], 16))).random(
                (len(example.completion), *shape)
            )
            for name, example in zip(names, batch, strict=True)
        ]
    )


@torch.no_grad()
def measure(
    student: LanguageModel,
    teacher: LanguageModel,
    examples: Sequence[Encoded],
    temperature: float,
    ks: Sequence[int] = (4, 8, 16, 32, 64, 128, 256),
    n_seeds: int = 8,
) -> list[dict[str, Any]]:
    """How far the KL to a cache is from the whole one, on a few examples: see `distances`."""
    ours, theirs, _ = completion_logits(student, teacher, examples)
    return distances(theirs, ours, temperature, ks, n_seeds)


def _show() -> None:
    """What the cache of the bundled teacher holds, and how far from the truth it is."""
    from distill_lab.models.backend import choose_backend
    from distill_lab.models.loading import load
    from distill_lab.run.settings import RuntimeSettings
    from distill_lab.tasks.prompts import encode, render
    from distill_lab.tasks.squad.task import user_text

    backend = choose_backend(RuntimeSettings())
    teacher, student = (load("bundled", backend, role) for role in ("teacher", "base"))
    tokenizer: Any = teacher.tokenizer
    prompt = encode(
        tokenizer, render(user_text("Ann lives in Rome.", "Where does Ann live?"), tokenizer)
    )
    text = " The passage says that Ann lives in Rome.</think><answer>Rome</answer>"
    example = Encoded(prompt, prompt, tokenizer(text, add_special_tokens=False).input_ids)
    print("bytes a token, 64 of 151,936 tokens, temperatures 1 and 2:")
    for name in ("topk", "sampled"):
        print(f"  {name:8}", row_dtype(RowFormat(name, 64, (1.0, 2.0), 151_936)).itemsize)
    print("mean |KL of the cache - whole KL| a token, and of the mean over tokens, at T = 2:")
    for row in measure(student, teacher, [example], 2.0, n_seeds=1):
        print("  {kind:8} k = {k:3}  {per_token:.5f}  {of_mean:.5f}".format(**row))


if __name__ == "__main__":
    _show()
