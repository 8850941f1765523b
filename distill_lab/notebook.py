"""What the notebooks call: `lab = begin()`, then a stage at a time, and its records to look at.

lab = begin()                    # profile and run folder, and why; begin(profile="cpu") chooses
lab.run("data", "generate")      # what is there already is not made again
lab.traces[0]                    # the records of the run's folder, by their names
lab.show("funnel")               # one of the report's pictures
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_lab.config import Config, profile
from distill_lab.plots import Plot
from distill_lab.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Record,
    Trace,
    Verdict,
    need,
    read_records,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Lab:
    """A run as the notebooks see it: the lab's parts share its folder."""

    config: Config
    out: Path

    def run(self, *stages: str) -> None:
        """Runs these stages in order; what is there already is not made again."""
        from distill_lab.cli import one_stage

        for stage in stages:
            one_stage(stage, self.config, self.out)

    @property
    def questions(self) -> list[Question]:
        """Those that the teacher is asked."""
        return self._read("questions.train.jsonl", Question, "data")

    @property
    def eval_questions(self) -> list[Question]:
        """Those that all models are scored on."""
        return self._read("questions.eval.jsonl", Question, "data")

    @property
    def traces(self) -> list[Trace]:
        return self._read("traces.jsonl", Trace, "generate")

    @property
    def verdicts(self) -> list[Verdict]:
        return self._read("verdicts.jsonl", Verdict, "reject")

    @property
    def examples(self) -> list[Example]:
        return self._read("examples.jsonl", Example, "reject")

    def predictions(self, who: str) -> list[Prediction]:
        """Of base, sft, kd or teacher."""
        return self._read(f"predictions/{who}.jsonl", Prediction, "evaluate")

    def log(self, arm: str) -> list[dict[str, float]]:
        """Each optimiser step of sft or kd: step, loss, ce and kl in nats a token, grad_norm."""
        path = need(self.out / "students" / arm / "log.jsonl", "train")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        return json.loads(need(self.out / "report.json", "report").read_text(encoding="utf-8"))

    def show(self, name: str) -> None:
        """One of the report's pictures: scores, gap, funnel, yield or curves."""
        from distill_lab import plots

        logs = {arm: self.log(arm) for arm in ("sft", "kd")}
        pictures = {p.name: p for p in plots.draw(self.report, self.verdicts, logs)}
        if name not in pictures:
            raise LabError(f"Expected one of {', '.join(pictures)}, found {name!r}.")
        show(pictures[name])

    def model(self, who: str) -> Any:
        """base, sft, kd or teacher, loaded (`models.Loaded`)."""
        from distill_lab import models
        from distill_lab.backends import start

        backend = start(self.config, self.out)
        if who == "teacher":
            return models.load_teacher(self.config.models, backend)
        if who == "base":
            return models.load_base(self.config.models, backend)
        folder = need(self.out / "students" / who / "model", "train")
        return models.load_student(folder, self.config.models, backend)

    def _read(self, name: str, kind: type[Record], stage: str) -> list[Record]:
        return read_records(need(self.out / name, stage), kind)


def begin(name: str | None = None, out: str | Path | None = None) -> Lab:
    """The lab's run with profile `name` (None: what this machine can run), in `out` (None: the
    folder `runs/<profile>`, or below DISTILL_LAB_RUNS)."""
    from distill_lab.backends import prepare
    from distill_lab.doctor import recommended
    from distill_lab.runs import adopt

    chosen, why = recommended() if name is None else (name, "it was asked for")
    config = profile(chosen)
    prepare(config.runtime)
    folder = Path(out or Path(os.environ.get("DISTILL_LAB_RUNS", "runs")) / chosen)
    adopt(config, folder)
    print(f"Profile {chosen}: {why}. The run lies in {folder}.")
    return Lab(config, folder)


def show(*pictures: Plot) -> None:
    """Pictures with their alternative text, in a notebook's output."""
    from IPython.display import Image, display  # type: ignore[attr-defined]

    for picture in pictures:
        if picture.png is None:
            print(picture.alt)
        else:
            display(Image(picture.png, alt=picture.alt))


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """Rows as a table: as HTML in a notebook, as Markdown where only text is shown."""
    from html import escape

    from IPython.display import display

    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{escape(str(cell))}</td>' for cell in row)}</tr>"
        for row in rows
    )
    lines = [columns, ["---"] * len(columns), *rows]
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    html = f"<table><tr>{head}</tr>{body}</table>"
    display({"text/html": html, "text/plain": text}, raw=True)
