"""The checks' machinery, on an exercise of its own: four states, points, and what is said."""

from __future__ import annotations

import math

import pytest
import torch

from distill_lab.course.exercises import find, or_ours, report
from distill_lab.course.exercises.comparing import alike, brief
from distill_lab.course.exercises.exercise import Exercise, Slip, Step, WrongError, expect, judge
from distill_lab.course.exercises.result_types import NUMBER


def double(x: list[int]) -> list[int]:
    return [2 * y for y in x]


def _small(function, rng) -> None:
    expect(function, [[1, 3]], [2, 6], {"It squares.": [1, 9], "It fails.": ZeroDivisionError})


def _drawn(function, rng) -> None:
    x = [rng.randint(4, 99)]
    expect(function, [x], double(x))


DOUBLE = Exercise(
    "lab0",
    "double",
    double,
    (Step("two numbers", 1, _small), Step("any", 2, _drawn)),
    ("Add.",),
    minutes=5,
    difficulty="easy",
)


def not_written(x):
    """Stub."""
    raise NotImplementedError


def squares(x):
    return [y * y for y in x]


def small_ones(x):
    return [y + y for y in x if y < 4]


def fails(x):
    return [1 // 0 for _ in x]


@pytest.mark.parametrize(
    ("function", "state", "points"),
    [(double, "right", 3), (not_written, "not attempted", 0), (squares, "wrong", 0),
     (small_ones, "wrong", 1), (fails, "wrong", 0), (lambda: None, "wrong", 0)],
)  # fmt: skip
def test_states_and_points(function, state, points):
    outcome = judge(DOUBLE, function)
    assert (outcome.state, outcome.points) == (state, points)


def test_a_known_mistake_is_named_within_the_tolerance_that_was_asked_for():
    with pytest.raises(WrongError, match="It squares"):
        expect(lambda x: x * x * (1 + 1e-5), [3.0], 6.0, {"It squares.": 9.0}, within=1e-4)


def test_what_is_said():
    assert report(DOUBLE, judge(DOUBLE, double)) == "double: right, 3 of 3 points"
    said = report(DOUBLE, judge(DOUBLE, squares)).splitlines()
    assert said[:6] == [
        "double: wrong, 0 of 3 points",
        "  wrong: two numbers",
        "         squares([1, 3])",
        "         yours:    [1, 9]",
        "         expected: [2, 6]",
        "         It squares.",
    ]
    assert "It fails." in report(DOUBLE, judge(DOUBLE, fails))
    assert report(DOUBLE, judge(DOUBLE, not_written)).startswith("double: not attempted")


def test_a_function_may_change_its_arguments():
    def changes(x):
        made = double(x)
        x.clear()
        return made

    assert judge(DOUBLE, changes).state == "right"


def test_a_step_that_breaks_by_itself_is_an_error():
    def breaks(function, rng):
        raise KeyError("of the student's object")

    exercise = Exercise(
        "lab0", "double", double, (Step("breaks", 1, breaks),), (), minutes=5, difficulty="easy"
    )
    assert judge(exercise, double).state == "error"


def test_seeds_draw_other_cases_and_the_same_seed_the_same():
    drawn: list[int] = []

    def sees(x):
        drawn.append(x[0])
        return double(x)

    for seed in (1, 1, 2):
        judge(DOUBLE, sees, seed)
    assert drawn[1] == drawn[3] != drawn[5]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [(torch.tensor([0.5, math.nan]), [0.5, math.nan], True), (1, True, False), (1, 1.0, True),
     ((1, 2), [1, 2], True), ([1], [1, 2], False), (None, None, True), ("a", "a", True),
     ("", None, False), (0.1 + 0.2, 0.3, True), (torch.tensor(2.0), 2.0, True),
     ({"a": 1.0}, {"a": 1}, True), ({"a": 1}, {"b": 1}, False), (math.inf, math.inf, True)],
)  # fmt: skip
def test_alike(a, b, same):
    assert alike(a, b) is same


def test_brief():
    assert brief(torch.tensor([0.1, 1 / 3])) == "[0.1, 0.333333]"
    assert brief("x" * 500).endswith(" …")
    with pytest.raises(WrongError, match="yours: "):
        expect(lambda: 1, [], 2)


# -- slips, kinds and errors


def half(x: float) -> float:
    return x / 2


HALF = Exercise(
    "lab0",
    "half",
    half,
    (
        Step("of 4", 1, lambda f, rng: expect(f, [4.0], 2.0)),
        Step("of 0", 1, lambda f, rng: expect(f, [0.0], 0.0)),
        Step("of any", 1, lambda f, rng: expect(f, [x := rng.uniform(5, 9)], x / 2)),
    ),
    (),
    NUMBER,
    (Slip("Percent.", "of 4", lambda f: lambda x: f(x) / 100),),
    minutes=5,
    difficulty="easy",
)


@pytest.mark.parametrize(
    ("function", "points", "says"),
    [(lambda x: 50 * x, 2, "Percent."), (lambda x: 50 * x or 7, 1, "as if what is said of 'of 4'"),
     (lambda x: x, 1, ""), (lambda x: None, 0, "Each call gave None"), (print, 0, "`return`"),
     (lambda x: [x / 2], 0, "One number is asked for"), (lambda x: round(x / 2, 1), 2, "Nearly"),
     (lambda x: torch.tensor(x / 2), 3, ""), (lambda x, y: x, 0, "as it was, in that order"),
     (lambda x: halve(x), 0, "does not know that name"),  # noqa: F821 # pyright: ignore
     (lambda x: None + x, 0, "Something is None here")],
)  # fmt: skip
def test_a_slip_costs_its_step_and_is_said(function, points, says):
    outcome = judge(HALF, function)
    assert outcome.points == points, report(HALF, outcome)
    assert says.lower() in report(HALF, outcome).lower()


def test_calls_are_shown_by_the_students_name_also_where_a_slip_is_left_aside():
    def half(x):
        return 50 * x or 7

    told = report(HALF, judge(HALF, half))
    assert "as if what is said of 'of 4'" in told.lower()
    assert "half(0" in told
    assert "lambda" not in told


def test_a_slip_that_does_not_explain_its_own_step_is_not_taken():
    outcome = judge(HALF, lambda x: 50 * x if x != 4 else 7.0)
    assert "Percent." not in report(HALF, outcome)


def test_what_was_stopped_for_its_time_is_asked_no_more():
    asked: list[float] = []

    def slow(x):
        asked.append(x)
        if x:
            raise TimeoutError
        return 0.0

    judge(HALF, slow)
    assert len(asked) == 3


def test_a_right_answer_is_handed_on_in_its_plain_form():
    yours = or_ours(
        "lab5a.pass_at_k",
        lambda n, c, k: torch.tensor(
            1 - math.comb(n - c, k) / math.comb(n, k), dtype=torch.float64
        ),
    )
    assert type(yours(4, 1, 1)) is float


def test_a_right_answer_keeps_its_gradient_where_it_is_handed_on():
    """The check asks for the gradient in numbers; a cell that trains needs the gradient itself."""
    yours = or_ours("lab7.fake_quant", find("lab7.fake_quant").ours)
    weight = torch.tensor([[0.1, -0.7, 1.0]], requires_grad=True)
    yours(weight, 3).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 1.0, 1.0]]
