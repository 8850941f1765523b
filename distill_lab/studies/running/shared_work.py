"""What the cells of a study share, each made once: questions, traces, examples, the teacher's
targets, held-out traces. It lies in the study's `work` folder, by what it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path

from distill_lab.models.backend import start
from distill_lab.models.loading import load_model, load_tokenizer_only
from distill_lab.pipeline import ablation, data, generate, reject, train
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_text import first_line
from distill_lab.run.records import Example, LabError, Question, by_question
from distill_lab.run.saved_settings import fingerprint
from distill_lab.run.settings import Config
from distill_lab.studies.definition import Definition
from distill_lab.studies.halves import Half, half_of
from distill_lab.studies.held_out import HeldOut, make_held_out
from distill_lab.studies.running.cell_configs import Cell, base_config
from distill_lab.studies.running.setting_values import changed
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.task import LoadedQuestions


@dataclass(frozen=True, slots=True)
class Work:
    """The folder, and why cells failed, by their ids."""

    path: Path
    failed: dict[str, str] = field(default_factory=dict)

    def folder(self, what: str, key: str) -> Path:
        """Where `traces`, `examples`, `targets`, `students` or `held_out` with this key lie."""
        return self.path / what / key

    @contextmanager
    def naming(self, cells: Sequence[Cell]) -> Iterator[None]:
        """An error is noted as the reason why these cells failed; the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(cells, reason_of(error))

    def fail(self, cells: Sequence[Cell], reason: str) -> None:
        """Notes why these cells failed; the first reason stays."""
        for cell in cells:
            self.failed.setdefault(cell.id, reason)

    def left(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that have not failed."""
        return [cell for cell in cells if cell.id not in self.failed]


def reason_of(error: Exception) -> str:
    """The error in one line; one that is not the user's mistake with its type."""
    text = " ".join(str(error).split()) if isinstance(error, LabError) else first_line(error)
    return text if isinstance(error, LabError) else f"{type(error).__name__}: {text}"


def grouped(cells: Sequence[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """The cells by what they share, in their order."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


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


def make_shared(cells: Sequence[Cell], work: Work, threads: int) -> None:
    """Traces, examples and the teacher's targets of these cells, or what is missing of them."""
    cells = [cell for cell in cells if not cell.is_reference]
    for key, group in grouped(cells, lambda cell: cell.traces_key).items():
        with work.naming(group):
            _sample(group, work.folder("traces", key), threads)
    for key, group in grouped(work.left(cells), lambda cell: cell.examples_key).items():
        with work.naming(group):
            _judge(group[0], work.folder("examples", key), work)
    for key, group in grouped(work.left(cells), lambda cell: cell.student_key).items():
        with work.naming(group):
            _choose_examples(group[0], RunFolder(work.folder("students", key)), work)
    softened = [
        cell for cell in work.left(cells) if cell.softened and cell.config.train.cache != "none"
    ]
    for key, group in grouped(softened, lambda cell: cell.cache_key).items():
        with work.naming(group):
            _ask_teacher(group, work.folder("targets", key), work, threads)


def _sample(cells: Sequence[Cell], folder: Path, threads: int) -> None:
    """Each question is sampled as often as the cell that needs most of it does, so that no trace is
    made twice."""
    most: dict[Question, int] = {}
    for config in dict.fromkeys(cell.config for cell in cells):
        n = config.generate.n_samples
        for question in questions_of(config):
            most[question] = max(n, most.get(question, 0))
    for n in sorted(set(most.values())):
        config = changed(cells[0].config, {"generate.n_samples": n, "runtime.threads": threads})
        RunFolder(folder).train_questions.write(q for q in most if most[q] == n)
        with redirect_stdout(StringIO()):
            generate.run(config, folder)


def _judge(cell: Cell, folder: Path, work: Work) -> None:
    """The cell's own questions and traces, their verdicts, and what is kept."""
    run = RunFolder(folder)
    if run.examples.path.exists():
        return
    questions = questions_of(cell.config)
    traces = by_question(RunFolder(work.folder("traces", cell.traces_key)).traces.read())
    run.train_questions.write(questions)
    run.traces.write(
        trace
        for question in questions
        for trace in sorted(traces[question.id], key=lambda trace: trace.sample)
        if trace.sample < cell.config.generate.n_samples
    )
    with redirect_stdout(StringIO()):
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
    with redirect_stdout(StringIO()):
        train.fill_teacher_cache(config, work.path, list(examples), folder)


def hold_out(config: Config, half: Half, folder: Path, out: Path) -> None:
    """The teacher's held-out traces of a half, unless they are there."""
    if HeldOut.is_saved(folder):
        return
    with redirect_stdout(StringIO()):
        teacher = load_model("teacher", config.models, start(config, out))
    student = load_tokenizer_only("base", config.models)
    make_held_out(teacher, student.tokenizer, half, config).save(folder)
