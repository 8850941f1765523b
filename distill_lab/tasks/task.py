"""What a task must offer: its questions, the prompt, and the scores of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from distill_lab.run.records import LabError, Question

Split = Literal["train", "validation"]


class Checked:
    """What every loaded set has: its good entries, the names of the bad ones by kind of problem,
    and how many entries were read."""

    __slots__ = ()
    noun: ClassVar[str]  # what its entries are, in the plural
    problems: dict[str, list[str]]
    total: int

    @property
    def good(self) -> Sequence[Any]:
        """The good entries, in file order."""
        raise NotImplementedError

    @property
    def n_good(self) -> int:
        return len(self.good)

    @property
    def n_bad(self) -> int:
        return self.total - self.n_good

    def summary(self, n_ids: int = 0) -> str:
        """`wrong_offset 21, duplicate_id 5`; with `n_ids`, the first ids of each kind too."""

        def first(ids: list[str]) -> str:
            return f" (first: {' '.join(list(dict.fromkeys(ids))[:n_ids])})" if n_ids else ""

        return ", ".join(f"{kind} {len(ids)}{first(ids)}" for kind, ids in self.problems.items())


@dataclass(frozen=True, slots=True)
class LoadedQuestions(Checked):
    """The good questions in file order; ids by kind of problem; how many entries were read.

    An id stands once for each finding: a question with three wrong offsets is named three times
    under `wrong_offset`. What has no id is named by its place, such as
    `data[0].paragraphs[2].qas[1]` or `line 7`.
    """

    noun = "questions"
    questions: tuple[Question, ...]
    problems: dict[str, list[str]]
    total: int

    @property
    def good(self) -> tuple[Question, ...]:
        return self.questions


Loaded = TypeVar("Loaded", bound=Checked)


def require_usable(loaded: Loaded, source: str, strict: bool) -> Loaded:
    """Returns `loaded`. LabError where no entry is good, or where one is bad and `strict`."""
    if strict and loaded.problems:
        raise LabError(
            f"{source}: expected good {loaded.noun} only (--data.strict), found {loaded.n_bad} bad "
            f"of {loaded.total}: {loaded.summary(n_ids=3)}. "
            "Correct them, or leave them out with --data.no-strict."
        )
    if not loaded.n_good:
        among = f"{loaded.total} ({loaded.summary()})" if loaded.total else "0"
        raise LabError(
            f"{source}: expected at least one usable {loaded.noun.removesuffix('s')}, found none "
            f"among {among}. Correct the data, or choose another set."
        )
    return loaded


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example of a few-shot prompt: what the user says, and a good completion."""

    text: str
    completion: str


@dataclass(frozen=True, slots=True)
class Task:
    """One task, as `--data.task` names it.

    `load(source, split, strict)` reads 'bundled' or a source of the task's own kind; bad questions
    are left out and named, and a LabError if `strict`. `user_text` is what a model is asked, and
    `grade(answer, question)` gives the scores of the text between the answer's tags, 0 to 100, by
    the names in `score_names`. The first of these decides: 100 is right, anything below is wrong.
    """

    name: str
    title: str  # as pages name it
    subject: str  # what it asks of a model, in a word or two
    load: Callable[[str, Split, bool], LoadedQuestions]
    instruction: str  # the system prompt
    shots: tuple[Shot, ...]  # three, from which --models.teacher-shots takes the first
    user_text: Callable[[Question], str]
    grade: Callable[[str, Question], dict[str, float]]
    score_names: tuple[str, ...]
    licence: str = ""  # of the questions, for the report's foot
    has_passage: bool = False  # whether a question stands on a passage, `Question.context`


def score_label(name: str) -> str:
    """A score's name as tables print it: short ones are abbreviations (`em` is EM)."""
    return name.upper() if len(name) <= 3 else name.replace("_", " ")
