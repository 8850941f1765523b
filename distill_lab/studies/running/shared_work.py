"""What the cells of a study share, each made once: questions, traces, examples, the teacher's
targets, held-out traces. It lies in the study's `work` folder, by what it depends on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tqdm import tqdm

from distill_lab.models.backend import start
from distill_lab.models.loading import (
    load_model,
    load_tokenizer_only,
    require_shared_tokenizer,
)
from distill_lab.pipeline import ablation, data, generate, reject
from distill_lab.pipeline.learning.teachers import fill_teacher_cache
from distill_lab.run.arms import OWN_ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, LabError, Question, by_question
from distill_lab.run.saved_settings import fingerprint
from distill_lab.run.settings import Config
from distill_lab.studies.budget import SAMPLING_SECONDS
from distill_lab.studies.definition import Definition
from distill_lab.studies.halves import Half, half_of
from distill_lab.studies.held_out import HeldOut, make_held_out
from distill_lab.studies.running.cell_configs import Cell, base_config
from distill_lab.studies.running.setting_values import changed
from distill_lab.studies.running.train_cell import train_student
from distill_lab.studies.running.work_folder import Work, grouped
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.task import LoadedQuestions


@cache
def _load(task: str, source: str, strict: bool) -> LoadedQuestions:
    return task_of(changed(Config(), {"data.task": task})).load(source, "train", strict)


def questions_of(config: Config) -> list[Question]:
    """The questions that a cell trains on, as the stage `data` draws them."""
    settings = config.data
    loaded = _load(settings.task, settings.train, settings.strict)
    return data.draw(loaded.questions, settings.n_train, settings.seed)


def make_halves(definition: Definition, cells: Sequence[Cell], work: Work) -> dict[str, Half]:
    """The study's two sets of evaluation questions, without those that any cell trains on. LabError
    where one is empty, or both have a question."""
    config, trained_on = base_config(definition), set[str]()
    students = [cell for cell in cells if not cell.is_reference]
    for group in grouped(students, lambda cell: fingerprint(cell.config, ("data",))).values():
        with work.naming(group):
            trained_on |= {question.id for question in questions_of(group[0].config)}
    halves: dict[str, Half] = {}
    for name, source in definition.halves.items():
        loaded = task_of(config).load(source, "validation", config.data.strict)
        others = [question for question in loaded.questions if question.id not in trained_on]
        if not others:
            raise LabError(
                f"{name} {source}: expected questions that are not trained on, found none. Choose "
                "another set, or draw fewer with data.n_train."
            )
        chosen = data.draw(others, definition.settings.get("data.n_eval", 0), 0)
        left_out = len(loaded.questions) - len(others)
        print(
            f"{name:6} {source}: {len(chosen)} questions"
            + (f"; {left_out} left out that are trained on" if left_out else "")
            + (f"; {loaded.n_bad} left out: {loaded.summary()}" if loaded.problems else "")
        )
        halves[name] = half_of(name, chosen)
    both = set.intersection(*({*half.ids} for half in halves.values()))
    if len(halves) > 1 and both:
        raise LabError(
            f"choose and report: expected two sets of questions, found {len(both)} questions in "
            f"both ({min(both)}, say). Choose another set."
        )
    return halves


def make_shared(
    cells: Sequence[Cell], work: Work, threads: int, tick: Callable[[], object] = lambda: None
) -> None:
    """Questions, traces, examples and the teacher's targets of these cells, or what is missing of
    them; `tick` is called each time that traces were made."""
    own = [cell for cell in cells if not cell.is_reference and cell.arm in OWN_ARMS]
    for key, group in grouped(work.left(own), lambda cell: cell.student_key).items():
        with work.naming(group):
            student = RunFolder(work.folder("students", key))
            student.train_questions.write(questions_of(group[0].config))
    cells = work.left([cell for cell in cells if cell.from_traces])
    groups = grouped(cells, lambda cell: cell.traces_key)
    for key, group in tqdm(groups.items(), "traces", unit="setting"):
        with work.naming(group), work.logged():
            folder, begun = RunFolder(work.folder("traces", key)), time.monotonic()
            if _sample(group, folder.path, threads):
                before = folder.read_notes().get(SAMPLING_SECONDS, 0.0)
                folder.write_note(SAMPLING_SECONDS, before + time.monotonic() - begun)
                tick()
    for key, group in grouped(work.left(cells), lambda cell: cell.examples_key).items():
        with work.naming(group), work.logged():
            _judge(group[0], work.folder("examples", key), work)
    for key, group in grouped(work.left(cells), lambda cell: cell.student_key).items():
        with work.naming(group):
            _choose_examples(group[0], RunFolder(work.folder("students", key)), work)
    softened = [
        cell for cell in work.left(cells) if cell.softened and cell.config.train.cache != "none"
    ]
    groups = grouped(softened, lambda cell: cell.cache_key)
    for key, group in tqdm(groups.items(), "teacher's targets", unit="setting", disable=not groups):
        with work.naming(group), work.logged():
            _ask_teacher(group, work.folder("targets", key), work, threads)


def make_start(cell: Cell, work: Work, threads: int) -> None:
    """The student with which all others begin, unless it is there. LabError where that fails."""
    folder = work.folder("students", cell.student_key)
    if RunFolder(folder).model(cell.arm).exists():
        return
    make_shared([cell], work, threads)
    if cell.id in work.failed:
        raise LabError(f"start: {work.failed[cell.id]}")
    train_student(cell, folder, None, work.folder("examples", cell.examples_key))


def _sample(cells: Sequence[Cell], folder: Path, threads: int) -> bool:
    """Each question is sampled as often as the cell that needs most of it does, so that no trace is
    made twice: not by two cells, and not where a study has grown. False if all were there.

    What was begun is ended first, in the same batches, as a batch's size may change a last digit.
    """
    run = RunFolder(folder)
    config = changed(cells[0].config, {"runtime.threads": threads})
    made = False
    if n_begun := run.read_notes().get("n_samples"):
        made = generate.run(changed(config, {"generate.n_samples": n_begun}), folder)
    most: dict[Question, int] = {}
    for each in dict.fromkeys(cell.config for cell in cells):
        for question in questions_of(each):
            most[question] = max(each.generate.n_samples, most.get(question, 0))
    with run.traces.log() as log:
        have = Counter(trace.question_id for trace in log.records)
    for n in sorted(set(most.values())):
        missing = [q for q in most if most[q] == n and have[q.id] < n]
        if missing:
            run.train_questions.write(missing)
            run.write_note("n_samples", n)
            made |= generate.run(changed(config, {"generate.n_samples": n}), folder)
    return made


def _judge(cell: Cell, folder: Path, work: Work) -> None:
    """The cell's own questions and traces, their verdicts, and what is kept."""
    run = RunFolder(folder)
    if run.examples.path.exists():
        return
    questions = questions_of(cell.config)
    sampled = RunFolder(work.folder("traces", cell.traces_key))
    all_traces = sampled.traces.read()
    traces = by_question(all_traces)
    run.train_questions.write(questions)
    run.traces.write(
        trace
        for question in questions
        for trace in sorted(traces[question.id], key=lambda trace: trace.sample)
        if trace.sample < cell.config.generate.n_samples
    )
    share = len(questions) * cell.config.generate.n_samples / len(all_traces)
    seconds = sampled.read_notes().get(SAMPLING_SECONDS, 0.0)
    run.write_note(SAMPLING_SECONDS, share * seconds)
    reject.run(cell.config, folder)


def _choose_examples(cell: Cell, student: RunFolder, work: Work) -> None:
    """The examples from which the cell's student learns."""
    if student.examples.path.exists():
        return
    run = RunFolder(work.folder("examples", cell.examples_key))
    chosen = run.examples.read()
    if cell.kind:
        chosen = ablation.examples_of(cell.kind, cell.config, run)  # type: ignore[arg-type]
    student.examples.write(chosen)


def _ask_teacher(cells: Sequence[Cell], folder: Path, work: Work, threads: int) -> None:
    """The teacher's targets of all examples of these cells."""
    examples: dict[Example, None] = {}
    for key in grouped(cells, lambda cell: cell.student_key):
        examples |= dict.fromkeys(RunFolder(work.folder("students", key)).examples.read())
    config = changed(cells[0].config, {"runtime.threads": threads})
    fill_teacher_cache(config, work.path, list(examples), folder)


def hold_out(config: Config, half: Half, folder: Path, out: Path) -> None:
    """The teacher's held-out traces of a half, unless they are there. LabError where the teacher
    has another tokenizer: it would read the students' token ids."""
    if HeldOut.is_saved(folder):
        return
    teacher = load_model("teacher", config.models, start(config, out))
    student = load_tokenizer_only("base", config.models)
    require_shared_tokenizer(teacher, student, "Leave the measures kl and nll out.")
    make_held_out(teacher, student.tokenizer, half, config).save(folder)
