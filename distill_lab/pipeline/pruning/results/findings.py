"""What is found: Wanda beside magnitude at equal zeros, KL beside CE at equal steps, each on the
same reviews or questions, whatever its sign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distill_lab.pipeline.pruning.methods import Method
from distill_lab.pipeline.pruning.records import Variant
from distill_lab.pipeline.pruning.results.measures import difference, rounded
from distill_lab.pipeline.pruning.results.readings import Measure, MeasureName, Readings
from distill_lab.pipeline.pruning.settings import MeasureSettings

PLAIN = ("magnitude-row", "magnitude-tensor", "magnitude-global")


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference."""

    plus: str
    minus: str
    measure: MeasureName
    unit: str
    difference: float
    ci95: tuple[float, float]
    seeds: int
    by_seed: tuple[float, ...]
    seeds_t95: tuple[float, float] | None
    better: bool  # whether the difference, chance or not, is in favour of `plus`

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out; one without a width comes of too few."""
        low, high = self.ci95
        return low < high and (low > 0 or high < 0)

    @property
    def reading(self) -> str:
        """What the difference says, in a word or three."""
        if not self.sure:
            return "may be chance"
        return "better" if self.better else "worse"

    def as_json(self) -> dict[str, Any]:
        """As report.json has it."""
        return {**asdict(self), "reading": self.reading}


def contrasts(variants: Sequence[Variant]) -> Iterator[tuple[str, str]]:
    """The pairs (plus, minus) of names: Wanda and each magnitude at equal shares of zeros; of what
    recovered KL and CE, and both and the model before."""
    pruned = [v.method for v in variants if v.method and not v.recovery]
    for wanda in pruned:
        for plain in pruned if wanda.name == "wanda" else ():
            if plain.name in PLAIN and plain.amount == wanda.amount:
                yield wanda.text, plain.text
    for method in dict.fromkeys(v.method for v in variants if v.recovery):
        assert method is not None
        kl, ce, before = _names(method)
        yield from ((kl, ce), (kl, before), (ce, before))


def _names(method: Method) -> tuple[str, str, str]:
    return Variant(method, "kl").name, Variant(method, "ce").name, Variant(method).name


def findings(
    pairs: Iterable[tuple[str, str]], of: Mapping[str, Readings], how: MeasureSettings
) -> list[Finding]:
    """A finding for each pair (plus, minus) of names, and each measure."""
    return [
        _finding(plus, minus, measure, of, how)
        for plus, minus in pairs
        for measure in of[plus].measures
    ]


def _finding(
    plus: str, minus: str, measure: Measure, of: Mapping[str, Readings], how: MeasureSettings
) -> Finding:
    made = difference(of[plus], of[minus], measure.name, how)
    return Finding(
        plus=plus,
        minus=minus,
        measure=measure.name,
        unit=measure.unit,
        seeds=len(made.by_seed),
        better=(made.value < 0) == measure.lower_is_better,
        **rounded(made, measure.digits),
    )
