"""What flows between the stages: five frozen records, and the JSONL files that hold them.

Cheap stages rewrite their file atomically (`write_records`); slow ones append record by record
(`RecordLog`) and go on after a `kill -9`: a line that was torn is dropped when the log is opened
again, and its record made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

from distill_lab.run.json_text import BadJson, is_unicode, listed, parse, shown


class LabError(Exception):
    """A mistake of the user's, as one sentence: what was expected, what was found, what to do.

    The command line exits with 2.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: IPython asks for this instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a task. `answers` holds every reference answer; empty means unanswerable.

    `title` and `context` are empty where a task has none. `kind` is there where the data say one,
    such as `two-fact`: scores are then told by it too.
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One sampled answer of the teacher.

    `n_tokens` counts what was sampled; `finish` is `length` if it ran out of tokens.
    """

    question_id: str
    sample: int
    completion: str
    n_tokens: int
    finish: Literal["stop", "length"]
    teacher: str
    prompt_id: str


class Graded:
    """A record with `scores`, 0 to 100, by the names that its task gives them.

    A score is an attribute too: `verdict.em` is `verdict.scores["em"]`, as notebooks write it.
    """

    __slots__ = ()
    scores: dict[str, float]

    @property
    def right(self) -> bool:
        """Whether the first score, the one by which the task decides, is full."""
        return next(iter(self.scores.values())) == 100

    def __getattr__(self, name: str) -> float:
        if name != "scores" and name in self.scores:  # a record that is being copied has none yet
            return self.scores[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Verdict(Graded):
    """What rejection sampling said of one trace: `ok`, or the name of the first rule that refused
    it.
    """

    question_id: str
    sample: int
    reason: str
    scores: dict[str, float] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Example:
    """A kept trace as training text.

    `prompt` is the question's text; each model renders it with its own template.
    """

    question_id: str
    sample: int
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Prediction(Graded):
    """One model's greedy answer to one evaluation question."""

    question_id: str
    sample: int
    completion: str
    answer: str
    scores: dict[str, float] = field(hash=False)


Record = TypeVar("Record")  # a frozen dataclass: one of the five, or of another command's


def to_line(record: Any) -> str:
    """A record as one line of JSON, newline included; an optional field that is None is left
    out."""
    values = dataclasses.asdict(record)
    given = {name: value for name, value in values.items() if value is not None}
    return json.dumps(given, ensure_ascii=False) + "\n"


def from_line(line: str, kind: type[Record], where: str) -> Record:
    """The record on one line; `where` names file and line in the error."""
    try:
        found: Any = parse(line)
    except BadJson as error:
        raise LabError(
            f"{where}: expected one JSON object a line, found {shown(line)}: {error}."
        ) from None
    hints = _hints(kind)
    values: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if "scores" in hints.keys() - values.keys() and {"em", "f1"} <= values.keys():  # an older run
        values["scores"] = {"em": values.pop("em"), "f1": values.pop("f1")}
    if not _required(kind) <= values.keys() <= hints.keys():
        keys = listed(values) if isinstance(found, dict) else type(found).__name__
        raise LabError(
            f"{where}: expected a {kind.__name__} with {', '.join(hints)}; found {keys}."
        )
    for name, value in values.items():
        values[name] = _checked(value, hints[name], f"{where}: {kind.__name__}.{name}")
    record = cast("Any", kind)(**values)
    if "\\u" in line and not is_unicode(to_line(record)):
        raise LabError(f"{where}: expected Unicode text, found half a character (\\ud800, say).")
    return record


_hints = functools.cache(typing.get_type_hints)  # it compiles them: slow, once a line


@functools.cache
def _required(kind: type[Any]) -> frozenset[str]:
    fields = dataclasses.fields(kind)
    return frozenset(field.name for field in fields if field.default is dataclasses.MISSING)


def _checked(value: Any, hint: Any, where: str) -> Any:
    """The JSON value as the field's type; a LabError where it is of another."""
    if typing.get_origin(hint) is Literal:
        good = value in typing.get_args(hint)
    elif typing.get_origin(hint) is tuple:
        items = cast("list[Any]", value) if isinstance(value, list) else [None]
        good = all(isinstance(item, str) for item in items)
        value = tuple(items) if good else cast("Any", value)
    elif typing.get_origin(hint) is dict:
        scores = cast("dict[str, Any]", value if isinstance(value, dict) else {})
        good = bool(scores)
        for name, score in scores.items():
            _checked(score, float, f"{where}.{name}")
    elif hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        good = type(value) is hint or (hint == str | None and isinstance(value, str))
    if not good:
        name = getattr(hint, "__name__", hint)
        raise LabError(f"{where}: expected {name}, found {shown(value)}.")
    return cast("Any", value)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """All records of a file, checked."""
    with path.open(encoding="utf-8") as file:
        try:
            return [from_line(line, kind, f"{path}, line {n}") for n, line in enumerate(file, 1)]
        except UnicodeDecodeError:
            raise LabError(f"{path}: expected text in UTF-8, found other bytes.") from None


def by_id(questions: Iterable[Question]) -> dict[str, Question]:
    """The questions by their ids, in their order."""
    return {question.id: question for question in questions}


Keyed = TypeVar("Keyed", Trace, Verdict, Example, Prediction)


def by_question(records: Iterable[Keyed]) -> dict[str, list[Keyed]]:
    """The records of each question, in their order; the questions as they come first."""
    groups: dict[str, list[Keyed]] = {}
    for record in records:
        groups.setdefault(record.question_id, []).append(record)
    return groups


def judged(traces: Iterable[Trace], verdicts: Iterable[Verdict]) -> list[tuple[Trace, Verdict]]:
    """Each trace with its own verdict, in the order of the traces.

    They are joined by question and sample: traces stand in the order in which batches ended, so
    the n-th verdict is hardly ever the n-th trace's. LabError where one lacks the other, or two
    have one key.
    """
    said, verdict_of = _by_key(traces), _by_key(verdicts)
    alone = said.keys() ^ verdict_of.keys()
    if alone:
        question, sample = min(alone)
        raise LabError(
            f"Expected one verdict for each trace, found {len(alone)} without the other (question "
            f"{question}, sample {sample}). Run `distill-lab reject` again."
        )
    return [(trace, verdict_of[key]) for key, trace in said.items()]


def _by_key(records: Iterable[Keyed]) -> dict[tuple[str, int], Keyed]:
    """The records by question and sample, of which no two have both."""
    found: dict[tuple[str, int], Keyed] = {}
    for record in records:
        key = record.question_id, record.sample
        if key in found:
            raise LabError(
                f"Expected one {type(record).__name__} a question and sample, found two of "
                f"question {key[0]}, sample {key[1]}. Take one of them out."
            )
        found[key] = record
    return found


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: a temporary file beside it, flushed to the disk, takes its
    name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_records(path: Path, records: Iterable[Any]) -> None:
    """Writes a whole file of records atomically."""
    write_text(path, "".join(map(to_line, records)))


class RecordLog(Generic[Record]):
    """A JSONL file that grows record by record: `with RecordLog(path, Trace) as log`.

    `log.records` holds what is there. With `writes` False, in a process beside the one that writes,
    the file is left alone and there are no records.
    """

    def __init__(self, path: Path, kind: type[Record], writes: bool = True) -> None:
        self.path = path
        self.records: list[Record] = []
        self._file = None
        if not writes:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_torn_line()
        # a device, such as /dev/full, has no records to read, and no end
        self.records = read_records(path, kind) if path.is_file() else []
        self._file = path.open("a", encoding="utf-8")

    def _drop_torn_line(self) -> None:
        """Cuts the half line that a killed process left.

        A whole record that only lacks its newline gets one.
        """
        if not self.path.is_file():
            return
        with self.path.open("rb+") as file:
            text = file.read()
            whole = text.rfind(b"\n") + 1
            if whole == len(text):
                return
            try:
                parse(text[whole:].decode())
                file.write(b"\n")
            except ValueError:
                file.truncate(whole)

    def append(self, records: Iterable[Record]) -> None:
        """Adds records; with the operating system when this returns, they outlive the process."""
        if self._file is None:
            return
        added = list(records)
        self._file.write("".join(map(to_line, added)))
        self._file.flush()
        self.records += added

    def __enter__(self) -> RecordLog[Record]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
            if self.path.is_file() and not self.path.stat().st_size:  # no record came to be made
                self.path.unlink()
