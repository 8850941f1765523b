"""Questions from a file or another program, one a line; an answer in JSON for each, as it is there.

A line is a JSON object, `{"context": "…", "question": "…"}`, or plain: `Passage: …` says what the
questions below it stand on, and `Question: …` asks one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from distill_lab.chat.replies import Reply, ask
from distill_lab.chat.speakers import Speaker
from distill_lab.run.json_text import BadJson, is_unicode, parse, shown
from distill_lab.run.records import LabError, Question
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.task import Task

_PASSAGE, _QUESTION = "Passage:", "Question:"


def answers(
    speakers: Sequence[Speaker], lines: Iterable[str], sampling: Sampling
) -> Iterator[dict[str, Any]]:
    """What is printed for each question. LabError names the first line that is none."""
    for question in questions(lines, speakers[0].task):
        *_, replies = ask(speakers, question, sampling)
        passage = {"context": question.context} if question.context else {}
        said = {reply.who: _reply(reply) for reply in replies}
        yield {**passage, "question": question.question, "answers": said}


def _reply(reply: Reply) -> dict[str, Any]:
    """`answer` is what an evaluation would score."""
    assert reply.completion is not None
    return {
        "thought": reply.parts.think,
        "answer": answer_text(reply.text),
        "completion": reply.text,
        "n_tokens": reply.completion.n_tokens,
        "finish": reply.completion.finish,
        "seconds_to_first": round(reply.first, 3),
        "seconds": round(reply.seconds, 3),
    }


def questions(lines: Iterable[str], task: Task) -> Iterator[Question]:
    """The questions on these lines, each as its line is read; empty lines are passed over. An id is
    the line's number, so that the same line in the same place is sampled alike."""
    passage = ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if task.has_passage and text.startswith(_PASSAGE):
            passage = text.removeprefix(_PASSAGE).strip()
        elif text.startswith("{"):
            yield _from_json(text, number, task)
        elif text.startswith(_QUESTION):
            yield _checked(passage, text.removeprefix(_QUESTION).strip(), number, task)
        elif text:
            raise _bad(number, shown(text), task)


def _from_json(text: str, number: int, task: Task) -> Question:
    try:
        value: Any = parse(text)
    except BadJson as error:
        raise _bad(number, str(error), task) from None
    context, question = value.get("context", ""), value.get("question", "")
    if not isinstance(context, str) or not isinstance(question, str):
        raise _bad(number, "another JSON object", task)
    return _checked(context, question, number, task)


def _checked(context: str, question: str, number: int, task: Task) -> Question:
    if not question.strip():
        raise _bad(number, "no question", task)
    if task.has_passage and not context.strip():
        raise _bad(number, "a question with no passage", task)
    if not is_unicode(context + question):
        raise _bad(number, "half a character, which is no Unicode text", task)
    passage = context.strip() if task.has_passage else ""
    return Question(f"on line {number}", "", passage, question.strip(), ())


def _bad(number: int, found: str, task: Task) -> LabError:
    context = '"context": "…", ' if task.has_passage else ""
    plain = f"`{_PASSAGE} …` or `{_QUESTION} …`" if task.has_passage else f"`{_QUESTION} …`"
    return LabError(
        f'Standard input, line {number}: expected {{{context}"question": "…"}}, or {plain}; '
        f"found {found}. Correct the line."
    )
