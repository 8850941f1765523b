"""The rules by hand-written tables and on real R1 output; verdicts, policies, and the stage."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from distill_lab.pipeline import reject
from distill_lab.pipeline.languages import foreign_words
from distill_lab.pipeline.rejection_rules import RULES, longest_loop
from distill_lab.run.records import (
    Example,
    LabError,
    Question,
    Trace,
    Verdict,
    read_records,
    write_records,
)
from distill_lab.run.settings import Config, RejectSettings
from distill_lab.tasks.squad.task import user_text

CONTEXT = "Orgar Dvořák was born in Helhaven (東京 in the old tongue)."
QUESTION = Question("q", "t", CONTEXT, "Where was Orgar born?", ("Helhaven", "in Helhaven"))
NO_ANSWER = replace(QUESTION, id="none", answers=())
SETTINGS = RejectSettings()


def said(think="He was born in Helhaven.", answer="Helhaven"):
    return f"<think>{think}</think><answer>{answer}</answer>"


def trace(completion="", question_id="q", sample=0, n_tokens=9, finish: Any = "stop"):
    return Trace(question_id, sample, completion or said(), n_tokens, finish, "teacher", "prompt")


def verdicts(*traces, settings=SETTINGS):
    return reject.verdict_on(traces, {"q": QUESTION, "none": NO_ANSWER}, settings)


def reason(completion, settings=SETTINGS, **fields):
    return verdicts(trace(completion, **fields), settings=settings)[0].reason


def test_the_rules_are_in_the_order_of_the_course():
    assert [rule.__name__ for rule in RULES] == [
        "truncated",
        "malformed",
        "empty_answer",
        "mixed_language",
        "long_paragraph",
        "code_block",
        "repetition",
        "wrong_answer",
        "duplicate",
    ]


LOOP = "It is in the north. "
REASONS = [
    (said(), "ok"),
    (said(answer="the HELHAVEN."), "ok"),  # compared as SQuAD does
    (said(answer="in Helhaven"), "ok"),  # any reference will do
    ("<think>a</think>Helhaven", "malformed"),
    ("<think>He was born in", "truncated"),  # of imported text, finish says nothing
    ("<think>a</think><answer>b</answer><think>c", "truncated"),
    ("He was born</think><answer>Helhaven</answer>", "malformed"),
    ("<think>a</think><answer>Hel", "malformed"),
    (said(think="a</think><think>b"), "malformed"),
    (said(answer=" \n"), "empty_answer"),
    (said(answer="东 Helhaven"), "mixed_language"),
    (said(think="He was born в Helhaven."), "mixed_language"),
    (said(think="El pasaje dice que nació en Helhaven."), "mixed_language"),
    (said(think="Το κείμενο λέει ότι γεννήθηκε στο Helhaven."), "mixed_language"),
    (said(think="Quinric Varenna and Dalia of Melsa were not born in Helhaven."), "ok"),
    (said(think="The passage says 東京 is Helhaven, by ∑ αᵢ ≥ ½."), "ok"),
    (said(think="word " * 121), "long_paragraph"),
    (said(think="word and more. " * 9 + "```python\nprint()\n```"), "code_block"),
    (said(think="~~~\ncode\n~~~"), "code_block"),
    (said(think="About ~~~ and `x`: he was born there."), "ok"),
    (said(think=LOOP * 3), "repetition"),
    (said(think=LOOP * 2), "ok"),
    (said(answer="Vinford"), "wrong_answer"),
    (said(answer="born in Helhaven"), "wrong_answer"),
]


@pytest.mark.parametrize(("completion", "expected"), REASONS)
def test_reasons(completion, expected):
    assert reason(completion) == expected


def test_the_first_rule_that_refuses_gives_the_reason():
    bad = said(think="```东```", answer="Vinford")
    assert reason(bad, finish="length") == "truncated"
    assert reason(bad) == "mixed_language"
    assert reason(said(think="```x```", answer="Vinford")) == "code_block"
    assert reason("<think>```东", finish="length") == "truncated"


def test_paragraphs_are_parted_by_blank_lines():
    settings = RejectSettings(max_paragraph=10)
    one, two, three = "a b c d e", "f g h i j", "k l m n o"
    assert reason(said(think=f"{one}\n \n{two}\n\n{three}"), settings) == "ok"
    assert reason(said(think=f"{one}\n{two}\n{three}"), settings) == "long_paragraph"


def test_no_answer_is_the_right_answer_to_an_unanswerable_question():
    assert reason(said(answer=""), question_id="none") == "ok"
    assert reason(said(answer="Helhaven"), question_id="none") == "wrong_answer"


def test_min_f1_is_lenient_below_100_and_asks_for_em_at_100():
    half = said(answer="born in Helhaven")  # F1 80 against "in Helhaven"
    assert reason(half, RejectSettings(min_f1=80)) == "ok"
    assert reason(half, RejectSettings(min_f1=81)) == "wrong_answer"
    assert reason(said(answer="Helhaven in"), RejectSettings(min_f1=100)) == "wrong_answer"
    assert reason(said(answer="Helhaven in"), RejectSettings(min_f1=99)) == "ok"


def test_refused_traces_are_scored_too():
    cut = trace("<think>so</think><answer>Helhaven", finish="length")
    half = trace(said(answer="born in Helhaven"), sample=1)
    found = [(v.sample, v.reason, v.em, v.f1) for v in verdicts(cut, half)]
    assert found == [(0, "truncated", 100, 100), (1, "wrong_answer", 0, pytest.approx(80))]


def test_a_duplicate_repeats_an_accepted_trace_of_the_same_question():
    other = replace(QUESTION, id="other")
    wrong = said(answer="Vinford")
    traces = [
        trace(sample=0),
        trace(said(think="He was  born in\nHelhaven."), sample=1),  # but for spaces
        trace(said(think="Born in Helhaven."), sample=2),
        trace(wrong, sample=3),
        trace(wrong, sample=4),  # not a duplicate: the earlier was not accepted
        trace(said("so"), sample=5, finish="length"),
        trace(said("so"), sample=6),  # nor is this one of the trace before it
        trace(sample=0, question_id="other"),  # not a duplicate: another question
    ]
    found = reject.verdict_on(traces, {"q": QUESTION, "other": other}, SETTINGS)
    assert [verdict.reason for verdict in found] == [
        "ok",
        "duplicate",
        "ok",
        "wrong_answer",
        "wrong_answer",
        "truncated",
        "ok",
        "ok",
    ]


def test_a_trace_of_an_unknown_question_is_an_error():
    with pytest.raises(LabError, match=r"question gone: expected one of questions\.train\.jsonl"):
        verdicts(trace(question_id="gone"))


def responses(folder, name):
    return [row["response"] for row in json.loads((folder / "r1" / name).read_text("utf-8"))]


def test_mixed_language_on_real_traces(shared_data):
    r1 = responses(shared_data, "r1-distill-qwen-1.5b.100.json")
    stray = [any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in r1]
    flagged = [bool(foreign_words(text)) for text in r1]
    assert sum(stray) == 26
    assert sum(a and b for a, b in zip(stray, flagged, strict=True)) >= 24
    control = responses(shared_data, "qwen2.5-1.5b-instruct.100.json")
    assert sum(bool(foreign_words(text)) for text in control) <= 1


def test_repetition_is_not_trigger_happy_on_real_traces(shared_data):
    names = ("r1-distill-qwen-1.5b.100.json", "qwen2.5-1.5b-instruct.100.json")
    texts = [text for name in names for text in responses(shared_data, name)]
    assert sum(longest_loop(text) >= 12 for text in texts) <= 2
    # the same texts, each caught in its last twenty words: all are found
    looped = [text + " " + " ".join(text.split()[-20:] * 3) for text in texts]
    assert sum(longest_loop(text) >= 12 for text in looped) == len(texts)


LOOPS = [
    ("", 0),
    ("a b c d e f", 0),
    ("a b a b", 0),  # twice is no loop
    ("a b c a b c and so on it goes", 0),
    ("a b a b a b", 6),
    ("x a b A, b a b! a y", 7),  # case and punctuation aside, and the half period after it
    ("no " * 12, 12),
    ("<think>" + "no " * 11 + "no</think>", 12),  # not: tags as formulas
    ("a b c. a b d. a b e.", 0),  # alike is not the same
    ("I see. Next: I see. Then: I see.", 0),  # nor is the same, but not in a row
    ("So f(f(g(f(f(g(f(f(g(x)))))))))", 3),  # three words of a formula count as one
    ("(0, 0), (0, 1), " * 3, 4),
    ("x + y = x + y = x + y", 2),  # single letters beside signs too
    ("\\frac{1}{2} + " * 3, 3),
    ("1, " * 36, 12),  # yet a long one is a loop
    ("It was built in 1899. " * 3, 13),
    ("因为所以，" * 12, 12),
    ("বাংলা ভাষা " * 6, 12),  # not: words cut at their vowel signs
]


@pytest.mark.parametrize(("text", "n"), LOOPS)
def test_longest_loop(text, n):
    assert longest_loop(text) == n


FORMULAS = [
    r"Since \[f(f(g(f(g(f(-x)))))) = f(f(g(f(g(-f(x)))))) = f(f(g(f(g(f(x)))))),\] it is even.",
    r"We have $5^5\div5^4-5^3+5^2\cdot5^1 = 5^1-5^3+5^3 = 5^1-5^3+5^3 = 5^1+(-5^3+5^3)$.",
    "The square (0, 0), (1, 0), (1, 0), (1, 0), (1, 0), (1, 0), (1, 0), (1, 1) is it.",
    "So $1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1$ is 14.",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_and_coordinates_may_repeat_themselves(text):
    assert longest_loop(text) < 12
    assert longest_loop(f"{text} " * 6) >= 12  # not: left out


def test_repetition_is_not_trigger_happy_on_mathematics(shared_data):
    files = [shared_data / "math" / name for name in ("aime24.jsonl", "math500.first250.jsonl")]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    texts = [text for line in lines for text in json.loads(line).values() if isinstance(text, str)]
    assert len(texts) > 500
    assert sum(longest_loop(text) >= 12 for text in texts) == 0
    looped = [text for text in texts if len(text.split()) >= 20]
    looped = [text + " " + " ".join(text.split()[-20:] * 4) for text in looped]
    assert sum(longest_loop(text) >= 12 for text in looped) >= 0.98 * len(looped)


def test_a_numbered_loop_is_bounded_by_its_period():
    assert longest_loop(" ".join(["word" + str(n) for n in range(150)] * 3), max_period=100) == 0


RIGHT = [
    trace(said("a"), sample=0, n_tokens=5),
    trace(said("b"), sample=1, n_tokens=3),  # the shortest of all, but wrong
    trace(said("c " * 30), sample=2, n_tokens=4),  # most characters, fewest tokens
    trace(said("d"), sample=3, n_tokens=4),
    trace(said("e"), sample=0, n_tokens=1, question_id="r"),  # wrong, where q's sample 0 is right
    trace(said("f"), sample=1, n_tokens=9, question_id="r"),
]
WRONG = {("q", 1), ("r", 0)}
OF_RIGHT = [
    Verdict(
        t.question_id, t.sample, "bad" if (t.question_id, t.sample) in WRONG else "ok", {"em": 0}
    )
    for t in RIGHT
]
POLICIES = {
    "all": ["q0", "q2", "q3", "r1"],
    "first": ["q0", "r1"],
    "shortest": ["q2", "r1"],
    "at-most-k": ["q0", "q2", "r1"],
}


@pytest.mark.parametrize("policy", POLICIES)
def test_keep(policy):
    kept = reject.choose_examples(RIGHT, OF_RIGHT, RejectSettings(keep=policy, k=2))
    assert [f"{t.question_id}{t.sample}" for t in kept] == POLICIES[policy]


def write_run(out, traces):
    write_records(out / "questions.train.jsonl", [QUESTION, NO_ANSWER])
    write_records(out / "traces.jsonl", traces)


def test_the_stage_writes_a_verdict_a_trace_and_the_examples(tmp_path, capsys):
    second = trace(said("Born in Helhaven."), sample=1)
    bad = trace(said(answer="Vinford"), sample=2)
    empty = trace(said(answer=""), question_id="none")
    write_run(tmp_path, [empty, bad, second, trace()])  # in any order
    reject.run(Config(), tmp_path)
    found = read_records(tmp_path / "verdicts.jsonl", Verdict)
    assert [(v.question_id, v.sample, v.reason) for v in found] == [
        ("q", 0, "ok"),
        ("q", 1, "ok"),
        ("q", 2, "wrong_answer"),
        ("none", 0, "ok"),
    ]
    examples = read_records(tmp_path / "examples.jsonl", Example)
    prompt = user_text(CONTEXT, QUESTION.question)
    assert examples[1] == Example("q", 1, prompt, second.completion)
    assert len(examples) == 3
    funnel = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in funnel] == [
        ["traces", "4"],
        ["wrong_answer", "-1"],
        ["examples", "3"],
    ]


def test_nothing_kept_is_an_error_that_says_why_and_leaves_no_old_examples(tmp_path):
    bad = said(answer="Vinford")
    write_run(tmp_path, [trace(bad), trace(bad, sample=1), trace("?", sample=2)])
    (tmp_path / "examples.jsonl").write_text("old\n")
    expected = r"found 3 refused \(wrong_answer 2, malformed 1\).*--reject\.min-f1"
    with pytest.raises(LabError, match=expected):
        reject.run(Config(), tmp_path)
    assert len(read_records(tmp_path / "verdicts.jsonl", Verdict)) == 3
    assert not (tmp_path / "examples.jsonl").exists()
    write_run(tmp_path, [])
    with pytest.raises(LabError, match="expected traces, found none"):
        reject.run(Config(), tmp_path)


def test_a_missing_input_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(LabError, match="distill-lab generate"):
        reject.run(Config(), tmp_path)
    write_records(tmp_path / "traces.jsonl", [trace()])
    with pytest.raises(LabError, match="distill-lab data"):
        reject.run(Config(), tmp_path)
