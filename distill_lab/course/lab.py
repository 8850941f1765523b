"""What the notebooks call: `lab = begin()`, then one stage at a time, and its records.

    lab = begin()                    # chooses profile and run folder, and says why
    lab = begin("cpu")               # the same with this profile
    lab = begin(drive=True)          # in Colab: also keeps a copy of the run in Google Drive
    lab.run("data", "generate")      # runs stages
    lab.traces[0]                    # the records in the run's folder, by their names
    lab.judged[0]                    # a trace with its own verdict; never join the two by position
    lab.show("funnel")               # shows one of the report's pictures
    lab.ask("passage", "question")   # the models' thoughts and answers, as they write them

What exists already is not made again.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_lab.course import drive as google_drive
from distill_lab.course.display import show
from distill_lab.pipeline.runner import STAGES, quiet, run_stage
from distill_lab.run.arms import ARMS, MODELS
from distill_lab.run.folder import RecordFile, RunFolder, require_file
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Record,
    Trace,
    Verdict,
    judged,
)
from distill_lab.run.settings import PROFILES, Config, profile


@dataclasses.dataclass(frozen=True, slots=True)
class Lab:
    """A run as the notebooks see it. All parts of the lab share its folder `out`; each finished
    stage is also copied to the folder `copies`, if there is one."""

    config: Config
    out: Path
    copies: Path | None = None
    # those that `ask` has loaded, by name: the next question is answered at once
    _speakers: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def run(self, *stages: str) -> None:
        """Runs these stages in order; what exists already is not made again."""
        self._speakers.clear()  # a stage needs their memory, and may train others
        for stage in stages:
            one_of(tuple(STAGES), stage)
            run_stage(stage, self.config, self.out)
            if self.copies:
                google_drive.save(self.out, self.copies)

    @property
    def questions(self) -> list[Question]:
        """The training questions, which the teacher is asked."""
        return self._read(self._folder.train_questions)

    @property
    def eval_questions(self) -> list[Question]:
        """The evaluation questions, on which all models are scored."""
        return self._read(self._folder.eval_questions)

    @property
    def traces(self) -> list[Trace]:
        return self._read(self._folder.traces)

    @property
    def verdicts(self) -> list[Verdict]:
        return self._read(self._folder.verdicts)

    @property
    def judged(self) -> list[tuple[Trace, Verdict]]:
        """Each trace with its verdict. The two files have different orders."""
        verdicts = self.verdicts  # read first, so that the error names `reject` if both are missing
        return judged(self.traces, verdicts)

    @property
    def examples(self) -> list[Example]:
        return self._read(self._folder.examples)

    def predictions(self, who: str) -> list[Prediction]:
        """The predictions of base, sft, kd or teacher."""
        one_of(MODELS, who)
        return self._read(self._folder.predictions(who))

    def log(self, arm: str) -> list[dict[str, float]]:
        """The optimiser steps of sft or kd: step, loss, ce and kl in nats per token, grad_norm."""
        one_of(tuple(ARMS), arm)
        return self._folder.read_training_log(arm)

    @property
    def held_out_losses(self) -> dict[str, list[dict[str, float]]]:
        """Of sft and kd, at some steps: `step`, `ce` and `kl` on answers of the teacher's from
        which nobody learns."""
        return {arm: self._folder.read_held_out_losses(arm) for arm in ARMS}

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds."""
        return self._folder.read_report()

    def show(self, name: str) -> None:
        """Shows one of the report's pictures: funnel or yield after the stage reject, curves after
        train, scores, gap or difference after report."""
        from distill_lab.pipeline.reject import summary
        from distill_lab.reporting import plots

        draw = {
            "funnel": lambda: plots.funnel(summary(self.verdicts, len(self.examples))),
            "yield": lambda: plots.yields(self.verdicts),
            "curves": lambda: plots.curves(
                {arm: self.log(arm) for arm in ARMS},
                self.config.train.temperature,
                self.held_out_losses,
            ),
            "scores": lambda: plots.scores(self.report["scores"]),
            "gap": lambda: plots.gap(
                self.report["gap_closed"], self.report.get("gap_closed_ci95", {})
            ),
            "difference": lambda: plots.difference(self.report.get("differences", {})),
        }
        one_of(tuple(draw), name)
        show(draw[name]())

    def model(self, who: str) -> Any:
        """Loads base, sft, kd or teacher: a `loading.LanguageModel`."""
        one_of(MODELS, who)
        if who in ARMS:
            self._folder.require_model(who)
        from distill_lab.models.backend import start
        from distill_lab.models.loading import load_model

        return load_model(who, self.config.models, start(self.config, self.out), self.out)

    def ask(self, passage: str, question: str, *who: str) -> None:
        """Shows the thoughts and answers of base, the students and the teacher, or of those that
        are named, as they write them. Students that are not trained yet are left out."""
        from distill_lab.chat.speakers import of_run
        from distill_lab.course.asking import show_answers

        for name in who:
            one_of(MODELS, name)
        trained = [name for name in MODELS if name not in ARMS or self._folder.model(name).exists()]
        names = who or trained
        if missing := [name for name in names if name not in self._speakers]:
            made, _ = of_run(self.config, self.out, missing)
            self._speakers.update((speaker.who, speaker) for speaker in made)
        asked = Question("of yours", "", passage, question, ())
        show_answers([self._speakers[name] for name in names], asked)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.out)

    def _read(self, file: RecordFile[Record]) -> list[Record]:
        state = require_file(file.path, file.stage).stat()
        return list(_records(file, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=16)
def _records(file: RecordFile[Record], _mtime_ns: int, _size: int) -> list[Record]:
    """Reads a file again only if it has changed, so that `lab.questions` is cheap in a loop."""
    return file.read()


def brief(folder: Path) -> str:
    """The path as the user gave it; of an absolute path the last two parts, because notebooks are
    shared with their outputs."""
    return str(Path(*folder.parts[-2:]) if folder.is_absolute() else folder)


def one_of(known: Sequence[str], name: str) -> None:
    """LabError for a name that is not among those that are known."""
    if name not in known:
        raise LabError(f"Expected one of {', '.join(known)}; found {name!r}.")


def begin(name: str | None = None, out: str | Path | None = None, drive: bool = False) -> Lab:
    """Begins the lab's run, or continues it, and prints what it chose.

    name: the profile; by default one that this machine can run. out: the run's folder; by default
    `runs/<profile>`, or `<profile>` in the folder that DISTILL_LAB_RUNS names. drive: in Colab,
    copies each finished stage to Google Drive, and restores the run from there after a disconnect;
    elsewhere it does nothing.
    """
    quiet()
    # without ipywidgets tqdm warns and prints its bars as text, which is what we want
    warnings.filterwarnings("ignore", message="IProgress not found")
    from distill_lab.models.backend import prepare
    from distill_lab.planning.doctor import expected, recommended
    from distill_lab.run.saved_settings import claim_run_folder

    chosen, reason = recommended() if name is None else (name, "you asked for it")
    config = profile(chosen)
    prepare(config.runtime)
    lab = Lab(
        config,
        Path(out or Path(os.environ.get("DISTILL_LAB_RUNS", "runs")) / chosen),
        google_drive.folder() if drive else None,
    )
    restored = lab.copies is not None and google_drive.restore(lab.copies, lab.out)
    claim_run_folder(config, lab.out)
    finished = RunFolder(lab.out).read_notes().get("seconds", {})
    print(f"Profile {chosen}: {reason}. begin(name) takes another: {', '.join(PROFILES)}.")
    print(
        f"The run is in {brief(lab.out)}{', restored from Drive' if restored else ''}; "
        f"finished stages: {', '.join(finished) or 'none yet'}."
    )
    print(expected(config, finished))
    return lab
