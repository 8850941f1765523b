"""What crosses between the grader and a student's kernel: the bridge changes no mark, and no answer
from the other side can do more than be wrong."""

from __future__ import annotations

import array
import base64
import collections
import contextlib
import http
import importlib
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_lab.course.exercises import find
from distill_lab.course.exercises.exercise import Exercise, Outcome, brief, judge, judge_called
from distill_lab.course.exercises.lab5c import museum
from distill_lab.course.grading.sandbox.remote import UnreadableResultError, remote
from distill_lab.course.grading.sandbox.values import Foreign, decode, encode
from distill_lab.run import records

pytestmark = pytest.mark.grading

PARTS = ("lab5a", "lab5b", "lab5c", "lab5d", "lab5e", "lab6", "lab7")
EXERCISES = [
    exercise
    for part in PARTS
    for exercise in importlib.import_module(f"distill_lab.course.exercises.{part}").EXERCISES
]
MUTANTS = [
    mutant
    for part in PARTS
    for mutant in importlib.import_module(f"distill_lab.course.exercises.mutants.{part}").MUTANTS
]


def bridged(function: Callable[..., Any], name: str = "f") -> Callable[..., Any]:
    """The function as the grader has it, its kernel being this process."""
    return remote(name, lambda expression: repr(eval(expression, {name: function})))


def judged_there(
    exercise: Exercise, function: Callable[..., Any], seed: int = 0, run: Callable[..., Any] = eval
) -> Outcome:
    """As the grader judges it; `run` evaluates an expression where the student's names are known."""
    names = {exercise.function: function}
    there = remote(exercise.expression, lambda expression: repr(run(expression, names)))
    return judge_called(exercise, there, seed)


def crossed(value: Any) -> Any:
    """A value as it arrives."""
    return decode(json.loads(json.dumps(encode(value))))


# -- the bridge changes nothing


def said(outcome: Outcome, function: str, name: str) -> list[str]:
    """What each step says, where a mutant's own name does not matter, nor numbers that are drawn
    anew each time."""
    drawn = "The same seed gave another interval" in "".join(map(str, outcome.wrong))
    texts = [str(wrong).replace(f"{name}(", f"{function}(") for wrong in outcome.wrong]
    return [re.sub(r"(?<=yours: ).*", "drawn", text) if drawn else text for text in texts]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_reference_gets_all_points_across_the_bridge(exercise):
    outcome = judged_there(exercise, exercise.ours, 2026)
    assert (outcome.state, outcome.points) == ("right", exercise.points)


def costly(n: int) -> bool:
    """Of the museum, which trains its exhibits, all but a few: what crosses there is a text."""
    return MUTANTS[n].exercise == "lab5c.mend" and n % 5 > 0


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, marks=[pytest.mark.slow] * costly(n)) for n, m in enumerate(MUTANTS)],
    ids=lambda mutant: f"{mutant.exercise}: {mutant.name}",
)
def test_a_mutant_is_told_the_same_across_the_bridge(mutant):
    exercise = find(mutant.exercise)
    here = judge(exercise, mutant.function)
    there = judged_there(exercise, mutant.function)
    assert (there.state, there.points) == (here.state, here.points)
    own = getattr(mutant.function, "__name__", "it")
    name = exercise.function
    assert said(there, name, name) == said(here, name, own)


def test_a_line_that_was_handed_in_runs_where_the_students_code_does_and_nowhere_else(monkeypatch):
    answer = ("micro-batches", 7, "return kl.mean()  # here")
    run: list[str] = []
    reached: list[str] = []

    def kernel(expression: str, names: dict[str, Any]) -> Any:
        """It ends where the line would run."""
        if "# here" not in expression:
            return eval(expression, names)
        reached.append(expression)
        raise TimeoutError("stopped")

    def compile_here(source: str, *arguments: Any) -> Any:
        run.append(source)
        return compile(source, *arguments)

    museum.mended.cache_clear()
    monkeypatch.setattr(museum, "compile", compile_here, raising=False)
    outcome = judged_there(find("lab5c.mend"), lambda bug: answer, run=kernel)
    assert outcome.points == 0
    assert reached
    assert "does not run: TimeoutError: stopped" in str(outcome.wrong[-1])
    assert not any("# here" in source for source in run)
    judge(find("lab5c.mend"), lambda bug: answer)  # in a notebook it is the student's own machine
    assert any("# here" in source for source in run)


# -- round trips

FLOATS = st.floats(allow_nan=False)
LEAVES = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
KEYS = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(TREES)
def test_values_of_python_cross_as_they_are(value):
    assert repr(crossed(value)) == repr(value) or crossed(value) == value
    assert type(crossed(value)) is type(value)


@settings(deadline=None)
@given(TREES)
def test_arguments_and_results_cross_through_a_call(value):
    assert bridged(lambda x: x)(value) == value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-320, 10**30, "\ud800"]
)
def test_odd_numbers_and_texts_cross_as_they_are(value):
    assert repr(crossed(value)) == repr(value)
    assert repr(bridged(lambda x: x)(value)) == repr(value)


def test_records_cross_as_records():
    trace = records.Trace("q", 1, "<think>", 3, "stop", "t", "p")
    question = records.Question("q", "T", "c", "?", ("a", "b"))
    verdict = records.Verdict("q", 0, "ok", {"em": 100.0, "f1": 50.0})
    assert crossed([trace, question, verdict]) == [trace, question, verdict]


NUMBERS = [[1.5, -0.0], [math.inf, 0.0]]
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit by bit, with what autograd knows of it."""
    about = [(t.dtype, t.shape, t.requires_grad) for t in (a, b)]
    bits = [t.detach().contiguous().reshape(-1).view(torch.uint8).tolist() for t in (a, b)]
    return about[0] == about[1] and bits[0] == bits[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_each_dtype_cross_bit_by_bit(dtype):
    numbers = [[1.5, -0.0], [3.0, 0.0]] if "int" in dtype else NUMBERS
    whole = torch.tensor(numbers).to(getattr(torch, dtype))
    for tensor in (whole, whole[0, 0], whole[:0], whole.T, whole[:, 1], whole.expand(3, 2, 2)):
        assert same(crossed(tensor), tensor)


def test_a_tensor_stays_one_that_learns_and_nan_stays_itself():
    assert same(
        crossed(torch.tensor([math.nan, 1.0], requires_grad=True)),
        torch.tensor([math.nan, 1.0], requires_grad=True),
    )
    assert same(crossed(torch.nn.Parameter(torch.ones(2))), torch.ones(2, requires_grad=True))


@pytest.mark.parametrize(
    "array",
    [np.float64(1.5), np.float32(-0.0), np.int64(3), np.bool_(True), np.arange(6).reshape(2, 3),
     np.arange(6).reshape(2, 3).T, np.zeros((0, 3)), np.array(2.0), np.array([1.0, 2.0], ">f8"),
     np.arange(8)[::2], np.array([True, False]), np.array([math.nan, math.inf], "f2")],
    ids=repr,
)  # fmt: skip
def test_arrays_and_their_numbers_cross_bit_by_bit(array):
    there = crossed(array)
    assert (there.dtype, there.shape) == (array.dtype, array.shape)
    assert there.tobytes() == array.tobytes()


def test_texts_of_numpy_arrive_as_those_of_python():
    assert crossed(np.unique(["b", "a", "b"])) == ["a", "b"]
    assert type(crossed(np.unique(["b", "a"])[0])) is str
    assert crossed((np.array([["a"]]), 1)) == ([["a"]], 1)


def test_a_function_may_change_its_arguments():
    def fill(array, tensor, items):
        array[0], tensor[0] = 7, 7
        return float(array[0] + tensor[0] + len(items))

    given = (np.zeros(2), torch.zeros(2), [1])
    assert bridged(fill)(*given) == 15
    assert (given[0][0], given[1][0], given[2]) == (0, 0, [1])  # its own: a copy


# -- what is no plain value


class Same:
    def __eq__(self, other):
        return True

    __hash__ = None  # type: ignore[assignment]


class Listed:
    def tolist(self):
        return [0.5]


class Pretends:
    __class__ = dict  # type: ignore[assignment]


class Text(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Number(float):
    def __float__(self):
        return 7.0


class Rows(list):
    def __iter__(self):
        return iter([7])


class Own(np.ndarray):
    pass


class Ends(NamedTuple):
    low: float
    high: float


PLAIN = [
    (Text("a"), "a"), (Number(1), 1.0), (Rows([Rows([1])]), [[1]]), (Ends(1.0, 2.5), (1.0, 2.5)),
    (array.array("d", [0.5, 1]), [0.5, 1.0]), (range(3), [0, 1, 2]), ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]), (collections.deque([1]), [1]), (Fraction(1, 4), 0.25),
    (Decimal("0.5"), 0.5), (collections.Counter("aab"), {"a": 2, "b": 1}),
    (http.HTTPStatus.OK, 200), ([Text("a"), {Text("b"): Rows()}], ["a", {"b": []}]),
    (frozenset([Number(2)]), frozenset([2.0])), (True, True),
]  # fmt: skip


@pytest.mark.parametrize(("value", "plainly"), PLAIN, ids=lambda value: type(value).__name__)
def test_other_kinds_cross_as_the_plain_value_they_hold(value, plainly):
    assert crossed([value]) == [plainly]
    assert repr(crossed([value])) == repr([plainly])


@pytest.mark.parametrize(
    "function",
    [lambda z, t: [array.array("d", row) for row in (z / t).softmax(-1).tolist()],
     lambda z, t: Rows((z / t).softmax(-1).tolist()),
     lambda z, t: (z / t).softmax(-1).numpy().view(Own),
     lambda z, t: torch.nn.Parameter((z / t).softmax(-1)),
     lambda z, t: (row for row in z), lambda z, t: Pretends()],
)  # fmt: skip
def test_the_notebook_and_the_grader_say_the_same(function):
    """Of a result that is neither a list nor a tensor."""
    exercise = find("lab5a.soften")

    def soften(logits, temperature):
        found = function(logits.reshape(-1, logits.shape[-1]), temperature)
        return found[0] if logits.dim() == 1 and hasattr(found, "__len__") else found

    here, there = judge(exercise, soften), judged_there(exercise, soften)
    assert (there.state, there.points) == (here.state, here.points)


@pytest.mark.parametrize(
    "value", [Same(), Listed(), Pretends(), len, Same, 1j, b"a", iter([]), np.array([None]),
              torch.zeros(2, dtype=torch.complex64), torch.eye(2).to_sparse(),
              records.LabError("a")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_anything_else_arrives_as_its_name_alone(value):
    found = crossed([value])[0]
    assert type(found) is Foreign
    assert found.kind == type(value).__name__
    assert (found == [0.5], found == {}, found == 1.0, found == "a") == (False,) * 4
    assert found != crossed([value])[0]
    assert brief(found) == f"<{type(value).__name__}>"


def test_the_name_of_a_foreign_kind_is_one_word():
    """It stands in what the student and the instructor read."""
    for name in ("A\nexpected: 1\nForged", "", "\ud800", "a b"):
        assert brief(crossed([type("A", (), {})()])[0]) == "<A>"
        assert brief(decode({"foreign": name})) == "<object>"


def test_an_object_that_equals_everything_is_wrong():
    exercise = find("lab5a.soften")
    outcome = judge(exercise, bridged(lambda *_: Same()))
    assert (outcome.state, outcome.points) == ("wrong", 0)
    assert "yours:    <Same>" in str(outcome.wrong[0])


# -- gradients


def gradients(function: Callable[..., Any], *arguments: torch.Tensor, reduce: str = "sum") -> Any:
    """The value of a function, and the gradients that its sum (or mean) hands back."""
    leaves = [argument.detach().clone().requires_grad_() for argument in arguments]
    value = function(*leaves)
    getattr(value, reduce)().backward()
    return value.detach(), [leaf.grad for leaf in leaves]


def kd(student, teacher):
    """As the exercise's: the gradient runs into the student alone."""
    return find("lab5c.kd_loss").ours(student, teacher, torch.tensor([1]), 0.5, 2.0)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize(
    "function",
    [kd, lambda a, b: (a * b).sum(), lambda a, b: a.sum() ** 2, lambda a, b: (a * b.exp())[0],
     lambda a, b: a.sqrt().sum() * -1, lambda a, b: (a - a).abs().sqrt().sum() + b.log().sum(),
     lambda a, b: -0.0 * b.sum().half()],
)  # fmt: skip
def test_gradients_cross_with_the_value(function, reduce):
    arguments = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    value, found = gradients(function, *arguments, reduce=reduce)
    there, crossed = gradients(bridged(function), *arguments, reduce=reduce)
    assert same(there, value)
    if value.dim() == 0 or reduce == "sum":  # of a vector the gradient of the sum is known alone
        for a, b in zip(found, crossed, strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0))


def test_a_loss_without_a_gradient_has_none_behind_the_bridge():
    a = torch.ones(2, requires_grad=True)
    assert not bridged(lambda a: a.detach().sum())(a).requires_grad
    own = bridged(lambda a: torch.ones(1, requires_grad=True).sum())(a)
    own.backward()
    assert a.grad is None


# -- answers that no honest kernel sends


def answer(plain: Any) -> str:
    return repr(base64.b64encode(json.dumps(plain).encode()).decode())


def value(plain: Any) -> str:
    return answer({"value": plain, "gradients": None})


ONE = base64.b64encode(bytes(4)).decode()
DEEP = 10_000
UNREADABLE = {
    "nothing": "",
    "no base64": "'no!'",
    "not ASCII": "'é'",
    "half a character": "'\ud800'",
    "no JSON": repr(base64.b64encode(b"{").decode()),
    "no text": repr(base64.b64encode(b"\xff\xfe\x00").decode()),
    "no answer": answer([1]),
    "a number": answer(3),
    "no value": answer({}),
    "other keys": answer({"points": 3}),
    "two kinds": value({"tuple": [], "set": []}),
    "no kind": value({}),
    "a tuple of nothing": value({"tuple": 3}),
    "unhashable in a set": value({"set": [[1]]}),
    "unhashable as a key": value({"dict": [[[1], 2]]}),
    "a key without a value": value({"dict": [[1]]}),
    "a record of too little": value({"Trace": ["q"]}),
    "an unknown dtype": value({"tensor": ["complex64", [1], ONE, False]}),
    "a dtype that is a function": value({"tensor": ["save", [1], ONE, False]}),
    "a dtype that is a list": value({"tensor": [["float32"], [1], ONE, False]}),
    "another shape": value({"tensor": ["float32", [2], ONE, False]}),
    "a huge shape": value({"tensor": ["float32", [10**12], ONE, False]}),
    "a huge shape of nothing": value({"tensor": ["float32", [0, 10**30], "", False]}),
    "a negative shape": value({"tensor": ["float32", [-1], ONE, False]}),
    "a shape of truth": value({"tensor": ["float32", [True], ONE, False]}),
    "no shape": value({"tensor": ["float32", None, ONE, False]}),
    "half a number": value({"tensor": ["float32", [1], "AAA=", False]}),
    "data that is none": value({"tensor": ["float32", [1], 3, False]}),
    "integers that learn": value({"tensor": ["int32", [1], ONE, True]}),
    "a tensor of too little": value({"tensor": ["float32"]}),
    "an array of objects": value({"array": ["|O", [1], ONE]}),
    "an array of fields": value({"array": [[["a", "<f4"]], [1], ONE]}),
    "an array of texts": value({"array": ["<U1", [1], ONE]}),
    "an array of another shape": value({"array": ["<f4", [10**12], ONE]}),
    "nested too deep": repr(base64.b64encode(
        b'{"value": ' + b"[" * DEEP + b"]" * DEEP + b"}").decode()),
    "deep enough to be read": value(json.loads("[" * 900 + "]" * 900)),
    "nested too deep in kinds": repr(base64.b64encode(
        b'{"value": ' + b'{"tuple": [' * DEEP + b"]}" * DEEP + b"}").decode()),
    "gradients that are none": answer({"value": 1, "gradients": 5}),
    "gradients of a number": answer({"value": 1, "gradients": [encode(torch.ones(2))]}),
    "a gradient of another shape": answer(
        {"value": encode(torch.ones(())), "gradients": [encode(torch.ones(3))]}),
    "a gradient of another dtype": answer(
        {"value": encode(torch.ones(())), "gradients": [encode(torch.ones(2).int())]}),
    "a gradient that is an array": answer(
        {"value": encode(torch.ones(())), "gradients": [encode(np.ones(2, "f4"))]}),
    "a gradient that is a number": answer({"value": encode(torch.ones(())), "gradients": [1]}),
    "a number too long to read": repr(base64.b64encode(
        b'{"value": ' + b"9" * 5000 + b"}").decode()),
    "an error that is no text": answer({"raised": 3, "said": "a"}),
    "an error that says no text": answer({"raised": "ValueError", "said": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_one_kind_of_error(text):
    function = remote("f", lambda _: text)
    tensor = torch.ones(2, requires_grad=True)
    if text == UNREADABLE["deep enough to be read"]:
        with pytest.raises((UnreadableResultError, RecursionError)):
            repr(function(tensor)).index("no such text")
        return
    with pytest.raises(UnreadableResultError):
        function(tensor)


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_an_error_of_the_answer(text):
    for name in ("lab5a.soften", "lab5c.kd_loss"):
        outcome = judge(find(name), remote("f", lambda _: text))
        assert outcome.points == 0
        assert outcome.state in ("error", "wrong")


def test_an_answer_too_large_is_an_error_and_stays_where_it_is():
    with pytest.raises(ValueError, match="the result is too large"):
        bridged(lambda: "x" * 5_000_000)()


WORDS = ("tuple set dict tensor array Trace foreign value raised said gradients").split()
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(ANSWERS)
def test_no_answer_does_more_than_be_unreadable(plain):
    function = remote("f", lambda _: answer({"value": plain, "gradients": plain}))
    with contextlib.suppress(UnreadableResultError):
        function(torch.ones(2))


# -- errors


class LabError(Exception):
    """A student's own, with our name."""


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_):
        raise error

    return bridged(function)


UNICODE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [(KeyError("a'b"), KeyError, None), (KeyError(), KeyError, None), (KeyError(3), KeyError, None),
     (ValueError("a\nb"), ValueError, None), (IndexError("list index"), IndexError, None),
     (ZeroDivisionError("division by zero"), ZeroDivisionError, None),
     (OSError("none"), OSError, None), (UNICODE, Exception, None),
     (SystemExit(3), Exception, None), (KeyboardInterrupt(), Exception, None),
     (RecursionError("deep"), RecursionError, "maximum recursion depth exceeded"),
     (LabError("mine"), Exception, None), (Silent(), Exception, "…"),
     (ValueError("\ud800"), ValueError, None), (GeneratorExit(), Exception, None)],
    ids=repr,
)  # fmt: skip
def test_what_a_function_raises_is_raised_here_with_its_name_and_text(error, kind, text):
    with pytest.raises(kind) as found:
        raising(error)()
    assert found.type.__name__ == type(error).__name__
    assert str(found.value) == (str(error) if text is None else text)
    if kind is not Exception:
        assert found.type is kind
    assert not isinstance(found.value, records.LabError)


def test_an_error_of_an_odd_name_is_an_exception():
    for name in ("", "a b", "\ud800", "__import__", "print", "None", "BaseException", "x" * 99_999):
        with pytest.raises(Exception, match="said") as found:
            remote("f", lambda _, n=name: answer({"raised": n, "said": "said"}))()
        assert not isinstance(found.value, UnreadableResultError)


@pytest.mark.parametrize("error", [NotImplementedError(), NotImplementedError("write me")])
def test_a_function_that_is_not_written_is_not_attempted(error):
    assert judge(find("lab5a.soften"), raising(error)).state == "not attempted"


def test_what_stops_the_call_comes_through_as_it_is():
    def ask(_):
        raise TimeoutError("stopped after 10 seconds")

    outcome = judge(find("lab5a.soften"), remote("soften", ask))
    assert outcome.state == "wrong"
    assert "raised    TimeoutError: stopped after 10 seconds" in str(outcome.wrong[0])


def test_the_functions_name_is_in_the_call_that_is_shown():
    wrong = judge(find("lab5a.soften"), bridged(lambda *_: None, "soften")).wrong[0]
    assert str(wrong).startswith("soften(")
