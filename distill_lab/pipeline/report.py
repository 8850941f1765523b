"""Says honestly how much of the teacher arrived: report.json, report.md, report.html and plots/.

All numbers are computed here from the records of a run; the templates only lay them out.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import distill_lab
from distill_lab.pipeline.reject import all_reasons, summary
from distill_lab.pipeline.rejection_rules import RULES
from distill_lab.reporting import page, paper, plots
from distill_lab.reporting.stats import bootstrap_interval, gap_closed, gap_interval
from distill_lab.run.arms import ARMS, MODELS
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError, write_text
from distill_lab.run.settings import Config
from distill_lab.run.whole_run import RunRecords, read_run
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.task import score_label

PACKAGES = ("torch", "transformers", "peft", "datasets")


def build(config: Config, out: Path) -> dict[str, Any]:
    """Reads the run folder `out`, writes the report there, and gives what stands in report.json.

    Scores and intervals are 0 to 100, shares 0 to 1, times in seconds; an arm that was not run is
    null. Raises LabError for a missing file, and for records that do not belong together.
    """
    run = read_run(out)
    names = task_of(config).score_names
    values = {who: _values(run, who, names) for who in run.predictions}
    report = _numbers(config, run, values)
    pictures = plots.draw(report, run.verdicts, run.logs, run.held_out)
    folder = RunFolder(out)
    folder.plots.mkdir(exist_ok=True)
    for picture in pictures:
        path = folder.plots / f"{picture.name}.png"
        path.write_bytes(picture.png) if picture.png else path.unlink(missing_ok=True)
    parts = {
        "logs": run.logs,
        "table": table(report),
        "differences": _differences(config, values),
        "refused": page.refused(run.traces, run.verdicts, all_reasons(run.verdicts), run.train),
        "rules": {rule.__name__: _first_sentence(rule.__doc__ or "") for rule in RULES},
        "answers": page.answers(run.eval, run.predictions),
        "watched": page.watched(run.eval, run.watched),
    }
    for ending in ("html", "md"):
        text = page.render(f"report.{ending}", report, pictures, **parts)
        write_text(folder.report(ending), text)
    write_text(folder.report("json"), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


# The scores of one model, 0 to 100, by name, such as {"em": [...], "f1": [...]}, each in the order
# of the questions.
Values = dict[str, list[float]]


def _values(run: RunRecords, who: str, names: Sequence[str]) -> Values:
    scores = {answer.question_id: answer.scores for answer in run.predictions[who]}
    other = next((given for given in scores.values() if given.keys() != {*names}), None)
    if other is not None:
        raise LabError(
            f"The predictions of {who}: expected the scores {', '.join(names)}, found "
            f"{', '.join(other)}. Run `distill-lab evaluate` in another --out."
        )
    return {name: [scores[id][name] for id in run.eval] for name in names}


def _numbers(config: Config, run: RunRecords, values: Mapping[str, Values]) -> dict[str, Any]:
    """What stands in report.json: its keys, and their order, are a contract."""
    data, backend = config.data, run.notes.get("backend", {})
    one_source = data.train == data.eval
    return {
        "profile": config.profile,
        "models": {"teacher": config.models.teacher, "base": config.models.student},
        "data": {
            "source": data.train if one_source else {"train": data.train, "eval": data.eval},
            "train": len(run.train),
            "eval": len(run.eval),
        },
        "rejection": summary(run.verdicts, len(run.examples)),
        "scores": {who: _scores(config, values.get(who)) for who in MODELS},
        **({"scores_by_kind": by_kind} if (by_kind := _by_kind(config, run, values)) else {}),
        "gap_closed": {arm: _gap(values, arm) for arm in ARMS},
        "gap_closed_ci95": {arm: _gap_intervals(config, values, arm) for arm in ARMS},
        "differences": {
            pair: {**dataclasses.asdict(found), **_rounded_ends(found)}
            for pair, found in _differences(config, values).items()
        },
        "seconds": {stage: round(took, 1) for stage, took in run.notes.get("seconds", {}).items()},
        "backend": {key: backend.get(key) for key in ("name", "device", "dtype", "reason")},
        "versions": versions(),
        "git": git_state(),
        "config": dataclasses.asdict(config),
    }


def _first_sentence(doc: str) -> str:
    return " ".join(doc.split()).split(". ")[0].rstrip(".") + "."


def _scores(config: Config, values: Values | None) -> dict[str, Any] | None:
    """The mean of each score with its 95 % interval; None for an arm that was not run."""
    if values is None:
        return None
    intervals = {f"{name}_ci95": _interval(config, scores) for name, scores in values.items()}
    means = {name: round(fmean(scores), 2) for name, scores in values.items()}
    return {**means, **intervals, "n": len(next(iter(values.values())))}


def _by_kind(config: Config, run: RunRecords, values: Mapping[str, Values]) -> dict[str, Any]:
    """The scores of each kind of question, kinds by name; empty where no question carries one, and
    `other` holds those without one where some do."""
    kinds = [question.kind for question in run.eval.values()]
    by_kind: dict[str, Any] = {}
    for name in sorted(filter(None, set(kinds))) + [None] * (None in kinds):
        at = [n for n, kind in enumerate(kinds) if kind == name]
        by_kind[name or "other"] = {
            who: _scores(config, {key: [scores[n] for n in at] for key, scores in by_name.items()})
            for who, by_name in values.items()
        }
    return {} if by_kind.keys() <= {"other"} else by_kind


def _interval(config: Config, values: Sequence[float]) -> list[float]:
    settings = config.evaluate
    return [round(end, 2) for end in bootstrap_interval(values, settings.seed, settings.bootstrap)]


def _gap(values: Mapping[str, Values], arm: str) -> dict[str, float | None] | None:
    """The shares of the way from base to teacher, from unrounded scores."""
    if arm not in values:
        return None
    shares: dict[str, float | None] = {}
    for name in values[arm]:
        share = gap_closed(*(fmean(values[who][name]) for who in ("base", arm, "teacher")))
        shares[name] = None if share is None else round(share, 4)
    return shares


def _gap_intervals(
    config: Config, values: Mapping[str, Values], arm: str
) -> dict[str, list[float] | None] | None:
    """The 95 % interval of each share; None where the share has no bound, or there is none."""
    if arm not in values:
        return None
    settings = config.evaluate
    found: dict[str, list[float] | None] = {}
    for name in values[arm]:
        base, student, teacher = (values[who][name] for who in ("base", arm, "teacher"))
        ends = gap_interval(base, student, teacher, settings.seed, settings.bootstrap)
        found[name] = [round(end, 4) for end in ends] if ends else None
    return found


def _rounded_ends(found: page.Difference) -> dict[str, float]:
    return {key: round(getattr(found, key), 2) for key in ("points", "low", "high")}


def _differences(config: Config, values: Mapping[str, Values]) -> dict[str, page.Difference]:
    """The deciding score of one model minus another's, question by question, by the name of the
    pair: each arm and base, each two arms, teacher and base."""
    name = task_of(config).score_names[0]
    arms = [arm for arm in ARMS if arm in values]
    pairs = [(arm, "base") for arm in arms]
    pairs += [(later, earlier) for earlier, later in combinations(arms, 2)]
    differences: dict[str, page.Difference] = {}
    for above, below in [*pairs, ("teacher", "base")]:
        both = zip(values[above][name], values[below][name], strict=True)
        points = [upper - lower for upper, lower in both]
        low, high = _interval(config, points)
        difference = page.Difference(fmean(points), low, high, score_label(name))
        differences[f"{above} − {below}"] = difference
    return differences


def versions() -> dict[str, str | None]:
    """Of Python, of the libraries behind the numbers, and of this package; None if missing."""
    installed = {package: version(package) for package in PACKAGES}
    return {
        "python": platform.python_version(),
        **installed,
        "distill_lab": distill_lab.__version__,
    }


def version(package: str) -> str | None:
    """An installed package's version, without importing it; None if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state() -> dict[str, Any] | None:
    """The checkout's commit, and whether files differ from it; None outside a checkout."""
    root = Path(distill_lab.__file__).resolve().parent.parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", root, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None  # installed somewhere inside another project's checkout
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def table(report: Mapping[str, Any]) -> str:
    """The result as a Markdown table that also reads well in a terminal; scores are 0 to 100."""
    names = page.task_of(report).score_names
    scored = [f"{score_label(name)} (95 % CI)" for name in names]
    rows = [("model", *scored, "n", *(f"gap {score_label(name)}" for name in names))]
    for who, of_model in report["scores"].items():
        scores = [page.score(of_model, name) for name in names]
        closed = report["gap_closed"].get(who)
        shares = [page.percent(closed[name]) if closed else "" for name in names]
        rows.append((who, *scores, str(of_model["n"]) if of_model else "", *shares))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    note = "gap is the share of the way from base to teacher that was closed."
    return "\n".join([lines[0], rule, *lines[1:], "", paper.ARMS_NOTE, note])
