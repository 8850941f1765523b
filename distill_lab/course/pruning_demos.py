"""What Lab 6's cells do with real models, beside the stages: they read one layer's inputs, take a
few steps with the student's own function, merge an adapter, save and load."""

from __future__ import annotations

import math
import time
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.course.pruning_lab import PruningLab
from distill_lab.losses.distillation import completion_states
from distill_lab.models.loading import LanguageModel, decoder, head, hidden_states
from distill_lab.models.pruning.blocks import block_influence, drop_blocks, least_influential
from distill_lab.models.pruning.calibration import (
    Batch,
    evaluating,
    hooked,
    inputs_of,
    text_batches,
)
from distill_lab.models.pruning.layout import blocks, prunable
from distill_lab.models.pruning.masks import Masks
from distill_lab.models.pruning.patterns import magnitude_mask
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.pipeline.pruning.reading.reviews import read_all
from distill_lab.pipeline.pruning.results.measures import difference
from distill_lab.pipeline.pruning.results.readings import ReviewReadings
from distill_lab.pipeline.pruning.speed import side_by_side
from distill_lab.pipeline.pruning.training import save_whole, text_examples
from distill_lab.tasks.sst2.prompt import answered_text
from distill_lab.tasks.sst2.reviews import Review
from distill_lab.training.batches import collate

READ_AT_ONCE, LONGEST = 32, 512

MaskedStep = Callable[[Tensor, Any, Mapping[str, nn.Parameter], Mapping[str, Tensor]], Any]


def batches_of(model: LanguageModel, texts: Sequence[Review | str]) -> list[Batch]:
    """Reviews with their label words, or any texts, as calibration takes them."""
    written = [text if isinstance(text, str) else answered_text(text) for text in texts]
    return text_batches(model, written, READ_AT_ONCE, LONGEST)


def perplexity(model: LanguageModel, reviews: Sequence[Review]) -> float:
    """exp of the mean NLL of the reviews' own tokens, as the stage evaluate counts it."""
    scores = read_all(model, reviews, READ_AT_ONCE)
    tokens = sum(score.text_tokens for score in scores)
    return math.exp(min(sum(score.text_nll for score in scores) / tokens, 700))


def wanda_draws(lab: PruningLab, share: float, draws: int, size: int) -> list[tuple[Any, ...]]:
    """Wanda minus magnitude at the same share of zeros, by the run's own magnitude models. Wanda is
    calibrated anew on each of `draws` sets of `size` training reviews, none in two of them.

    A row a magnitude model and measure: the model, the measure, the mean difference over draws, its
    95 % interval over held-out reviews, and each draw's own difference."""
    train, reviews, seeds = lab.train_reviews, lab.reviews, []
    for draw in range(draws):
        pruned = lab.model()
        texts = train[draw * size : (draw + 1) * size]
        prune_weights(pruned, "wanda", share, batches_of(pruned, texts))
        read = {score.entry_id: score for score in read_all(pruned, reviews, READ_AT_ONCE)}
        seeds.append([read[review.id] for review in reviews])
    wanda = ReviewReadings([review.label for review in reviews], seeds)
    rows: list[tuple[Any, ...]] = []
    for name in (f"magnitude-row:{share}", f"magnitude-tensor:{share}"):
        theirs = lab.readings(name)
        for measure in wanda.measures:
            found = difference(wanda, theirs, measure.name, lab.config.evaluate)
            ends = (*found.ci95, *found.by_seed)
            values = (round(value, measure.digits) for value in (found.value, *ends))
            rows.append((name, measure.label, *values))
    return rows


def layer_inputs(
    model: LanguageModel, name: str, reviews: Sequence[Review]
) -> tuple[Tensor, Tensor, Tensor]:
    """The weight (out, in) of a linear by its name, its inputs (N, T, in) when the model reads the
    reviews, and their attention mask (N, T)."""
    batches = text_batches(model, [answered_text(r) for r in reviews], len(reviews), LONGEST)
    (inputs,) = inputs_of(model, name, batches)
    return prunable(model)[name].weight.detach(), inputs, batches[0]["attention_mask"]


@torch.no_grad()
def states_of(
    model: LanguageModel, reviews: Sequence[Review]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """What transformers returns as `hidden_states`, L + 1 of (N, T, H), the last one normed; what
    the last block put out, before the norm; and the attention mask (N, T)."""
    (batch,) = text_batches(model, [answered_text(r) for r in reviews], len(reviews), LONGEST)
    last: list[Any] = []
    with (
        hooked([blocks(model)[-1].register_forward_hook(lambda *given: last.append(given[-1]))]),
        evaluating(model.lm),
    ):
        made = decoder(model.lm)(**batch, use_cache=False, output_hidden_states=True)
    before_norm = last[0][0] if isinstance(last[0], tuple) else last[0]
    return list(made.hidden_states), before_norm, batch["attention_mask"]


def train_with(
    step: MaskedStep | None,
    model: LanguageModel,
    masks: Masks,
    reviews: Sequence[Review],
    steps: int,
) -> list[int]:
    """Takes so many steps of CE on the reviews, each by the function `step(loss, optimizer,
    weights, masks)`, or without masks; after each, how many weights that they cut are not 0."""
    linears = prunable(model)
    weights: dict[str, Any] = {name: linears[name].weight for name in masks.kept}
    optimizer = torch.optim.AdamW(model.lm.parameters(), lr=5e-4)
    examples = cycle(text_examples(reviews, model.tokenizer))
    pad: Any = model.tokenizer.pad_token_id
    refilled: list[int] = []
    for _ in range(steps):
        batch = collate(list(islice(examples, READ_AT_ONCE)), pad)
        hidden = hidden_states(model.lm, batch["input_ids"], batch["attention_mask"])  # (B, T, H)
        states, targets = completion_states(hidden, batch["labels"])  # (N, H), (N)
        loss = F.cross_entropy(head(model.lm)(states), targets)
        (step or _plain_step)(loss, optimizer, weights, masks.kept)
        refilled.append(masks.violations(model))
    return refilled


def _plain_step(loss: Tensor, optimizer: Any, *_: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def with_merged_lora(model: LanguageModel, rank: int, size: float = 0.01) -> LanguageModel:
    """The model with an adapter merged into it, whose B is drawn at random: W + B A. What training
    would have put there matters little: hardly any number of B A is 0."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    lm: Any = get_peft_model(model.lm, config)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    for name, parameter in lm.named_parameters():
        if "lora_B" in name:
            noise = torch.randn(parameter.shape, generator=draw)
            parameter.data.copy_(size * noise)
    return LanguageModel(lm.merge_and_unload(), model.tokenizer, model.name)


def saved_and_loaded(model: LanguageModel, folder: Path) -> LanguageModel:
    """The model as it comes back from its own files."""
    from distill_lab.models.backend import Backend
    from distill_lab.models.loading import load

    place = folder / "dropped-by-hand"
    if (place / "model").exists():
        (place / "model").rename(place / "model.partial")
    save_whole(model, place)
    dtype = str(model.lm.dtype).removeprefix("torch.")
    backend = Backend("transformers", str(model.lm.device), dtype, 1, "as the model")
    return load(str(place / "model"), backend, "student")


@torch.no_grad()
def generated(model: LanguageModel, text: str, n: int = 20, cache: bool = True) -> str:
    """The text that a model goes on with, greedily, with or without a KV cache."""
    ids: Any = model.tokenizer(text, return_tensors="pt").to(model.lm.device)
    lm: Any = model.lm
    made = lm.generate(**ids, max_new_tokens=n, do_sample=False, use_cache=cache)
    return str(model.tokenizer.decode(made[0, ids.input_ids.shape[1] :]))


def zipped_bytes(model: LanguageModel) -> int:
    """Bytes of all weights, compressed by zlib at its lowest level."""
    parameters = dict(model.lm.named_parameters()).values()
    return sum(
        len(zlib.compress(p.detach().float().cpu().numpy().tobytes(), 1)) for p in parameters
    )


def decode_milliseconds(lab: PruningLab, numbers: Sequence[int]) -> dict[int, float]:
    """Milliseconds a token of the dense model with so many blocks, the least influential ones
    taken out. Models take turns, and medians are told."""
    dense = lab.model()
    influence = block_influence(dense, batches_of(dense, lab.train_reviews[:READ_AT_ONCE]))
    models = [lab.model() for _ in numbers]
    for model, n in zip(models, numbers, strict=True):
        if n < len(influence):
            drop_blocks(model, least_influential(influence, len(influence) - n))
    speeds = side_by_side(models, lab.config.evaluate)
    return {n: 1000 * median(speed.decode) for n, speed in zip(numbers, speeds, strict=True)}


def sparse_products(
    sparsities: Sequence[float], out: int = 1536, width: int = 576
) -> list[tuple[float, float, float, float]]:
    """Of a matrix of SmolLM2-135M's size at each sparsity: bytes as CSR over bytes as a dense one,
    and the time of a product over the dense one's, with one token and with 64."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(out, width, generator=draw)
    rows: list[tuple[float, float, float, float]] = []
    for sparsity in sparsities:
        dense = weight * magnitude_mask(weight, sparsity, "row")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CSR is in beta, torch says
            csr = dense.to_sparse_csr()
        parts = (csr.values(), csr.col_indices(), csr.crow_indices())
        size = sum(p.numel() * p.element_size() for p in parts) / (4 * dense.numel())
        one, many = (_times_as_long(csr, dense, n) for n in (1, 64))
        rows.append((sparsity, size, one, many))
    return rows


@torch.inference_mode()
def _times_as_long(csr: Tensor, dense: Tensor, tokens: int) -> float:
    """A product's time over the dense one's: the median of rounds in which both take turns."""
    inputs = torch.randn(dense.shape[1], tokens)
    ratios: list[float] = []
    for _ in range(6):
        seconds: list[float] = []
        for matrix in (csr, dense):
            begin = time.perf_counter()
            for _ in range(8):
                torch.mm(matrix, inputs)
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[0] / seconds[1])
    return median(ratios[1:])  # the first round warms up
