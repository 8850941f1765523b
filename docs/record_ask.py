"""Records what asking the models of a run looks like, as the animation at the head of the README.

    python -m docs.record_ask RUN    # a run of `tiny`, as `make lab` makes it

The answers are the models' own, a frame for every second token; only the pace is slower. It prints
what they answered, for the text below the picture.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image

from distill_lab.chat.replies import Reply, ask
from distill_lab.chat.speakers import of_run
from distill_lab.reporting.figures import INK, SOFT, few_colours, new_figure, pixels_of
from distill_lab.run.arms import COLOURS, MODELS
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import profile
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.squad.scores import em

TARGET = Path(__file__).parent / "_static" / "ask.gif"
ASKED = (
    Question(
        "one fact found through the other",
        "",
        "The banjo is what Helden plays. The mayor of Orcester is Marwen. The birthplace of Marwen "
        "is Halstad. Helden was elected mayor of Anstad. Marwen plays the accordion.",
        "Which instrument does the mayor of Orcester play?",
        ("accordion",),
    ),
    Question(
        "a negation",
        "",
        "Helden was not born in Halstad. Helden was born in Orcester.",
        "Where was Helden born?",
        ("Orcester",),
    ),
)
PACE, PAUSE = 110, 4000  # milliseconds of a frame, and of the last one of a question


def main(run: Path) -> None:
    try:
        speakers, _ = of_run(profile("tiny"), run, MODELS)
    except LabError as error:
        sys.exit(str(error))
    frames, durations, ends = [], [], []
    for question in ASKED:
        replies: list[Reply] = []
        for n, replies in enumerate(ask(speakers, question, Sampling())):
            ended = all(reply.completion for reply in replies)
            if n % 2 == 0 or ended:
                frames.append(_frame(question, replies))
                durations.append(PAUSE if ended else PACE)
        ends.append(frames[-1])
        print(question.question, *(f"{r.who}: {r.parts.answer}" for r in replies), sep="\n  ")
    both = Image.new("RGB", (ends[0].width, len(ends) * ends[0].height))
    for n, frame in enumerate(ends):
        both.paste(frame, (0, n * frame.height))
    palette = few_colours(both)
    first, *others = (f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    # without `loop` it plays once
    first.save(TARGET, save_all=True, append_images=others, duration=durations)
    print(f"{TARGET}: {len(frames)} frames, {TARGET.stat().st_size / 1000:.0f} KB")


def _frame(question: Question, replies: list[Reply]) -> Any:
    figure, (ax,) = new_figure(3.3)
    ax.set_axis_off()
    y = 1.0
    for text, weight in ((question.context, "normal"), (question.question, "bold")):
        lines = textwrap.wrap(text, 66)
        ax.text(0, y, "\n".join(lines), va="top", fontsize=9.5, weight=weight, color=INK)
        y -= 0.066 * len(lines) + 0.02
    for row, reply in enumerate(replies):
        top = 0.64 - 0.165 * row
        name = {"color": COLOURS.get(reply.who, SOFT), "weight": "bold"}
        ax.text(0, top, reply.who, va="top", fontsize=9.5, **name)
        thought, answer = _said(reply, question)
        ax.text(0.15, top, thought, va="top", fontsize=8.5, color=SOFT)
        ax.text(1, top, answer, va="top", ha="right", fontsize=9.5, **name)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    return pixels_of(figure)


def _said(reply: Reply, question: Question) -> tuple[str, str]:
    """The thought, at most three lines of it, and the answer, marked when it is whole. What a model
    writes without a thought, as the base does, stands in the thought's place, and has no mark."""
    thought, answer = reply.parts.think, reply.parts.answer or ""
    lines = textwrap.wrap(thought or answer, 52)
    shown = "\n".join(lines if len(lines) <= 3 else [*lines[:2], f"{lines[2]} …"])
    if not (thought and reply.completion):
        return shown, answer if thought else ""
    return shown, f"{answer} {'✓' if em(answer, question.answers) else '✗'}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
