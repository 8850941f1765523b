"""Answers to a question of one's own in a notebook, as the models write them; and three questions
that fool the bundled models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from distill_lab.chat.replies import Reply, ask
from distill_lab.chat.speakers import Speaker
from distill_lab.course.display import as_table
from distill_lab.run.records import Question
from distill_lab.sampling.nucleus import Sampling

_EVERY = 0.1  # seconds between two states of the table: more of them would only keep a browser busy

# Each was found by trying on the models of `tiny`: it misleads the students, and two the teacher.
TRAPS = (
    Question(
        "a name inside another",
        "",
        "Gilfred plays the lute. Gilfred's sister plays the clarinet.",
        "Which instrument does Gilfred's sister play?",
        ("clarinet",),
    ),
    Question(
        "a negation",
        "",
        "Orgar does not live in Helhaven. Orgar lives in Anstad.",
        "Where does Orgar live?",
        ("Anstad",),
    ),
    Question(
        "what is no longer so",
        "",
        "The mayor of Orcester is Marwen. The mayor of Anstad was Helden until last year. "
        "Now it is Pelia.",
        "What is the name of the mayor of Anstad?",
        ("Pelia",),
    ),
)


def show_answers(speakers: Sequence[Speaker], question: Question) -> None:
    """One table, a row a model, that fills as they write; outside a notebook the whole one as text.
    LabError where a model has no room for the passage."""
    from IPython.display import display

    if not _in_notebook():
        *_, replies = ask(speakers, question, Sampling())
        print(_table(question, replies)["text/plain"])
        return
    handle, shown = None, 0.0
    for replies in ask(speakers, question, Sampling()):
        ended = all(reply.completion for reply in replies)
        if not ended and time.monotonic() - shown < _EVERY:
            continue
        if handle:
            handle.update(_table(question, replies), raw=True)
        else:
            handle = display(_table(question, replies), raw=True, display_id=True)
        shown = time.monotonic()


def _table(question: Question, replies: Sequence[Reply]) -> dict[str, str]:
    """What is not there is a dash, or dots as long as it may still come."""
    rows = [
        (reply.who, *(part or (None if reply.completion else "…") for part in parts))
        for reply in replies
        for parts in [(reply.parts.think, reply.parts.answer)]
    ]
    caption = f"{question.context} {question.question}".strip()
    return as_table(rows, ("model", "thought", "answer"), caption)


def _in_notebook() -> bool:
    """Whether there is a frontend that can change what it has shown."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    return hasattr(shell, "kernel")
