"""What a check takes carries its notebook to the end: every right answer in every form that is
taken (NumPy, lists, float64, numbers of no dimension), in the cells that go on with it."""

from __future__ import annotations

import array
import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_grading_values import judged_there
from wrong_answers import WRONG as WRONG_IN_LAB5
from wrong_answers_lab5e import WRONG as WRONG_IN_LAB5E
from wrong_answers_lab6 import WRONG as WRONG_IN_LAB6
from wrong_answers_lab7 import WRONG as WRONG_IN_LAB7

from distill_lab.course.builder import source
from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.run import settings

pytestmark = pytest.mark.grading

WRONG = [*WRONG_IN_LAB5, *WRONG_IN_LAB5E, *WRONG_IN_LAB6, *WRONG_IN_LAB7]
SOURCES = {
    book.name.partition("_")[0].lower(): book
    for book in source.read_all(Path(__file__).parent.parent.parent.parent / "lab_notebooks")
    if book.name != "Lab5_Distillation_Unsloth_SQuAD"
}


def or_none(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else form(value)


def double_tensor(value: Any) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


NUMBERS = {
    "float64": np.float64,
    "float32": np.float32,
    "array of no dimension": np.array,
    "tensor of no dimension": torch.tensor,
    "float64 tensor": double_tensor,
}
TEXTS = {"NumPy's": np.str_, "array of no dimension": np.array}
ROWS = {
    "tuple": tuple,
    "array": np.array,
    "float64": lambda value: np.array(value, np.float64),
    "tensor": torch.tensor,
    "numbers of NumPy": lambda value: list(np.array(value)),
    "tensors of no dimension": lambda value: list(torch.tensor(value)),
}
MASKS = {
    "NumPy": lambda mask: mask.numpy(),
    "lists": torch.Tensor.tolist,
    "whole numbers": torch.Tensor.int,
    "float64 of NumPy": lambda mask: mask.double().numpy(),
}
TENSORS = {
    "NumPy": lambda values: values.numpy(),
    "lists": torch.Tensor.tolist,
    "float64": torch.Tensor.double,
    "float64 of NumPy": lambda values: values.double().numpy(),
    "tuple of tensors": tuple,
}
FORMS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "lab5a.extract_answer": TEXTS,
    "lab5a.soften": {
        "NumPy": lambda z: z.numpy(),
        "float64": torch.Tensor.double,
        "float64 of NumPy": lambda z: z.double().numpy(),
        "lists": torch.Tensor.tolist,
        "tuple of tensors": tuple,
        "lists of arrays": lambda z: list(z.numpy()),
        "with a gradient": lambda z: z.clone().requires_grad_(),
    },
    "lab5a.pass_at_k": NUMBERS,
    "lab5b.mixed_language": {
        "NumPy's": np.bool_,
        "array of no dimension": np.array,
        "tensor of no dimension": torch.tensor,
    },
    "lab5b.majority_answer": TEXTS,
    "lab5b.keep_shortest": {
        "tuple": tuple,
        "values of a dict": lambda kept: {trace.question_id: trace for trace in kept}.values(),
    },
    "lab5c.completion_labels": {**ROWS, "array.array": lambda value: array.array("l", value)},
    "lab5c.kd_loss": {"float64": torch.Tensor.double},
    "lab5c.mend": {"list": list},
    "lab5d.normalize": TEXTS,
    "lab5d.f1": NUMBERS,
    "lab5d.bootstrap_interval": {**ROWS, "array.array": lambda value: array.array("d", value)},
    "lab5d.gap_closed": NUMBERS,
    "lab5e.reward": {**NUMBERS, "truth": bool},
    "lab5e.group_advantages": {
        "NumPy": lambda z: z.numpy(),
        "float64": torch.Tensor.double,
        "lists": torch.Tensor.tolist,
        "tuple of tensors": tuple,
    },
    "lab5e.policy_loss": {"float64": torch.Tensor.double},
    "lab5e.reverse_kl": {"float64": torch.Tensor.double},
    "lab5e.budget": {**NUMBERS, "whole number": int},
    "lab6.magnitude_mask": MASKS,
    "lab6.wanda_mask": MASKS,
    "lab6.nm_mask": MASKS,
    "lab6.count_sparsity": {"list": list, "array": np.array},
    "lab6.block_influence": ROWS,
    "lab6.drop_blocks": {"changed in place": lambda model: None},
    "lab6.masked_step": {},
    "lab6.predict_decode_speed": NUMBERS,
    "lab7.scale_and_zero_point": {
        "list of two": list,
        "NumPy": lambda pair: tuple(part.double().numpy() for part in pair),
        "lists": lambda pair: [part.tolist() for part in pair],
        "whole zero points": lambda pair: (pair[0], pair[1].long()),
    },
    "lab7.quantize": {
        **TENSORS,
        "64 bits": torch.Tensor.long,
        "16 bits": lambda codes: codes.numpy().astype(np.int16),
    },
    "lab7.dequantize": {**TENSORS, "with a gradient": lambda w: w.clone().requires_grad_()},
    "lab7.size_bytes": NUMBERS,
    "lab7.clip_search": TENSORS,
    "lab7.fake_quant": {"another view": lambda weight: weight.view(weight.shape)},
    "lab7.q8_0_block": {
        **TENSORS,
        "whole numbers": torch.Tensor.int,
        "a row of one": lambda block: block[None],
    },
    "lab7.predict_size": NUMBERS,
}
CASES: Any = [
    pytest.param(name, form, id=f"{name}: {how}")
    for name, forms in FORMS.items()
    for how, form in {"as it is": lambda value: value, **forms}.items()
]


def in_form(name: str, form: Callable[[Any], Any]) -> Callable[..., Any]:
    ours, give = find(name).ours, or_none(form)
    return lambda *arguments: give(ours(*arguments))


@pytest.mark.parametrize(("name", "form"), CASES)
def test_another_form_of_a_right_answer_is_right(name, form):
    outcome = judge(find(name), in_form(name, form))
    assert outcome.state == "right", report(find(name), outcome)


REFUSED = [
    ("lab5a.extract_answer", lambda text: [text], "A text or None is asked for"),
    ("lab5a.soften", lambda z: {"chances": z}, "A tensor of numbers is asked for"),
    ("lab5a.pass_at_k", lambda x: [x], "One number is asked for"),
    ("lab5b.mixed_language", int, "True or False is asked for"),
    ("lab5b.keep_shortest", iter, "A list of traces is asked for"),
    ("lab5b.keep_shortest", lambda kept: np.array(kept, object), "A list of traces is asked for"),
    ("lab5c.completion_labels", str, "A list of whole numbers is asked for"),
    ("lab5c.kd_loss", lambda loss: loss.item(), "Give the tensor"),
    ("lab5c.kd_loss", lambda loss: loss.detach().numpy(), "Give the tensor"),
    ("lab5d.f1", str, "One number is asked for"),
    ("lab5d.bootstrap_interval", lambda ends: ends[0], "Two numbers are asked for"),
    ("lab5d.gap_closed", lambda x: (x,), "One number or None is asked for"),
    ("lab5e.reward", str, "One number is asked for"),
    ("lab5e.group_advantages", lambda z: {"a": z}, "A tensor of numbers is asked for"),
    ("lab5e.policy_loss", lambda loss: loss.item(), "Give the tensor"),
    ("lab5e.reverse_kl", lambda loss: loss.detach().numpy(), "Give the tensor"),
    ("lab5e.budget", lambda x: [x], "One number is asked for"),
    ("lab6.magnitude_mask", torch.nonzero, "A mask is asked for"),
    ("lab6.nm_mask", str, "A mask is asked for"),
    ("lab6.count_sparsity", lambda three: three[:2], "Three numbers are asked for"),
    ("lab6.block_influence", str, "A list of numbers is asked for"),
    ("lab6.predict_decode_speed", lambda x: [x], "One number is asked for"),
    ("lab7.scale_and_zero_point", lambda pair: pair[0], "Two tensors are asked for"),
    ("lab7.quantize", str, "A tensor of whole numbers is asked for"),
    ("lab7.dequantize", lambda weights: {"a": weights}, "A tensor of numbers is asked for"),
    ("lab7.size_bytes", lambda n: n + 0.5, "A whole number of bytes is asked for"),
    ("lab7.clip_search", str, "A tensor of numbers is asked for"),
    ("lab7.fake_quant", lambda weight: weight.detach().numpy(), "hands a gradient back"),
    ("lab7.q8_0_block", lambda block: block.numpy().tobytes(), "from 0 to 255 are asked for"),
    ("lab7.predict_size", lambda x: [x], "A whole number of bytes is asked for"),
]


@pytest.mark.parametrize(("name", "form", "says"), REFUSED)
def test_a_form_that_is_refused_is_told_which_is_asked_for(name, form, says):
    outcome = judge(find(name), in_form(name, form))
    assert outcome.state == "wrong"
    assert says in report(find(name), outcome)


# -- where it is graded


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_form_that_is_taken_in_the_notebook_is_taken_where_it_is_graded(name, form):
    exercise = find(name)
    outcome = judged_there(exercise, in_form(name, form), 1)
    assert outcome.state == "right", report(exercise, outcome)


def costly(name: str) -> list[Any]:
    """The bootstrap is asked for some dozens of intervals."""
    return [pytest.mark.slow] if name == "lab5d.bootstrap_interval" else []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "function"),
    [pytest.param(e, f, id=f"{e}: {slip}", marks=costly(e)) for e, slip, f, _ in WRONG],
)
def test_a_wrong_answer_gets_the_same_points_where_it_is_graded(name, function):
    exercise = find(name)
    here, there = judge(exercise, function), judged_there(exercise, function)
    assert [bool(wrong) for wrong in here.wrong] == [bool(wrong) for wrong in there.wrong]
    assert there.state == here.state


# -- the notebooks


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    """`notebooks("lab5a")`: its names after all its cells ran, on a run of few questions."""
    done: dict[str, dict[str, Any]] = {}
    tiny = settings.PROFILES["tiny"]
    few = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, n_train=60, n_eval=24),
        train=dataclasses.replace(tiny.train, epochs=1),
    )

    def ran(part: str) -> dict[str, Any]:
        if part not in done:
            done[part] = {}
            for cell in SOURCES[part].cells:
                run(cell, done[part])
        return done[part]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PROFILES, "tiny", few)
        patch.setenv("DISTILL_LAB_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("MPLBACKEND", "Agg")
        yield ran


def run(cell: source.Cell, names: dict[str, Any]) -> None:
    if cell.is_code and cell.role != "install":
        code = cell.solved if cell.role == "exercise" else cell.text
        exec(compile(code.replace("begin()", 'begin("tiny")'), cell.id, "exec"), names)


def names_in(cell: source.Cell, kind: type[ast.expr_context]) -> set[str]:
    nodes = ast.walk(ast.parse(cell.text)) if cell.is_code else ()
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, kind)}


def cells_that_use(name: str) -> list[source.Cell]:
    """The cells behind an exercise that go on with its function, or with what came of it."""
    part, _, function = name.partition(".")
    book = SOURCES[part]
    [own] = [c for c in book.cells if c.role == "exercise" and book.exercise_of(c) == name]
    touched, found = {function}, []
    for cell in book.cells[book.cells.index(own) + 1 :]:
        stored = names_in(cell, ast.Store)
        loaded = names_in(cell, ast.Load) - (stored - {function})
        if cell.role != "exercise" and touched & loaded:
            found.append(cell)
            touched |= stored
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_form_that_is_taken_carries_the_notebook_to_its_end(name, form, notebooks, capsys):
    part, _, function = name.partition(".")
    names = {**notebooks(part), function: in_form(name, form)}
    cells = cells_that_use(name)
    assert [cell.checks for cell in cells if cell.role == "check"] == [name]
    for cell in cells:
        run(cell, names)
    said = capsys.readouterr().out
    assert f"{function}: right" in said
    assert "the package's own is used" not in said
