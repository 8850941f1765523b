"""The steps of a chain: each calls the stage of pruning or of quantization that does the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from distill_lab.models.backend import Backend
from distill_lab.models.loading import load
from distill_lab.pipeline.chain.records import RECOVER, Link, chain_folder, links
from distill_lab.pipeline.chain.settings import ChainConfig
from distill_lab.pipeline.pruning.adapt import adapt
from distill_lab.pipeline.pruning.methods import parse
from distill_lab.pipeline.pruning.prune import calibration, prune_into
from distill_lab.pipeline.pruning.recover import recover_into
from distill_lab.pipeline.pruning.training import plain_backend
from distill_lab.pipeline.quantizing.evaluate import evaluate
from distill_lab.pipeline.quantizing.make import leave_out, quantize_into, require_finite
from distill_lab.pipeline.quantizing.records import QuantizationFolder
from distill_lab.pipeline.quantizing.ways import parse_all


def begin(config: ChainConfig, out: Path) -> bool:
    """Takes the student and writes its answers to the training questions, as `prune adapt` does,
    and notes which ways cannot be had. False if all was there."""
    folder = chain_folder(out)
    done = adapt(config, folder)
    if done or any(not folder.model(link).exists() for link in links(config)):
        model = load(str(folder.model(Link())), plain_backend(config.runtime, out), "base")
        require_finite(model)
        leave_out(parse_all(config.chain.quantize, "--chain.quantize"), model, folder)
        return True
    return False


def make(config: ChainConfig, out: Path) -> bool:
    """Writes steps/<all steps to it>/model. False if all were there."""
    folder = chain_folder(out)
    todo = [
        link
        for link in links(config, folder.left_out())
        if link.steps and not folder.model(link).exists()
    ]
    backend = plain_backend(config.runtime, out)
    for n, link in enumerate(todo, 1):
        _make(link, config, folder, backend, f"chain {n}/{len(todo)} {link.name}")
    return bool(todo)


def _make(
    link: Link, config: ChainConfig, folder: QuantizationFolder, backend: Backend, title: str
) -> None:
    print(title, flush=True)
    texts = partial(calibration, n=config.chain.n_calibration, config=config, folder=folder)
    place, before = folder.of(link), folder.require_model(link.before)
    if link.way:
        quantize_into(place, before, link.way, backend, texts)
    elif link.last == RECOVER:
        recover_into(place, before.parent, "kl", 0, config.chain, config, folder, title)
    else:
        model = load(str(before), backend, "base")
        prune_into(place, model, parse(link.last), texts(model))


def measure(config: ChainConfig, out: Path) -> bool:
    """Writes scores/, closeness/ and ledgers/ of all models. False if all were there."""
    folder = chain_folder(out)
    asked = links(config, folder.left_out())
    return evaluate(asked, config, folder, all_timed=True)
