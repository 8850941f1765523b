"""One template and one parser: how a question is put to a model, and how its completion is read.

The completion is `<think>…</think><answer>…</answer>`, the two tags of DeepSeek-R1-Zero's template
(paper, table 1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill_lab.run.records import LabError
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task

BEGUN = "<think>"  # a few-shot prompt ends with this, so that a small teacher falls into the format
STOP = "</answer>"


_WHOLE = re.compile(
    r"\s*<think>(?P<think>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL
)
_TAG = re.compile(r"</?(?:think|answer)>")
_TAG_BEGUN = re.compile(r"</?[a-z]*\Z")  # the first letters of a tag, at the end of a text


@dataclass(frozen=True, slots=True)
class Parsed:
    """A well-formed completion: the text inside its two pairs of tags, stripped."""

    think: str
    answer: str


def parse(completion: str) -> Parsed | None:
    """The two parts, or None unless the completion is exactly one think and one answer, closed,
    with nothing around them.
    """
    match = _WHOLE.fullmatch(completion)
    if match is None or _TAG.search(match["think"]) or _TAG.search(match["answer"]):
        return None
    return Parsed(match["think"].strip(), match["answer"].strip())


def answer_text(completion: str) -> str:
    """What is scored: the answer inside the tags, or, so that a model without the format gets its
    due, the text after its reasoning with stray tags taken out.
    """
    parsed = parse(completion)
    if parsed:
        return parsed.answer
    return _TAG.sub(" ", completion.rpartition("</think>")[2]).strip()


def parse_unfinished(completion: str) -> Parsed:
    """The thought and the answer as far as they are written, for a reader who watches; "" for the
    part that has not begun.

    Once the thought is closed its answer is `answer_text`, so that what is read is what is scored.
    A text with no thought is all answer.
    """
    begun = _TAG_BEGUN.search(completion)
    if begun and any(tag.startswith(begun[0]) for tag in (BEGUN, "</think>", "<answer>", STOP)):
        completion = completion[: begun.start()]
    thought, closed, _ = completion.rpartition("</think>")
    if not closed and completion.lstrip().startswith(BEGUN):
        return Parsed(_TAG.sub(" ", completion).strip(), "")
    return Parsed(_TAG.sub(" ", thought).strip(), answer_text(completion))


def answer_span(completion: str) -> tuple[int, int]:
    """Where in the completion its answer stands, from and up to which character: the text between
    the answer's tags, or all that `answer_text` takes where the form is broken."""
    match = _WHOLE.fullmatch(completion)
    if match is None or parse(completion) is None:
        start = completion.rfind("</think>")
        start, end = (start + len("</think>") if start >= 0 else 0), len(completion)
    else:
        start, end = match.span("answer")
    text = completion[start:end]
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())


def messages(text: str, n_shots: int = 0, task: Task = SQUAD) -> list[dict[str, str]]:
    """The conversation that ends with the user's `text`: instruction, worked examples, question."""
    turns = [{"role": "system", "content": task.instruction}]
    for shot in task.shots[:n_shots]:
        turns.append({"role": "user", "content": shot.text})
        turns.append({"role": "assistant", "content": shot.completion})
    return [*turns, {"role": "user", "content": text}]


def render(text: str, tokenizer: Any, n_shots: int = 0, task: Task = SQUAD) -> str:
    """The prompt for the user's `text`, with all its markers: through the tokenizer's chat
    template, or plain where it has none (GPT-2).

    With worked examples, and where the template itself ends so (R1's own), the prompt ends with an
    opened `<think>`, which then counts as the start of the completion.
    """
    turns = messages(text, n_shots, task)
    if tokenizer.chat_template:
        prompt = _chat(turns, tokenizer)
    else:
        prompt = "".join(f"{turn['content']}\n\n" for turn in turns)
    stem = prompt.rstrip().removesuffix(BEGUN) if prompt.rstrip().endswith(BEGUN) else prompt
    return stem + (BEGUN if n_shots or stem != prompt else "")


def _chat(turns: Sequence[dict[str, str]], tokenizer: Any) -> str:
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=True
        )
    except TemplateError:
        # Gemma and others take no system turn: the instruction goes into the first user turn
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    try:
        return tokenizer.apply_chat_template(
            [first, *turns[2:]], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise LabError(
            f"The tokenizer's chat template refuses a plain conversation: {error}. "
            "Use another model."
        ) from None


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt.

    A begun `<think>` is encoded on its own, as it is where it is trained on.
    """
    stem = prompt.removesuffix(BEGUN)
    # a chat template writes the beginning-of-text token itself
    ids = tokenizer(stem, add_special_tokens=not tokenizer.chat_template).input_ids
    return ids + (tokenizer(BEGUN, add_special_tokens=False).input_ids if stem != prompt else [])


def prompt_id(prompt: str) -> str:
    """A short name for a prompt's text, so that a trace can be held against its prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
