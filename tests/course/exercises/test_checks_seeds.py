"""Whatever a check draws: right answers stay right, and answers that give one thing always, or know
the cases of another seed, get nothing."""

from __future__ import annotations

import random
import re
from collections import Counter

import numpy as np
import pytest
import torch
from test_checks_lab5a import _by_counting, _by_hand, _by_product, _in_numpy
from test_checks_lab5b import last_question_first, shares, votes
from test_checks_lab5d import dice, half_open, in_plain_python, without_regular_expressions
from test_checks_lab5e import RIGHT as RIGHT_IN_LAB5E
from test_checks_lab6 import RIGHT as RIGHT_IN_LAB6
from test_checks_lab7 import RIGHT as RIGHT_IN_LAB7
from test_checks_mutants import EXERCISES

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.tasks.squad.scores import normalize_answer

pytestmark = pytest.mark.grading

SEEDS = [
    pytest.param(range(3), id="few"),
    pytest.param(range(200), id="many", marks=pytest.mark.slow),
]
DRAWN = [exercise for exercise in EXERCISES if exercise.function != "mend"]  # five fixed exhibits
OF_DATA = [exercise for exercise in DRAWN if not exercise.runner]  # a model has no text to know


def log_sum_exp(logits, temperature):
    z = logits / temperature
    return (z - torch.logsumexp(z, -1, keepdim=True)).exp()


def by_drawing_nothing(n, c, k):
    def all_wrong(n, w, k):
        return (w / n * all_wrong(n - 1, w - 1, k - 1) if w else 0.0) if k else 1.0

    return 1 - all_wrong(n, n - c, k)


def by_slices(ids, prompt_length, pad_id, attention_mask):
    n = sum(attention_mask)
    learnt = ids[prompt_length:n]
    return np.array([-100] * (prompt_length - 1) + learnt + [-100] * (len(ids) - n + 1))


def token_by_token(student, teacher, targets, alpha, temperature):
    s, t, total = student.float(), teacher.float().detach(), 0.0
    for i, target in enumerate(targets):
        q, p = (torch.log_softmax(z[i] / temperature, -1) for z in (s, t))
        total = total + (1 - alpha) * -torch.log_softmax(s[i], -1)[target]
        total = total + alpha * temperature**2 * (p.exp() * (p - q)).sum()
    return total / len(targets)


def in_double(student, teacher, targets, alpha, temperature):
    return token_by_token(student.double(), teacher.double(), targets, alpha, temperature)


def sorted_means(scores, seed):
    places = np.random.default_rng(seed).integers(0, len(scores), (1000, len(scores)))
    means = np.sort(np.array(scores)[places].mean(1))
    return means[24], means[975]


RIGHT = [(exercise.name, exercise.ours) for exercise in EXERCISES]
RIGHT += [
    ("lab5a.extract_answer", _by_counting),
    *(("lab5a.soften", f) for f in (_by_hand, _in_numpy, log_sum_exp)),
    *(("lab5a.pass_at_k", f) for f in (_by_product, by_drawing_nothing)),
    *(("lab5b.mixed_language", f) for f in (shares,)),
    *(("lab5b.majority_answer", f) for f in (votes,)),
    *(("lab5b.keep_shortest", f) for f in (last_question_first,)),
    ("lab5c.completion_labels", by_slices),
    *(("lab5c.kd_loss", f) for f in (token_by_token, in_double)),
    ("lab5d.normalize", without_regular_expressions),
    ("lab5d.f1", dice),
    *(("lab5d.bootstrap_interval", f) for f in (in_plain_python, sorted_means)),
    ("lab5d.gap_closed", half_open),
    *RIGHT_IN_LAB5E,
    *RIGHT_IN_LAB6,
    *RIGHT_IN_LAB7,
]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(n, f, id=f"{n}: {f.__name__}") for n, f in RIGHT]
)
def test_a_right_answer_is_right_whatever_is_drawn(name, function, seeds):
    for seed in seeds:
        outcome = judge(find(name), function, seed)
        assert outcome.state == "right", f"seed {seed}: {report(find(name), outcome)}"


# -- nearly right ones, by what is drawn seldom


def word_characters(text):
    bare = re.sub(r"[^\w\s]", "", text.lower())
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def if_answer(answers):
    said = [normalize_answer(answer) for answer in answers if answer]
    spelt = {normalize_answer(answer): answer for answer in reversed(answers) if answer}
    return spelt[Counter(said).most_common(1)[0][0]] if said else None


def exact_ones(traces, verdicts):
    right = {(v.question_id, v.sample) for v in verdicts if v.em == 100}
    kept = [trace for trace in traces if (trace.question_id, trace.sample) in right]
    names = {trace.question_id for trace in kept}
    groups = [[trace for trace in kept if trace.question_id == name] for name in names]
    return [min(group, key=lambda trace: trace.n_tokens) for group in groups]


def normal(scores, seed):
    """With a little chance, so that it differs from seed to seed."""
    error = np.std(scores) / len(scores) ** 0.5 * random.Random(seed).uniform(0.98, 1.02)
    return np.mean(scores) - 1.96 * error, np.mean(scores) + 1.96 * error


def if_base(base, student, teacher):
    return (student - base) / (teacher - base) if base and teacher > base else None


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("name", "function", "most"),
    [
        ("lab5d.normalize", word_characters, 3),
        ("lab5b.majority_answer", if_answer, 3),
        ("lab5b.keep_shortest", exact_ones, 3),
        ("lab5d.bootstrap_interval", normal, 1),
        ("lab5d.gap_closed", if_base, 2),
    ],
)
def test_a_nearly_right_answer_is_caught_whatever_is_drawn(name, function, most, seeds):
    for seed in seeds:
        assert judge(find(name), function, seed).points <= most


# -- answers that compute nothing


def asked_of(exercise, seed):
    """What the check asks at this seed, as text, and what is right there."""
    table = {}

    def asked(*arguments):
        result = exercise.ours(*arguments)
        table[repr(arguments)] = result.detach() if isinstance(result, torch.Tensor) else result
        return result

    judge(exercise, asked, seed)
    return table


def constants_of(table):
    """Everything that is right somewhere, and what is always at hand."""
    found = {repr(result): result for result in table.values()}
    return [*found.values(), None, 0, 1, 0.5, 100.0, True, False, "", [], (0.0, 1.0)]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("exercise", DRAWN, ids=lambda exercise: exercise.name)
def test_what_gives_one_thing_always_gets_nothing(exercise, seeds):
    constants = constants_of(asked_of(exercise, seeds[0]))
    for seed in seeds[:20]:
        for constant in constants:
            assert judge(exercise, lambda *_, it=constant: it, seed).points == 0, repr(constant)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("exercise", OF_DATA, ids=lambda exercise: exercise.name)
def test_who_knows_the_cases_of_another_seed_gets_nothing(exercise, seeds):
    """All that a check can show in the notebook, learnt by heart, and a guess for the rest."""
    table = asked_of(exercise, 0)
    common, _ = Counter(map(repr, table.values())).most_common(1)[0]
    guess = next(result for result in table.values() if repr(result) == common)

    def by_heart(*arguments):
        return table.get(repr(arguments), guess)

    assert judge(exercise, by_heart, 0).points >= exercise.points - 1  # a gradient is not learnt
    for seed in seeds:
        assert judge(exercise, by_heart, seed + 1).points == 0, seed + 1
