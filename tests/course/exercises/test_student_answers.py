"""Answers as students give them: wrong ones are told what they did, right ones get all points."""

from __future__ import annotations

import runpy
import sys

import pytest
from wrong_answers import WRONG as WRONG_IN_LAB5
from wrong_answers_lab5e import WRONG as WRONG_IN_LAB5E
from wrong_answers_lab6 import WRONG as WRONG_IN_LAB6
from wrong_answers_lab7 import WRONG as WRONG_IN_LAB7

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.tasks.squad import scores

pytestmark = pytest.mark.grading

WRONG = [*WRONG_IN_LAB5, *WRONG_IN_LAB5E, *WRONG_IN_LAB6, *WRONG_IN_LAB7]
SEEDS = (0, pytest.param(7, marks=pytest.mark.slow), pytest.param(2026, marks=pytest.mark.slow))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("exercise", "function", "says"),
    [pytest.param(e, f, says, id=f"{e}: {slip}") for e, slip, f, says in WRONG],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_answer_is_wrong_and_its_slip_is_named(exercise, function, says, seed):
    outcome = judge(find(exercise), function, seed)
    assert outcome.points < find(exercise).points
    assert says in report(find(exercise), outcome)


def test_there_are_wrong_answers_to_every_exercise():
    from test_checks_mutants import EXERCISES

    assert len(WRONG) >= 60
    counted = {exercise.name: 0 for exercise in EXERCISES}
    for exercise, *_ in WRONG:
        counted[exercise] += 1
    assert min(counted.values()) >= 4


# what each of the wrong answers in shared/data/answers must be told
SAYS = {
    "naive re.search .*": "Take the spaces off",
    "fullmatch no DOTALL": "re.DOTALL",
    "split without guard": "Of two answers it takes the first",
    "strip or None (empty->None)": "An empty answer is an answer",
    "naive exp/sum, no dim": "All of it adds up to 1",
    "naive exp/sum dim=-1 without keepdim": "keepdim=True",
    "global max": "each row's own largest",
    "max(-1) tuple mistake": "max(dim=...) gives two things",
    "naive with putting back": "puts every trace back",
    "factorials": "Factorials end here",
    "c swapped: comb(c,k)": "The wrong ones are n - c",
    "Monte-Carlo 20000 draws": "estimated by chance",
    "ascii": "not for ASCII",
    "startswith CJK": "This is Cyrillic",
    "no isalpha: names of all chars": "punctuation are no letters",
    ">= and 0.1 fixed": "exactly `most` is not",
    "Counter raw": "not the raw text",
    "normalised, returns normalised, None skipped": "not as it was counted",
    "last spelling (dict overwrite)": "not as it was spelt last",
    "max(set) order random tie": "seen first wins",
    "zip": "find each by question and sample",
    "key by question only": "a verdict is one sample's",
    "em==100 instead of reason": "A duplicate has EM 100 too",
    "returns dict": "A dict is no list",
    "HF style: no shift": "Not shifted",
    "pad by id": "never from ids",
    "index error at last": "There is no ids[i + 1] at the last position",
    "too short": "One too short",
    "F.kl_div default, no T2": "F.kl_div's default is the mean of all",
    "batchmean, no T2": "T^2 is missing",
    "args of kl_div swapped": "The KL is turned round",
    "kl_div without log of student (softmax both)": "F.kl_div takes the student's logarithms",
    "alpha swapped + .item()": "alpha is the KL's weight",
    "half-right: T2 & alpha ok, CE softened, no detach": "cross-entropy is softened too",
    "naive guesses": "reads so already",
    "list, string numbers": "is a number, not a text",
    "articles before punctuation": "Punctuation goes before articles",
    "punct -> space": "not a space",
    'strip() only, re.sub " +"': "A tab and a line's end",
    r"[^\w\s] regex (keeps underscore, drops unicode punctuation)": "_ is in string.punctuation",
    "set, 0..1": "not once (a set)",
    "Counter, no guards": "No word in common gives 0",
    "normal approx": "normal approximation",
    "replace=False": "without replacement",
    "5/95": "at 5 and 95",
    "0.025 fractions": "not 0.025",
    "resamples of size 1000 (n=1000 mixed up)": "as many scores as there are",
    "kept": "student / teacher",
    "no guard": "Ask before you divide",
    "student-base over teacher": "not by the teacher's score",
}


@pytest.fixture(scope="module")
def given(shared_data):
    with pytest.MonkeyPatch.context() as patch:  # as it was called when they were given
        patch.setitem(sys.modules, "distill_lab.squad_scores", scores)
        answers = runpy.run_path(str(shared_data / "answers" / "student_answers.py"))["T"]
        yield [(name, *answer) for name, rows in answers.items() for answer in rows]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_of_the_answers_that_were_given_right_ones_are_right_and_wrong_ones_named(given, seed):
    named = wrong = 0
    for name, slip, function, is_right in given:
        exercise = find(name)
        outcome = judge(exercise, function, seed)
        said = report(exercise, outcome)
        assert (outcome.state == "right") is is_right, said
        wrong += not is_right
        named += not is_right and SAYS.get(slip, "?") in said
        if not is_right and SAYS.get(slip, "?") not in said:
            print(f"not named: {name}, {slip}\n{said}")
    print(f"{named} of {wrong} wrong answers are named")
    assert named >= 0.95 * wrong
