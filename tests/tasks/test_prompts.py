"""One template, one parser: what is well formed, what is scored, and what the models are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from distill_lab.run.records import LabError
from distill_lab.tasks.gsm8k import GSM8K
from distill_lab.tasks.prompts import (
    BEGUN,
    Parsed,
    answer_text,
    encode,
    messages,
    parse,
    parse_unfinished,
    prompt_id,
    render,
)
from distill_lab.tasks.squad.task import INSTRUCTION, SHOTS, user_text

TEXT = user_text("Orgar lives in Helhaven.", "Where does Orgar live?")

# completion -> what parse finds, what is scored
COMPLETIONS = {
    "plain": ("<think>a</think><answer>b</answer>", Parsed("a", "b"), "b"),
    "whitespace": (" \n<think> a\n</think>\n\n<answer>\tb </answer>\n", Parsed("a", "b"), "b"),
    "several lines": ("<think>a\nc</think><answer>b\nd</answer>", Parsed("a\nc", "b\nd"), "b\nd"),
    "other tags": ("<think>1 < 2 <b></think><answer>b</answer>", Parsed("1 < 2 <b>", "b"), "b"),
    "empty answer": ("<think>a</think><answer> </answer>", Parsed("a", ""), ""),
    "empty reasoning": ("<think></think><answer>b</answer>", Parsed("", "b"), "b"),
    "text before": ("Sure! <think>a</think><answer>b</answer>", None, "b"),
    "text between": ("<think>a</think>So: <answer>b</answer>", None, "So:  b"),
    "text after": ("<think>a</think><answer>b</answer> Done.", None, "b  Done."),
    "two answers": ("<think>a</think><answer>b</answer><answer>c</answer>", None, "b  c"),
    "two thoughts": ("<think>a</think><think>c</think><answer>b</answer>", None, "b"),
    "nested reasoning": ("<think>a<think>c</think></think><answer>b</answer>", None, "b"),
    "nested answer": ("<think>a</think><answer><answer>b</answer></answer>", None, "b"),
    "answer in thought": ("<think>a<answer>b</answer></think><answer>b</answer>", None, "b"),
    "unclosed answer": ("<think>a</think><answer>b", None, "b"),
    "no reasoning": ("<answer>b</answer>", None, "b"),
    "no tags": (" Helhaven ", None, "Helhaven"),
    "wrong order": ("<answer>b</answer><think>a</think>", None, ""),
    "capitals": ("<ANSWER>b</ANSWER>", None, "<ANSWER>b</ANSWER>"),
    "empty": ("", None, ""),
}


@pytest.mark.parametrize(
    ("completion", "parsed", "scored"), COMPLETIONS.values(), ids=COMPLETIONS.keys()
)
def test_completions_are_parsed_and_scored(completion, parsed, scored):
    assert parse(completion) == parsed
    assert answer_text(completion) == scored


def test_what_is_read_of_a_finished_completion_is_what_is_scored():
    for completion, parsed, scored in COMPLETIONS.values():
        found = parse_unfinished(completion)
        assert found == parsed or parsed is None
        assert found.answer == scored


@pytest.mark.parametrize(
    ("so_far", "thought", "answer"),
    [
        ("", "", ""),
        ("<thi", "", ""),
        ("<think>", "", ""),
        ("<think>It is 1 <", "It is 1", ""),  # perhaps a tag
        ("<think>It is 1 < 2", "It is 1 < 2", ""),
        ("<think>Rome</thi", "Rome", ""),
        ("<think>Rome</think>", "Rome", ""),
        ("<think>Rome</think> <ans", "Rome", ""),
        ("<think>Rome</think> <answer>Ro", "Rome", "Ro"),
        ("<think>Rome</think> <answer>Rome</ans", "Rome", "Rome"),
        ("<think>a <answer>b</answer>", "a  b", ""),  # never closed
        ("The answer is <b", "", "The answer is <b"),
        ("The answer", "", "The answer"),
    ],
)
def test_what_is_read_of_a_completion_that_is_being_written(so_far, thought, answer):
    assert parse_unfinished(so_far) == Parsed(thought, answer)


@pytest.mark.parametrize("completion", ["<think>a", "<think>a <answer>", "<think>a</answer>"])
def test_an_unclosed_thought_is_malformed(completion):
    assert parse(completion) is None


def test_every_worked_example_is_what_is_asked_for():
    for shot in SHOTS:
        parsed = parse(shot.completion)
        assert parsed is not None
        assert parsed.think
        assert parsed.answer in shot.text


def test_the_conversation_ends_with_the_question():
    turns = messages(TEXT, n_shots=2)
    assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * 2, "user"]
    assert turns[0]["content"] == INSTRUCTION
    assert (
        turns[-1]["content"]
        == "Passage: Orgar lives in Helhaven.\n\nQuestion: Where does Orgar live?"
    )


CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)
NOTHING = "{{ raise_exception('not a chat model') }}"


@pytest.fixture
def tokenizer(tiny_model: Callable[[str], Path]):
    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def test_a_chat_template_is_used_where_there_is_one(tokenizer):
    tokenizer.chat_template = CHATML
    assert render(TEXT, tokenizer) == f"<|system|>{INSTRUCTION}\n<|user|>{TEXT}\n<|assistant|>"


def test_the_prompt_is_plain_where_there_is_no_template(tiny_model):
    plain = AutoTokenizer.from_pretrained(tiny_model("gpt2"))
    assert plain.chat_template is None
    assert render(TEXT, plain) == f"{INSTRUCTION}\n\n{TEXT}\n\n"


@pytest.mark.parametrize("template", [CHATML, NO_SYSTEM, None], ids=["chat", "no system", "plain"])
def test_a_few_shot_prompt_shows_the_examples_and_begins_the_thought(template, tokenizer):
    tokenizer.chat_template = template
    prompt = render(TEXT, tokenizer, n_shots=3)
    places = [prompt.index(shot.completion) for shot in SHOTS]
    assert places == sorted(places)
    assert prompt.endswith(BEGUN)
    assert prompt.count(INSTRUCTION) == 1
    assert prompt.index(TEXT) > places[-1]
    assert (
        render(TEXT, tokenizer, n_shots=1).count("<answer>") == 2
    )  # the instruction's and one example's
    assert not render(TEXT, tokenizer).endswith(BEGUN)


def test_a_template_without_system_turns_gets_the_instruction_with_the_first_question(tokenizer):
    tokenizer.chat_template = NO_SYSTEM
    assert render(TEXT, tokenizer) == f"<|user|>{INSTRUCTION}\n\n{TEXT}\n<|assistant|>"


def test_a_template_that_refuses_everything_is_an_error_of_one_line(tokenizer):
    tokenizer.chat_template = NOTHING
    with pytest.raises(LabError, match="not a chat model"):
        render(TEXT, tokenizer)


@pytest.mark.parametrize("n_shots", [0, 1])
def test_a_prompt_is_encoded_without_loss_and_a_begun_thought_on_its_own(n_shots, tokenizer):
    prompt = render(TEXT, tokenizer, n_shots)
    ids = encode(tokenizer, prompt)
    assert tokenizer.decode(ids) == prompt
    assert (ids[-1] == tokenizer.convert_tokens_to_ids("<think>")) == (n_shots == 1)


def test_a_prompt_id_is_short_and_of_the_text():
    assert prompt_id("a") == prompt_id("a") != prompt_id("b")
    assert len(prompt_id("é")) == 16


def test_another_task_has_its_own_instruction_and_examples(tokenizer):
    tokenizer.chat_template = CHATML
    prompt = render("Problem: 1 + 1?", tokenizer, 1, GSM8K)
    assert prompt.startswith(f"<|system|>{GSM8K.instruction}\n<|user|>{GSM8K.shots[0].text}\n")
    assert INSTRUCTION not in prompt
