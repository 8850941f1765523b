"""How far models are from the dense one, over all tokens, and which of them nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.pipeline.pruning.results.findings import Finding
from distill_lab.pipeline.pruning.results.measures import mean, paired, rounded
from distill_lab.pipeline.pruning.results.readings import KL, in_order
from distill_lab.pipeline.pruning.settings import MeasureSettings
from distill_lab.pipeline.quantizing.records import Closeness, Measured, QuantizationFolder


def distances(
    seeds: Sequence[Measured], ids: Sequence[str], folder: QuantizationFolder, how: MeasureSettings
) -> dict[str, Any]:
    """`kl` in nats a token and `top1`, percent of tokens at which both models would say the same,
    with 95 % intervals over reviews or questions; seeds are averaged within one of these. LabError
    where a file holds records of others."""
    of_seeds = [_in_order(folder, model, ids) for model in seeds]
    sizes = [float(record.tokens) for record in of_seeds[0]]
    values = {
        "kl": [[record.kl for record in one] for one in of_seeds],
        "top1": [[100.0 * record.agreed for record in one] for one in of_seeds],
    }
    found: dict[str, Any] = {"tokens": int(sum(sizes))}
    for name, by_seed in values.items():
        value, *ends = mean(by_seed, sizes, how)
        found[name] = round(value, 7)
        found[f"{name}_ci95"] = [round(end, 7) for end in ends]
    return found


def kl_finding(
    plus: Sequence[Measured],
    minus: Sequence[Measured],
    ids: Sequence[str],
    folder: QuantizationFolder,
    how: MeasureSettings,
) -> Finding:
    """What the KL of one model is above another's, on the same tokens; a model without seeds stands
    beside each seed of the other."""
    above, below = ([_in_order(folder, model, ids) for model in of] for of in (plus, minus))
    sizes = [float(record.tokens) for record in above[0]]
    plus_kl, minus_kl = ([[record.kl for record in one] for one in of] for of in (above, below))
    made = paired(plus_kl, minus_kl, sizes, how)
    return Finding(
        plus=plus[0].name,
        minus=minus[0].name,
        measure=KL.name,
        unit=KL.unit,
        seeds=len(made.by_seed),
        better=made.value < 0,
        **rounded(made, KL.digits),
    )


def _in_order(folder: QuantizationFolder, model: Measured, ids: Sequence[str]) -> list[Closeness]:
    return in_order(ids, folder.closeness(model), "record", "entries")


def frontier(models: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of those (bytes, score) than which no other has at most as many bytes and at least
    as high a score, the smallest first; of equals the one named first."""
    order = sorted(models, key=lambda name: (models[name][0], -models[name][1]))
    kept: list[str] = []
    for name in order:
        if not kept or models[name][1] > models[kept[-1]][1]:
            kept.append(name)
    return kept
