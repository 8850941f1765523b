"""`distill-lab publish`: lays out what the hub would get, shows it, and uploads it when told to.

Without `--yes` no connection is opened. The weights are copied as they were trained; an adapter's
config names its base as the hub does, where a folder of this machine stood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from distill_lab.models.adapters import BASE, CONFIG
from distill_lab.pipeline.publishing.cards import dataset_card, model_card
from distill_lab.pipeline.publishing.origins import Origin, of_questions, of_student
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_files import read_json
from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError, by_id, judged
from distill_lab.run.saved_settings import saved
from distill_lab.run.settings import Config
from distill_lab.tasks.all_tasks import task_of

CARD = "README.md"  # as the hub calls a card


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be published, where, and what the user says of it; "" where nothing is said."""

    arm: str
    to: str
    license: str = ""
    data_license: str = ""
    base_model: str = ""
    data: bool = True


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the hub, and the folder that it would hold; `kind` as the hub says it."""

    kind: str
    name: str
    folder: Path

    @property
    def files(self) -> list[tuple[str, int]]:
        """Each file's path in the repository, and its bytes."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(
            (path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in files
        )


def prepare(out: Path, wanted: Wanted) -> list[Repository]:
    """Lays out the repositories in `publish-<arm>` of the run's folder, whole or not at all.

    LabError without a licence or an evaluation, and for what is not there.
    """
    config = saved(out)
    if config is None:
        raise LabError(f"RUN {out}: expected the folder of a run, found none. Name one that is.")
    _check_name(wanted.to)
    student = RunFolder(out).require_model(wanted.arm)
    report = _evaluated(RunFolder(out), config, wanted.arm)
    origin = of_student(config, wanted.license, wanted.base_model)
    questions = _questions(config, wanted)
    target = out / f"publish-{wanted.arm}"
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # a kill may have left one
    try:
        made = _lay_out(partial, out, student, config, report, wanted, (origin, questions))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [Repository(kind, name, target / kind) for kind, name in made]


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
        if "/" in name:  # the hub knows names without an owner, but no page of theirs
            return
    except HFValidationError:
        pass
    raise LabError(
        f"--to: expected a name on the hub, OWNER/NAME, found {name!r}. Letters, digits and - _ . "
        "are allowed."
    )


def _evaluated(folder: RunFolder, config: Config, arm: str) -> dict[str, Any]:
    """The report; LabError where the arm was not scored, or is scored otherwise now."""
    answers = folder.predictions(arm).read()
    report = folder.read_report()
    of_arm = (report.get("scores") or {}).get(arm)
    score = task_of(config).score_names[0]
    mean = sum(answer.scores[score] for answer in answers) / max(1, len(answers))
    if not of_arm or len(answers) != of_arm["n"] or abs(mean - of_arm[score]) > 0.006:
        raise LabError(
            f"{folder.report('json')}: expected the scores of {arm}'s predictions, found others. "
            "Run `distill-lab report` again."
        )
    return report


def _questions(config: Config, wanted: Wanted) -> Origin | None:
    """The questions' origin; None where they are not published and nobody says it."""
    try:
        return of_questions(config, wanted.data_license, task_of(config).licence)
    except LabError:
        if wanted.data or wanted.data_license:
            raise
        return None


def _lay_out(
    folder: Path,
    out: Path,
    student: Path,
    config: Config,
    report: Mapping[str, Any],
    wanted: Wanted,
    origins: tuple[Origin, Origin | None],
) -> list[tuple[str, str]]:
    """Writes model/ and dataset/; returns the kind and name of each."""
    traces = f"{wanted.to}-traces" if wanted.data else ""
    shutil.copytree(student, folder / "model")
    library = _name_base(folder / "model" / CONFIG, origins[0])
    card = model_card(
        wanted.to.rpartition("/")[2], wanted.arm, config, report, origins, traces, library
    )
    card.save(folder / "model" / CARD)
    if not wanted.data:
        return [("model", wanted.to)]
    assert origins[1] is not None
    _write_traces(RunFolder(out), folder / "dataset" / "traces.jsonl")
    name = traces.rpartition("/")[2]
    dataset_card(name, config, report, origins[1], wanted.to).save(folder / "dataset" / CARD)
    return [("model", wanted.to), ("dataset", traces)]


def _name_base(adapter: Path, student: Origin) -> str:
    """The library that loads the student; an adapter's config then names its base on the hub."""
    if not adapter.is_file():
        return "transformers"
    if not student.hub:
        raise LabError(
            "--base-model: expected the hub's name of the model that this adapter belongs on, "
            "found none. Name it, or train all weights (--models.lora-rank 0)."
        )
    config = read_json(adapter, "the config of an adapter as peft saves it")
    adapter.write_text(json.dumps({**config, BASE: student.hub}, indent=1) + "\n", encoding="utf-8")
    return "peft"


def _write_traces(run: RunFolder, file: Path) -> None:
    """Every trace with its question and its verdict, a line each."""
    questions = by_id(run.train_questions.read())
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="utf-8") as lines:
        for trace, verdict in judged(run.traces.read(), run.verdicts.read()):
            question = questions[trace.question_id]
            row = {
                "question_id": trace.question_id,
                "sample": trace.sample,
                "context": question.context,
                "question": question.question,
                "answers": list(question.answers),
                "completion": trace.completion,
                "reason": verdict.reason,
                "scores": verdict.scores,
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def summary(repositories: list[Repository]) -> str:
    """What would be uploaded: the files of each repository, with their sizes."""
    lines: list[str] = []
    for each in repositories:
        files = each.files
        lines.append(
            f"{each.kind} {each.name}: {_size(sum(size for _, size in files))}, from {each.folder}"
        )
        lines += [f"  {_size(size):>10}  {path}" for path, size in files]
    return "\n".join(lines)


def _size(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n >= 1e5 else f"{n / 1e3:,.1f} KB"


def upload(repositories: list[Repository], private: bool, api: HfApi | None = None) -> list[str]:
    """Uploads each folder as one commit; returns the pages. LabError where the hub refuses."""
    api = api or HfApi(token=True)  # which says so where there is none
    pages: list[str] = []
    for each in repositories:
        try:
            page = api.create_repo(each.name, repo_type=each.kind, private=private, exist_ok=True)
            if private and not api.repo_info(page.repo_id, repo_type=each.kind).private:
                raise LabError(
                    f"--private: {each.kind} {each.name} is on the hub already, and public. Make "
                    "it private on its page, or choose another --to."
                )
            api.upload_folder(
                repo_id=page.repo_id,
                folder_path=each.folder,
                repo_type=each.kind,
                commit_message="Published by distill-lab",
            )
        except LocalTokenNotFoundError:
            raise LabError(
                "Expected that you are logged in to the hub, found no token. Run `hf auth login`."
            ) from None
        except (OSError, httpx.HTTPError) as error:  # the hub's own errors are OSErrors, too
            raise LabError(
                f"{each.kind} {each.name}: expected that the hub takes it, found: "
                f"{first_line(error)}. What was uploaded before stays; the same command goes on."
            ) from None
        pages.append(str(page))
    return pages
