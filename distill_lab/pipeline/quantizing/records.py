"""The models of a run of quantization, where each lies, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distill_lab.pipeline.pruning.records import (
    DENSE,
    DENSE_FROM,
    RECOVERIES,
    SCORES_FROM,
    Model,
    ModelsFolder,
    Recovery,
    check_batches,
    claim_folder,
)
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.pipeline.quantizing.ways import Way, parse, parse_all
from distill_lab.run.folder import RecordFile
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import check


@dataclass(frozen=True, slots=True)
class Closeness:
    """How far a model is from the dense one on the tokens of one review, or of the dense model's
    own answer: their KL in nats, summed over the tokens; at how many both would say the same."""

    entry_id: str
    kl: float
    agreed: int
    tokens: int


class Measured(Model, Protocol):
    """A model that is measured: in which dtype it is loaded (None: the dense model's), and whether
    it computes in the form in which it is kept, so that its time is its own."""

    @property
    def dtype(self) -> str | None: ...

    @property
    def computes(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A model of the run: the dense one, one that is kept in a way, or one that was trained for a
    way with a seed, by KL to the dense model or by CE alone."""

    way: Way | None = None
    recovery: Recovery | None = None
    seed: int = 0

    @property
    def place(self) -> str:
        """Its folder, below the run's."""
        if self.way is None:
            return DENSE.place
        if self.recovery is None:
            return f"quantized/{self.way.text}"
        return f"qat/{self.way.text}/{self.recovery}-{self.seed}"

    @property
    def name(self) -> str:
        """Its name in tables, which is the same for all seeds."""
        if self.way is None:
            return DENSE.name
        trained = f" + QAT by {self.recovery.upper()}" if self.recovery else ""
        return self.way.text + trained

    @property
    def title(self) -> str:
        """Its name in progress bars, with its seed."""
        return self.name + (f", seed {self.seed}" if self.recovery else "")

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        if self.way is None:
            return DENSE.stage
        return "qat" if self.recovery else "quantize"

    @property
    def dtype(self) -> str | None:
        return self.way.dtype if self.way else None

    @property
    def computes(self) -> bool:
        return self.way is None or self.way.computes


class QuantizationFolder(ModelsFolder):
    """The folder of one run of quantization."""

    def __init__(self, path: Path, command: str = "quantize", has_stages: bool = True) -> None:
        super().__init__(path, command, has_stages)
        self.sensitivity = path / "sensitivity.json"  # KL of each linear alone

    def closeness(self, model: Model) -> RecordFile[Closeness]:
        """A line for each evaluation review or question."""
        return self.records(model, "closeness", Closeness)

    def left_out(self) -> dict[str, str]:
        """The ways that cannot be had here, each with its reason."""
        return self.run.read_notes().get("left_out", {})


def models(config: QuantizationConfig) -> list[QuantizedModel]:
    """All models that the settings ask for, in the order of the tables."""
    ways = parse_all(config.quantize.ways, "--quantize.ways")
    return [QuantizedModel(), *map(QuantizedModel, ways), *trained(config)]


def trained(config: QuantizationConfig) -> list[QuantizedModel]:
    """The models that QAT makes. LabError for a way that does not round, or is not asked for."""
    ways = parse_all(config.qat.ways, "--qat.ways")
    for way in ways:
        if way.method != "round" or way.text not in config.quantize.ways:
            raise LabError(
                f"--qat.ways: expected ways that round and that --quantize.ways has too; found "
                f"{way.text!r}. Take round-4-g32, in both."
            )
    seeds = range(config.qat.seeds)
    return [QuantizedModel(way, by, n) for way in ways for by in RECOVERIES for n in seeds]


# What the records of each stage depend on. Ways and seeds may be added: each has its own files.
_QUANTIZED = (*DENSE_FROM, "quantize.n_calibration")
_TRAINED = (*DENSE_FROM, "qat.steps", "qat.learning_rate", "qat.batch_size", "qat.temperature")
_SENSITIVITY = (*_QUANTIZED, "quantize.n_sensitivity", "quantize.sensitivity")
_SCORES = (*_QUANTIZED, *_TRAINED, *SCORES_FROM)
MADE_FROM = {
    "quantized": _QUANTIZED, "qat": _TRAINED, "sensitivity.json": _SENSITIVITY,
    "scores": _SCORES, "closeness": _SCORES,
}  # fmt: skip


def claim_quantization_folder(config: QuantizationConfig, out: Path) -> None:
    """Makes `config` the folder's: saved as config.json, or refused where something that is there
    was made with other settings. LabError for ways that there are not, too."""
    require_possible(config)
    claim_folder(config, QuantizationFolder(out), MADE_FROM)


def require_possible(config: QuantizationConfig) -> None:
    """LabError for a setting out of its bounds, a way that there is not, batches that do not
    divide."""
    check(config)
    check_batches(config.runtime.micro_batch, adapt=config.adapt, qat=config.qat)
    models(config)
    if parse(config.quantize.sensitivity, "--quantize.sensitivity").kind != "codes":
        raise LabError(
            f"--quantize.sensitivity: expected codes of ours, such as round-4-g32; found "
            f"{config.quantize.sensitivity!r}."
        )
