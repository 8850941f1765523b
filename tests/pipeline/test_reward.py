"""The reward of a student that learns from its own samples, by a hand-written table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distill_lab.pipeline.reject import verdict_on
from distill_lab.pipeline.rejection_rules import RULES, reward
from distill_lab.run.records import LabError, Question, Trace
from distill_lab.run.settings import RejectSettings
from distill_lab.tasks.gsm8k import GSM8K

QUESTION = Question("q", "t", "Orgar was born in Helhaven.", "Where was Orgar born?", ("Helhaven",))
NO_ANSWER = replace(QUESTION, answers=())
GOOD = "<think>He was born in Helhaven.</think><answer>Helhaven</answer>"
WRONG = GOOD.replace("<answer>Helhaven", "<answer>Vinford")
FORM = 0.25
TABLE = [  # what it says, whether it ended, its reward, its reward where the form has a weight
    (GOOD, True, 1, 1),
    (GOOD.replace("<answer>Helhaven", "<answer>the HELHAVEN."), True, 1, 1),  # as SQuAD compares
    (f"\n{GOOD}\n", True, 1, 1),
    (GOOD, False, 0, 0),  # right, but cut: it may have gone on
    (WRONG, True, 0, FORM),
    (WRONG, False, 0, 0),
    ("", True, 0, 0),
    (" \n", True, 0, 0),
    ("Helhaven", True, 0, 0),  # right, without the tags
    ("<answer>Helhaven</answer>", True, 0, 0),
    ("<think>He was born there.</think>Helhaven", True, 0, 0),
    ("<think>He was born in Helhaven", True, 0, 0),  # never closed
    ("<think>He was born in Helhaven", False, 0, 0),
    ("<think>a<answer>Helhaven</answer>", True, 0, 0),
    ("<think>a</think><answer>Helhaven", True, 0, 0),
    (f"{GOOD}<answer>Helhaven</answer>", True, 0, 0),  # two answers
    (f"{GOOD}<answer>Vinford</answer>", True, 0, 0),
    (f"{GOOD} And more.", True, 0, 0),
    ("<think></think><answer>Helhaven</answer>", True, 1, 1),  # no rule asks for a thought
    ("<think>He was born in Helhaven.</think><answer> </answer>", True, 0, 0),
    (GOOD.replace("He was", "Он"), True, 0, 0),  # another script
    (GOOD.replace("He was born in", "El pasaje dice que nació en"), True, 0, 0),
    (GOOD.replace("He was", "word " * 121), True, 0, 0),
    (GOOD.replace("He was", "```python\nprint()\n```"), True, 0, 0),
    (GOOD.replace("He was", "It is in the north. " * 3), True, 0, 0),
]


@pytest.mark.parametrize(("completion", "ended", "plain", "with_form"), TABLE)
def test_rewards(completion, ended, plain, with_form):
    assert reward(completion, QUESTION, ended) == plain
    assert reward(completion, QUESTION, ended, form=FORM) == with_form


def test_it_is_the_verdict_of_rejection_sampling():
    for completion, ended, plain, _ in TABLE:
        trace = Trace("q", 0, completion, 9, "stop" if ended else "length", "teacher", "")
        (verdict,) = verdict_on([trace], {"q": QUESTION}, RejectSettings())
        assert (verdict.reason == "ok") == (plain == 1)


def test_no_answer_is_right_where_there_is_none():
    silent = GOOD.replace("<answer>Helhaven", "<answer>")
    assert reward(silent, NO_ANSWER, True) == 1
    assert reward(GOOD, NO_ANSWER, True, form=FORM) == FORM
    assert reward(silent, QUESTION, True, form=FORM) == 0  # an empty answer is a matter of form


def test_a_rule_may_be_left_out():
    spanish = GOOD.replace("He was born in", "El pasaje dice que nació en")
    no_languages = [rule for rule in RULES if rule.__name__ != "mixed_language"]
    assert reward(spanish, QUESTION, True, rules=no_languages) == 1
    assert reward(GOOD, QUESTION, False, rules=no_languages[1:]) == 0  # cut, whatever is asked


def test_settings_and_task_are_those_of_the_run():
    half = GOOD.replace("<answer>Helhaven", "<answer>born in Helhaven")  # F1 50
    assert reward(half, QUESTION, True) == 0
    assert reward(half, QUESTION, True, settings=RejectSettings(min_f1=50)) == 1
    sums = Question("s", "", "", "What is 40 + 2?", ("42",))
    assert reward("<think>40 + 2 = 42</think><answer>42.0</answer>", sums, True, GSM8K) == 1
    assert reward("<think>40 + 2 = 41</think><answer>41</answer>", sums, True, GSM8K) == 0


@pytest.mark.parametrize("form", [0.2, 0.3, 1.0, 2.0, -0.5, float("nan")])
def test_a_weight_that_is_no_power_of_two_is_refused(form):
    with pytest.raises(LabError, match=r"expected 0 or a power of two below 1, found"):
        reward(GOOD, QUESTION, True, form=form)
