"""Several models answer one question, a token each in turn, so that all of them can be watched."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from distill_lab.chat.speakers import Speaker
from distill_lab.run.records import Question
from distill_lab.sampling.jobs import Completion, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.stream import stream
from distill_lab.tasks.prompts import Parsed, parse_unfinished


@dataclass(slots=True)
class Reply:
    """What a model has written so far; `completion` is there once it has ended. `seconds` is what
    the model itself has taken, `first` what it took to its first piece."""

    who: str
    pieces: Generator[str, None, Completion] = field(repr=False)
    text: str = ""
    completion: Completion | None = None
    first: float = 0.0
    seconds: float = 0.0

    @property
    def parts(self) -> Parsed:
        """The thought and the answer so far."""
        return parse_unfinished(self.text)

    def go_on(self) -> None:
        """Takes the next piece, or the end."""
        begun = time.perf_counter()
        try:
            self.text += next(self.pieces)
        except StopIteration as end:
            self.completion = end.value
        self.seconds += time.perf_counter() - begun
        self.first = self.first or self.seconds


def ask(
    speakers: Sequence[Speaker], question: Question, sampling: Sampling
) -> Iterator[list[Reply]]:
    """The replies, in the models' order, each time that all of them have gone on by a piece; the
    last time all have ended. LabError where a model has no room for the question."""
    replies = [Reply(speaker.who, _pieces(speaker, question, sampling)) for speaker in speakers]
    while going := [reply for reply in replies if reply.completion is None]:
        for reply in going:
            reply.go_on()
        yield replies


def _pieces(
    speaker: Speaker, question: Question, sampling: Sampling
) -> Generator[str, None, Completion]:
    (job,) = jobs_for([question], speaker.model.tokenizer, speaker.shots, speaker.task)
    return stream(speaker.model, job, replace(sampling, max_new_tokens=speaker.max_new_tokens))
