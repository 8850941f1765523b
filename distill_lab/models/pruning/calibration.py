"""What enters each linear when a model reads calibration texts, and the norms of Wanda.

||X_j||_2 runs over all real tokens of all batches; padding never counts. One-shot norms are those
of the model as it is; block by block, each block reads what the pruned blocks before it make, as in
Wanda's code (Sun et al. 2024, arXiv 2306.11695, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel, decoder
from distill_lab.models.pruning.layout import blocks, names_by_block, prunable
from distill_lab.run.records import LabError
from distill_lab.tasks.prompts import encode

NAMES = ("input_ids", "attention_mask")
Batch = Mapping[str, Tensor]  # those two, (B, T) each
See = Callable[[str, Tensor], None]  # is told a linear's name and what enters it: tokens (N, in)


def text_batches(
    model: LanguageModel, texts: Sequence[str], batch_size: int, max_length: int
) -> list[Batch]:
    """Rendered prompts, or other texts, as right-padded batches; each is cut to its first
    `max_length` tokens. LabError where no text has a token."""
    ids = [encode(model.tokenizer, text)[:max_length] for text in texts if text]
    return id_batches(model, ids, batch_size)


def id_batches(model: LanguageModel, ids: Sequence[list[int]], batch_size: int) -> list[Batch]:
    """Texts as token ids in right-padded batches. LabError where none has a token."""
    tokenizer: Any = model.tokenizer
    parts = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    padded = [
        tokenizer.pad({"input_ids": part}, padding_side="right", return_tensors="pt")
        for part in parts
    ]
    return require_tokens([{name: p[name] for name in NAMES} for p in padded])


def require_tokens(batches: Sequence[Batch]) -> list[Batch]:
    """The batches, as a list. LabError where they hold no token: all norms would be 0."""
    if not sum(int(batch["attention_mask"].sum()) for batch in batches):
        raise LabError(
            "Calibration: expected texts with at least one token, found none. "
            "Give some of the texts that the model will read."
        )
    return list(batches)


def input_norms(model: LanguageModel, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """||X_j||_2 (in) of each prunable linear's inputs, float32, of the model as it is."""
    linears = prunable(model)
    squares = _zeros(linears)
    for batch in require_tokens(batches):
        with _watched(linears, _real(model, batch), partial(_add_squares, squares)):
            read(model, batch)
    return _roots(squares)


def inputs_of(model: LanguageModel, name: str, batches: Sequence[Batch]) -> list[Tensor]:
    """What enters the linear of that name, (B, T, in) for each batch, padding too."""
    seen: list[Tensor] = []
    linear = prunable(model)[name]
    with hooked([linear.register_forward_pre_hook(lambda _, given: seen.append(given[0]))]):
        for batch in batches:
            read(model, batch)
    return [inputs.detach() for inputs in seen]


def norms_by_block(model: LanguageModel, batches: Sequence[Batch]) -> Iterator[dict[str, Tensor]]:
    """Yields the norms of one block after another. Prune a block before you ask for the next: what
    the next one reads is computed then."""
    squares = _zeros(prunable(model))
    for linears in read_by_block(model, batches, partial(_add_squares, squares)):
        yield _roots({name: squares[name] for name in linears})


def read_by_block(
    model: LanguageModel, batches: Sequence[Batch], see: See
) -> Iterator[dict[str, nn.Linear]]:
    """Yields the linears of one block after another, once `see` has had all that enters them.
    Change a block before you ask for the next: what the next one reads is computed then."""
    entered = [_entered(model, batch) for batch in require_tokens(batches)]
    parts = zip(blocks(model), names_by_block(model), strict=True)
    for index, (block, linears) in enumerate(parts):
        for batch in entered:
            with _watched(linears, batch.real, see):
                batch.through(block, index)
        yield linears
        for batch in entered:
            batch.hidden = batch.through(block, index)  # read again: the block is changed now


def read(model: LanguageModel, batch: Batch) -> None:
    """Runs the decoder over a batch, in evaluation mode and without gradients, for hooks to see."""
    lm = model.lm
    given = {name: batch[name].to(lm.device) for name in NAMES}
    with evaluating(lm), torch.no_grad():
        decoder(lm)(**given, use_cache=False)


@dataclass(slots=True)
class _Entered:
    """A batch before a block: hidden states (B, T, H), and what else each block is called with."""

    hidden: Tensor
    options: list[dict[str, Any]]
    real: Tensor  # Bool (B, T)

    def through(self, block: nn.Module, index: int) -> Tensor:
        """The hidden states (B, T, H) after the block."""
        with evaluating(block), torch.no_grad():
            made = block(self.hidden, **self.options[index])
        return made[0] if isinstance(made, tuple) else made


def _entered(model: LanguageModel, batch: Batch) -> _Entered:
    """The batch before the first block. The decoder itself makes the attention masks and positions
    that its blocks are called with, whatever their names are in this release of transformers."""
    first: list[Tensor] = []
    options: list[dict[str, Any]] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not first:
            first.append(args[0])
        options.append(kwargs)

    with hooked(
        [block.register_forward_pre_hook(record, with_kwargs=True) for block in blocks(model)]
    ):
        read(model, batch)
    return _Entered(first[0], options, _real(model, batch))


def _real(model: LanguageModel, batch: Batch) -> Tensor:
    """Bool (B, T): True at a token, False at padding."""
    return batch["attention_mask"].to(model.lm.device).bool()


def _zeros(linears: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """A sum (in) for each linear. float64: how texts are put into batches changes nothing then but
    the rounding of the model's own products."""
    return {
        name: torch.zeros(linear.in_features, dtype=torch.float64)
        for name, linear in linears.items()
    }


def _add_squares(squares: dict[str, Tensor], name: str, tokens: Tensor) -> None:
    squares[name] += tokens.float().square().sum(0).cpu()


def _roots(squares: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: total.sqrt().float() for name, total in squares.items()}


@contextmanager
def _watched(linears: Mapping[str, nn.Linear], real: Tensor, see: See) -> Iterator[None]:
    """While this lasts, `see` has what enters each linear."""

    def watch(name: str) -> Any:
        def show(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            see(name, args[0][real])  # (B, T, in) to (N, in): padding goes

        return show

    with hooked([x.register_forward_pre_hook(watch(name)) for name, x in linears.items()]):
        yield


@contextmanager
def hooked(handles: Sequence[Any]) -> Iterator[None]:
    """Takes the hooks away again at the end, however it ends."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout; the mode is given back at the end."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
