"""One template and one parser: how a question is put to a model, and how its completion is read.

The completion is `<think>…</think><answer>…</answer>`, the two tags of DeepSeek-R1-Zero's template (paper, table 1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill_lab.records import LabError

INSTRUCTION = (
    "Read the passage and answer the question. First think in one or two sentences inside <think> </think>. "
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


SHOTS = (
    Shot(
        "The Amazon rainforest covers most of the Amazon basin of South America. The basin covers 7,000,000 square kilometres, "
        "of which 5,500,000 are covered by the rainforest. Most of the forest, 60%, lies within Brazil, followed by Peru with 13%.",
        "Which country holds the second largest share of the forest?",
        "<think>The passage says that 60% lies within Brazil, followed by Peru with 13%. So Peru is second.</think>"
        "<answer>Peru</answer>",
    ),
    Shot(
        "Marie Curie was born in Warsaw in 1867. In 1891 she followed her sister to study in Paris, where she later shared the "
        "1903 Nobel Prize in Physics with her husband Pierre and with Henri Becquerel.",
        "When did Marie Curie go to Paris?",
        "<think>The passage says that in 1891 she followed her sister to study in Paris.</think><answer>1891</answer>",
    ),
    Shot(
        "The Golden Gate Bridge was opened in May 1937. Its chief engineer, Joseph Strauss, had spent ten years winning support "
        "for it. The orange paint was chosen by the architect Irving Morrow, because it is easy to see in fog.",
        "Why was the orange paint chosen?",
        "<think>The paint was chosen by Irving Morrow. The passage gives the reason: because it is easy to see in fog.</think>"
        "<answer>it is easy to see in fog</answer>",
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
    """The two parts, or None unless the completion is exactly one think and one answer, closed, with nothing around them."""
    match = _WHOLE.fullmatch(completion)
    if match is None or _TAG.search(match["think"]) or _TAG.search(match["answer"]):
        return None
    return Parsed(match["think"].strip(), match["answer"].strip())


def answer_text(completion: str) -> str:
    """What is scored: the answer inside the tags, or, so that a model without the format gets its due, the text after its
    reasoning with stray tags taken out."""
    parsed = parse(completion)
    if parsed:
        return parsed.answer
    return _TAG.sub(" ", completion.rpartition("</think>")[2]).strip()


def user_text(context: str, question: str) -> str:
    """Context before question, so that questions on one passage share what comes first."""
    return f"Passage: {context}\n\nQuestion: {question}"


def messages(text: str, n_shots: int = 0) -> list[dict[str, str]]:
    """The conversation that ends with `text` (of `user_text`): system, then worked examples, then the question."""
    turns = [{"role": "system", "content": INSTRUCTION}]
    for shot in SHOTS[:n_shots]:
        turns.append({"role": "user", "content": user_text(shot.context, shot.question)})
        turns.append({"role": "assistant", "content": shot.completion})
    return [*turns, {"role": "user", "content": text}]


def render(text: str, tokenizer: Any, n_shots: int = 0) -> str:
    """The prompt for `text` (of `user_text`), tags and all: through the tokenizer's chat template, or plain where it has none (GPT-2).

    With worked examples the prompt ends with an opened `<think>`, which then counts as the start of the completion.
    """
    turns = messages(text, n_shots)
    if tokenizer.chat_template:
        prompt = _chat(turns, tokenizer)
    else:
        prompt = "".join(f"{turn['content']}\n\n" for turn in turns)
    return prompt + (BEGUN if n_shots else "")


def _chat(turns: Sequence[dict[str, str]], tokenizer: Any) -> str:
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=True
        )
    except (
        TemplateError
    ):  # Gemma and others take no system turn: the instruction goes into the first user turn
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    try:
        return tokenizer.apply_chat_template(
            [first, *turns[2:]], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise LabError(
            f"The tokenizer's chat template refuses a plain conversation: {error}. Use another model."
        ) from None


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt. A begun `<think>` is encoded on its own, as it is where it is trained on."""
    stem = prompt.removesuffix(BEGUN)
    # a chat template writes the beginning-of-text token itself
    ids = tokenizer(stem, add_special_tokens=not tokenizer.chat_template).input_ids
    return ids + (tokenizer(BEGUN, add_special_tokens=False).input_ids if stem != prompt else [])


def prompt_id(prompt: str) -> str:
    """A short name for a prompt's text, so that a trace can be held against the prompt it came from."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
