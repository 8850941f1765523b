"""The teacher is run once over the kept examples; what training needs of it is kept on the disk.

Several epochs, alphas and temperatures then cost one pass of the teacher, and training needs no
teacher in memory. `fill` makes the cache, or goes on with it after a `kill -9`; the finished files
are the same to the byte. `TeacherCache` reads it.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from distill_lab.cache_file import (
    Meta,
    Writer,
    key,
    read_index,
    read_meta,
    require_same,
    require_same_teacher,
    write_meta,
)
from distill_lab.cache_rows import Kind, keep, layout, targets
from distill_lab.encoding import Encoded
from distill_lab.fused_loss import chunks
from distill_lab.loss import SparseTeacher
from distill_lab.models import Loaded, decoder, head
from distill_lab.records import LabError

__all__ = ["Kind", "TeacherCache", "fill"]

_SHARED_AT_LEAST = 32  # a common beginning shorter than this is not worth a pass of its own
_SAMPLED_VALUES = 4096  # of each parameter, for the fingerprint


class TeacherCache:
    """A finished cache, read as it is needed; no teacher is loaded."""

    def __init__(self, folder: Path, kind: Kind, teacher_name: str) -> None:
        """LabError where there is no cache, or one that was made otherwise."""
        meta = read_meta(folder)
        if meta is None:
            raise LabError(f"{folder}: expected a teacher cache, found none. Fill it first.")
        require_same(folder, meta, kind, teacher_name)
        self.folder, self.meta = folder, meta
        self.places = read_index(folder, meta.kind).places
        record = layout(meta.kind)
        # an empty file cannot be mapped
        mapped = np.memmap(folder / "rows.bin", record, "r") if self.places else None
        self.rows = np.zeros(0, record) if mapped is None else mapped

    def missing(self, examples: Sequence[Encoded]) -> int:
        """How many of the examples have no records here."""
        return sum(key(self.meta, example) not in self.places for example in examples)

    def targets(self, examples: Sequence[Encoded], temperature: float) -> SparseTeacher:
        """The teacher at the examples' completion tokens, one example after the other (N).

        LabError for an example that was not in the cache's pass, or a temperature.
        """
        found = []
        for example in examples:
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
    folder: Path, teacher: Loaded, examples: Sequence[Encoded], kind: Kind, rows: int = 16
) -> None:
    """Makes the cache of these examples, or what is missing of it; `rows` examples a pass.

    LabError where the folder holds a cache of another kind or teacher.
    """
    meta = _meta(folder, teacher, kind)
    named = {key(meta, example): example for example in examples}
    # by length, so that little is padding; depends on all examples and not on what is done, so
    # that a resumed run computes what the whole one would have
    ordered = sorted(named, key=lambda name: (-_length(named[name]), name))
    have = read_index(folder, meta.kind).places
    writer = Writer(folder, meta.kind)
    beginning: Beginning | None = None
    with tqdm(total=len(ordered), desc="teacher cache", unit="example") as bar:
        bar.set_postfix(tokens=f"{sum(len(e.completion) for e in named.values()):,}")
        for start in range(0, len(ordered), rows):
            names = ordered[start : start + rows]
            if any(name not in have for name in names):
                if beginning is None:
                    beginning = read_beginning(teacher.lm, list(named.values()))
                    bar.write(f"teacher cache: {beginning.reason}")
                made = _records(teacher, [named[name] for name in names], names, meta, beginning)
                pairs = zip(names, made, strict=True)
                writer.append([(name, its) for name, its in pairs if name not in have])
            bar.update(len(names))
    writer.close()


def _length(example: Encoded) -> int:
    return len(example.teacher_prompt) + len(example.completion)


def _meta(folder: Path, teacher: Loaded, kind: Kind) -> Meta:
    """The cache's own, if there is one and it fits; else a new one."""
    weights, tokenizer = weights_hash(teacher.lm), tokenizer_hash(teacher.tokenizer)
    meta = read_meta(folder)
    if meta is None:
        layout(kind)  # refuses what cannot be stored
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


# --- the teacher's pass ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beginning:
    """The tokens that all prompts begin with, read once: how many, the cache of them (of one row),
    and why so many."""

    length: int
    cache: Any
    reason: str


@torch.no_grad()
def read_beginning(lm: PreTrainedModel, examples: Sequence[Encoded]) -> Beginning:
    """Reads what all the teacher's prompts begin with (worked examples, say), where it is worth it
    and the model can go on from there."""
    prompts = [example.teacher_prompt for example in examples]
    # of sorted lists the first and the last differ where any two do
    pairs = zip(min(prompts), max(prompts), strict=False)
    alike = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    # the last prompt token predicts the first of the completion: it stays
    alike = alike[: min(map(len, prompts)) - 1]
    if len(examples) == 1 or len(alike) < _SHARED_AT_LEAST:
        return Beginning(0, None, f"every prompt is read whole, {len(alike)} tokens are shared")
    whole = f"every prompt is read whole, though {len(alike)} tokens are shared: "
    body = decoder(lm)
    if not {"past_key_values", "position_ids"} <= inspect.signature(body.forward).parameters.keys():
        return Beginning(0, None, f"{whole}{type(body).__name__} cannot go on from a cache")
    cache = body(input_ids=torch.tensor([alike], device=lm.device), use_cache=True).past_key_values
    if not isinstance(cache, DynamicCache) or any(
        type(x) is not DynamicLayer for x in cache.layers
    ):
        return Beginning(0, None, f"{whole}its layers do not all look at every token")
    return Beginning(len(alike), cache, f"{len(alike)} tokens that all prompts share are read once")


def completion_states(
    lm: PreTrainedModel, batch: Sequence[Encoded], beginning: Beginning
) -> Tensor:
    """Hidden states (N, H) that predict the completions' tokens, one example after the other."""
    # the last token of a completion predicts nothing that is wanted
    rests = [(e.teacher_prompt + e.completion)[beginning.length : -1] for e in batch]
    width = max(map(len, rests))
    ids = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests])  # (B, T)
    lengths = torch.tensor([len(rest) for rest in rests])[:, None]
    before = torch.tensor([len(e.completion) for e in batch])[:, None]
    place = torch.arange(width)
    wanted = (place >= lengths - before) & (place < lengths)  # (B, T)
    mask = torch.arange(beginning.length + width) < beginning.length + lengths
    more: dict[str, Any] = {"use_cache": False}
    if beginning.length:
        cache = copy.deepcopy(beginning.cache)  # the pass appends to it
        cache.batch_repeat_interleave(len(batch))
        positions = (beginning.length + place).expand(len(batch), -1)
        more = {
            "past_key_values": cache,
            "use_cache": True,
            "position_ids": positions.to(lm.device),
        }
    hidden = decoder(lm)(
        input_ids=ids.to(lm.device), attention_mask=mask.long().to(lm.device), **more
    ).last_hidden_state  # (B, T, H)
    return hidden[wanted.to(hidden.device)]


def _records(
    teacher: Loaded, batch: Sequence[Encoded], names: Sequence[str], meta: Meta, shared: Beginning
) -> list[np.ndarray]:
    """The records of each example of a batch."""
    states = completion_states(teacher.lm, batch, shared)  # (N, H)
    to_logits = head(teacher.lm)
    uniforms = _uniforms(batch, names, meta.kind) if meta.kind.name == "sampled" else None
    rows = np.zeros(len(states), layout(meta.kind))
    for part in chunks(len(states), to_logits(states[:1]).shape[-1], both=True):
        some = None if uniforms is None else uniforms[part]
        rows[part] = keep(to_logits(states[part]), meta.kind, some)
    ends = np.cumsum([len(example.completion) for example in batch])
    return np.split(rows, ends[:-1])


def _uniforms(batch: Sequence[Encoded], names: Sequence[str], kind: Kind) -> np.ndarray:
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
