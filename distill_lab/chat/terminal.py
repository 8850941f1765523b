"""A conversation in a terminal: type a passage and a question, and watch the models think."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from distill_lab.chat.replies import Reply, ask
from distill_lab.chat.speakers import Speaker
from distill_lab.run.arms import COLOURS
from distill_lab.run.records import LabError, Question
from distill_lab.sampling.nucleus import Sampling

NARROWEST = 36  # columns of a panel; in a terminal with less room the panels stand below each other
_CTRL_C = len("^C")  # where a terminal shows it, so that no line is broken and none is drawn twice
_CONTROL = {code: "�" for code in (*range(9), *range(11, 32), 127, *range(128, 160))}
_HELP = """\
/passage   another passage
/example   a passage and a question of the run's evaluation set
/help      this
/quit      the end (so do Ctrl-D and, at a prompt, Ctrl-C; during an answer Ctrl-C stops it)"""


class Conversation:
    """What has been typed so far: the passage that questions are asked on."""

    def __init__(
        self,
        speakers: Sequence[Speaker],
        sampling: Sampling,
        examples: Sequence[Question] = (),
        console: Console | None = None,
        read: Callable[[str], str] = input,
    ) -> None:
        self.speakers, self.sampling = speakers, sampling
        self.console, self.read = console or Console(), read
        self.examples = itertools.cycle(examples)
        self.passage = ""
        self.asked = 0

    def hold(self, about: str) -> int:
        """Talks until the reader ends it. Returns the exit status: 130 after Ctrl-C."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (gives `input` its line editing and its history)
        self.console.print(Text(f"{about}. /help says what can be typed, /quit ends."))
        try:
            while self._turn():
                pass
        except EOFError:
            self.console.print()
        except KeyboardInterrupt:
            self.console.print()
            return 130
        return 0

    def _turn(self) -> bool:
        """One line of the reader's, and what follows from it. False at the end."""
        if self.speakers[0].task.has_passage and not self.passage:
            self.console.print(Text("Passage (an empty line ends it):", style="bold"))
            return self._command(self._paragraph())
        return self._command(self.read("Question: ").strip())

    def _paragraph(self) -> str:
        """Lines up to an empty one, as a pasted paragraph may have several; or a command."""
        lines: list[str] = []
        while line := self.read("").strip():
            lines.append(line)
            if lines[0].startswith("/"):
                break
        return " ".join(lines)

    def _command(self, line: str) -> bool:
        match line:
            case "/quit":
                return False
            case "/passage":
                self.passage = ""
            case "/example":
                self._example()
            case _ if line.startswith("/"):
                self.console.print(Text(_HELP))
            case "":
                pass
            case _ if self.speakers[0].task.has_passage and not self.passage:
                self.passage = line
            case _:
                self._answer(line)
        return True

    def _example(self) -> None:
        question = next(self.examples, None)
        if question is None:
            self.console.print("There is no run whose questions could be shown.")
            return
        self.passage = question.context
        if question.context:
            self.console.print(Text(f"Passage: {question.context}"))
        self.console.print(Text(f"Question: {question.question}"))
        self._answer(question.question)
        if question.answers:
            self.console.print(Text(f"Right: {' / '.join(question.answers)}"))

    def _answer(self, text: str) -> None:
        """Shows the answers as they are written. Ctrl-C stops them, not the conversation."""
        self.asked += 1
        question = Question(str(self.asked), "", self.passage, text, ())
        width = self.console.width - _CTRL_C
        try:
            with Live(console=self.console, refresh_per_second=12) as live:
                for replies in ask(self.speakers, question, self.sampling):
                    live.update(Padding(panels(replies, width), (0, _CTRL_C, 0, 0)))
        except LabError as error:
            self.console.print(Text(f"{error}"))
        except KeyboardInterrupt:
            self.console.print(Text("Stopped."))


def panels(replies: Sequence[Reply], width: int) -> RenderableType:
    """A panel a model, side by side where each of them has room."""
    made = [_panel(reply) for reply in replies]
    if len(made) * NARROWEST > width:
        return Group(*made)
    grid = Table.grid(expand=True)
    for _ in made:
        grid.add_column(ratio=1)
    grid.add_row(*made)
    return grid


def _panel(reply: Reply) -> Panel:
    parts = reply.parts
    lines = [Text(_printable(parts.think), style="italic")] if parts.think else []
    if parts.answer:
        lines.append(Text.assemble("Answer: ", (_printable(parts.answer), "bold")))
    elif reply.completion:
        lines.append(Text("(no answer)"))
    footer = ""
    if done := reply.completion:
        cut = ", cut there" if done.finish == "length" else ""
        footer = f"{done.n_tokens} tokens{cut}, {reply.seconds:.1f} s"
    return Panel(
        Group(*lines),
        title=reply.who,
        subtitle=footer,
        title_align="left",
        subtitle_align="right",
        border_style=COLOURS.get(reply.who, ""),
    )


def _printable(text: str) -> str:
    """What a model writes moves no cursor and changes no colour."""
    return text.translate(_CONTROL)
