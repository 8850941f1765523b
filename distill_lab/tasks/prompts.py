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

INSTRUCTION = (
    "Read the passage and answer the question. First think in one or two sentences inside "
    "<think> </think>. "
    "Then give the shortest possible answer, copied from the passage, inside <answer> </answer>."
)
BEGUN = "<think>"  # a few-shot prompt ends with this, so that a small teacher falls into the format
STOP = "</answer>"


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example of a few-shot prompt."""

    context: str
    question: str
    completion: str


# Short on purpose: of longer examples a model of 135M parameters copied the length and forgot the
# second tag.
SHOTS = (
    Shot(
        "Mount Kenya is 5,199 metres high. It was first climbed in 1899 by Halford Mackinder.",
        "Who first climbed Mount Kenya?",
        "<think>Halford Mackinder was the first to climb it, in 1899.</think> "
        "<answer>Halford Mackinder</answer>",
    ),
    Shot(
        "The museum opened in May 1932 and moved to Leeds in 1995. It holds 8,500 objects.",
        "When did the museum move to Leeds?",
        "<think>It moved to Leeds in 1995.</think> <answer>1995</answer>",
    ),
    Shot(
        "Honey bees live in colonies. A colony has one queen, who lays the eggs, and thousands of "
        "workers, who collect nectar.",
        "What do the workers collect?",
        "<think>The workers collect nectar.</think> <answer>nectar</answer>",
    ),
)

_WHOLE = re.compile(
    r"\s*<think>(?P<think>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL
)
_TAG = re.compile(r"</?(?:think|answer)>")


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


def user_text(context: str, question: str) -> str:
    """Context before question, so that questions on one passage share what comes first."""
    return f"Passage: {context}\n\nQuestion: {question}"


def messages(text: str, n_shots: int = 0) -> list[dict[str, str]]:
    """The conversation that ends with `text` (of `user_text`): system, examples, question."""
    turns = [{"role": "system", "content": INSTRUCTION}]
    for shot in SHOTS[:n_shots]:
        turns.append({"role": "user", "content": user_text(shot.context, shot.question)})
        turns.append({"role": "assistant", "content": shot.completion})
    return [*turns, {"role": "user", "content": text}]


def render(text: str, tokenizer: Any, n_shots: int = 0) -> str:
    """The prompt for `text` (of `user_text`), tags and all: through the tokenizer's chat template,
    or plain where it has none (GPT-2).

    With worked examples, and where the template itself ends so (R1's own), the prompt ends with an
    opened `<think>`, which then counts as the start of the completion.
    """
    turns = messages(text, n_shots)
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
