"""What the notebooks call: `lab = begin()`, then a stage at a time, and its records to look at.

lab = begin()                    # profile and run folder, and why; begin("cpu") chooses
lab = begin(drive=True)          # in Colab: a copy of the run in Google Drive, and back from it
lab.run("data", "generate")      # what is there already is not made again
lab.traces[0]                    # the records of the run's folder, by their names
lab.judged[0]                    # a trace with its own verdict: never join the two by place
lab.show("funnel")               # one of the report's pictures
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
from distill_lab.pipeline.runner import STAGES, quiet, run_stage
from distill_lab.reporting.plots import Plot
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
    """A run as the notebooks see it: the lab's parts share its folder. `copies` is where each
    finished stage is copied to."""

    config: Config
    out: Path
    copies: Path | None = None

    def run(self, *stages: str) -> None:
        """Runs these stages in order; what is there already is not made again."""
        for stage in stages:
            _one_of(tuple(STAGES), stage)
            run_stage(stage, self.config, self.out)
            if self.copies:
                google_drive.save(self.out, self.copies)

    @property
    def questions(self) -> list[Question]:
        """Those that the teacher is asked."""
        return self._read(self._folder.train_questions)

    @property
    def eval_questions(self) -> list[Question]:
        """Those that all models are scored on."""
        return self._read(self._folder.eval_questions)

    @property
    def traces(self) -> list[Trace]:
        return self._read(self._folder.traces)

    @property
    def verdicts(self) -> list[Verdict]:
        return self._read(self._folder.verdicts)

    @property
    def judged(self) -> list[tuple[Trace, Verdict]]:
        """Each trace with its verdict: the two files stand in different orders."""
        verdicts = self.verdicts  # asked for first: where they are missing, `reject` is
        return judged(self.traces, verdicts)

    @property
    def examples(self) -> list[Example]:
        return self._read(self._folder.examples)

    def predictions(self, who: str) -> list[Prediction]:
        """Of base, sft, kd or teacher."""
        _one_of(MODELS, who)
        return self._read(self._folder.predictions(who))

    def log(self, arm: str) -> list[dict[str, float]]:
        """Each optimiser step of sft or kd: step, loss, ce and kl in nats a token, grad_norm."""
        _one_of(tuple(ARMS), arm)
        return self._folder.read_training_log(arm)

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        return self._folder.read_report()

    def show(self, name: str) -> None:
        """One of the report's pictures, as soon as its stage has run: funnel and yield after
        reject, curves after train, scores and gap after report."""
        from distill_lab.pipeline.reject import summary
        from distill_lab.reporting import plots

        drawn = {
            "funnel": lambda: plots.funnel(summary(self.verdicts, len(self.examples))),
            "yield": lambda: plots.yields(self.verdicts),
            "curves": lambda: plots.curves(
                {arm: self.log(arm) for arm in ARMS}, self.config.train.temperature
            ),
            "scores": lambda: plots.scores(self.report["scores"]),
            "gap": lambda: plots.gap(self.report["gap_closed"]),
        }
        _one_of(tuple(drawn), name)
        show(drawn[name]())

    def model(self, who: str) -> Any:
        """base, sft, kd or teacher, loaded (`loading.Loaded`)."""
        _one_of(MODELS, who)
        from distill_lab.models import loading
        from distill_lab.models.backend import start

        backend = start(self.config, self.out)
        if who == "teacher":
            return loading.load_teacher(self.config.models, backend)
        if who == "base":
            return loading.load_base(self.config.models, backend)
        return loading.load_student(self._folder.require_model(who), self.config.models, backend)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.out)

    def _read(self, file: RecordFile[Record]) -> list[Record]:
        state = require_file(file.path, file.stage).stat()
        return list(_records(file, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=16)
def _records(file: RecordFile[Record], _mtime_ns: int, _size: int) -> list[Record]:
    """Read once, as long as the file is the same: `lab.questions` may stand in a loop."""
    return file.read()


def _brief(folder: Path) -> str:
    """As it was asked for; of an absolute path its end, as outputs are stored and given away."""
    return str(Path(*folder.parts[-2:]) if folder.is_absolute() else folder)


def _one_of(known: Sequence[str], found: str) -> None:
    if found not in known:
        raise LabError(f"Expected one of {', '.join(known)}; found {found!r}.")


def begin(name: str | None = None, out: str | Path | None = None, drive: bool = False) -> Lab:
    """The lab's run with profile `name` (None: what this machine can run), in `out` (None: the
    folder `runs/<profile>`, or below DISTILL_LAB_RUNS); what is there already is gone on with.

    `drive`: in Colab, a copy of each finished stage in Google Drive, and the run back from there
    after a disconnect. Elsewhere it does nothing.
    """
    quiet()
    # tqdm's, of a widget that is not there: its bars are text then, which is what we want
    warnings.filterwarnings("ignore", message="IProgress not found")
    from distill_lab.models.backend import prepare
    from distill_lab.planning.doctor import expected, recommended
    from distill_lab.run.claim import claim_run_folder

    chosen, why = recommended() if name is None else (name, "it was asked for")
    config = profile(chosen)
    prepare(config.runtime)
    lab = Lab(
        config,
        Path(out or Path(os.environ.get("DISTILL_LAB_RUNS", "runs")) / chosen),
        google_drive.folder() if drive else None,
    )
    back = lab.copies is not None and google_drive.restore(lab.copies, lab.out)
    claim_run_folder(config, lab.out)
    finished = RunFolder(lab.out).read_notes().get("seconds", {})
    print(f"Profile {chosen}: {why}. begin(name) takes another: {', '.join(PROFILES)}.")
    print(
        f"The run lies in {_brief(lab.out)}{', brought back from Drive' if back else ''}; "
        f"finished stages: {', '.join(finished) or 'none yet'}."
    )
    print(expected(config, finished))
    return lab


def show(*pictures: Plot) -> None:
    """Pictures with their alternative text, in a notebook's output; folded below each the same
    text again, as several viewers read out no other."""
    from html import escape

    from IPython.display import Image, display  # type: ignore[attr-defined]

    for picture in pictures:
        if picture.png is None:
            print(picture.alt)
            continue
        display(Image(picture.png, alt=picture.alt))
        words = f"<summary>The picture in words</summary>{escape(picture.alt)}"
        html = f"<details>{words}</details>"
        display({"text/html": html, "text/plain": picture.alt}, raw=True)


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """Rows as a table: as HTML in a notebook, as Markdown where only text is shown. None is a
    dash."""
    from html import escape

    from IPython.display import display

    shown = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in shown
    )
    text = "\n".join(
        f"| {' | '.join(map(str, line))} |" for line in (columns, ["---"] * len(columns), *shown)
    )
    html = f"<table><tr>{head}</tr>{body}</table>"
    display({"text/html": html, "text/plain": text}, raw=True)
