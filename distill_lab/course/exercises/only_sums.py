"""A student's line that runs where marks are given: it may compute with tensors, and do nothing
else. What is not listed here is refused before anything runs.

An honest line needs little: names that are there already, sums, slices, and calls of F, torch, math
and of tensors. A line cannot define a function, open a file or reach another object's inside.
Long loops and large tensors are kept small, not away: who grades sets limits of time and memory.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Iterator
from typing import Any

from distill_lab.course.exercises.exercise import WrongError

MOST_CHARACTERS = 400  # more than there were
MOST_STATEMENTS = 8  # more than there were
_LARGEST = 1_000_000  # of a number, and of all whole numbers of a line multiplied: sizes of tensors
_LARGEST_POWER = 8
_MOST_ROUNDS = 1_000

_MODULES = {"torch", "F", "math"}
_BUILTINS = (len, zip, sum, min, max, float, int, abs, enumerate, list, tuple)
_FIXED = {*_MODULES, "IGNORED", "range", *(one.__name__ for one in _BUILTINS)}
# of torch, and of tensors
_WORDS = frozenset(
    """
    abs add all allclose amax amin any arange argmax argmin argsort as_tensor bfloat16 bitwise_and
    bitwise_not bitwise_or bmm bool broadcast_tensors broadcast_to cat ceil chunk clamp clamp_max
    clamp_min clip clone column_stack concat concatenate contiguous count_nonzero cpu cumsum detach
    device diff dim div divide dot double dtype e einsum eq equal exp expand expand_as expm1 eye
    flatten flip float float16 float32 float64 float_power floor floor_divide full full_like gather
    ge greater greater_equal gt half hstack index_add index_fill index_select indices inf inner int
    int32 int64 is_floating_point isclose isfinite isin isinf isnan item kl_div le lerp less
    less_equal linspace log log10 log1p log2 log_softmax logaddexp logical_and logical_not
    logical_or logical_xor logsumexp long lt mT masked_fill masked_scatter masked_select matmul max
    maximum mean min minimum mm moveaxis movedim mul multiply mv nan nan_to_num nanmean nansum
    narrow ndim ne neg negative new_full new_ones new_tensor new_zeros newaxis nonzero norm
    not_equal numel ones ones_like outer permute pi positive pow prod ravel reciprocal relu
    remainder repeat repeat_interleave reshape roll rsqrt scatter scatter_add select shape sigmoid
    sign size softmax sort split sqrt square squeeze stack std sub subtract sum swapaxes swapdims t
    take take_along_dim tanh tensor tensor_split tensordot tile to tolist topk transpose tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze values var view view_as vstack where
    xlogy zeros zeros_like T
    add_ clamp_ copy_ div_ exp_ fill_ log_ masked_fill_ mul_ neg_ sub_ zero_
    """.split()
)
_OF_F = frozenset(
    """
    binary_cross_entropy cross_entropy embedding gelu kl_div l1_loss linear log_softmax logsigmoid
    mse_loss nll_loss normalize one_hot pad relu sigmoid smooth_l1_loss softmax softmin softplus
    tanh
    """.split()
)
_OF_MATH = frozenset(dir(math)) - {"comb", "factorial", "perm"}  # whole numbers without an end
_STATEMENTS = (ast.Assign, ast.AugAssign, ast.Return, ast.Expr)
_PARTS = (
    *(ast.Attribute, ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Starred, ast.Name),
    *(ast.Call, ast.keyword, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare),
    *(ast.IfExp, ast.GeneratorExp, ast.ListComp, ast.comprehension),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)
_NOT_THESE = (ast.Del, ast.LShift)  # of the families above


def builtins() -> dict[str, Any]:
    """The few that a line may call. torch itself imports at times, through what it finds here; a
    line cannot name that."""
    few = {one.__name__: one for one in _BUILTINS}
    return {"range": _range, "__import__": __import__, **few}


def _range(*bounds: int) -> range:
    rounds = range(*bounds)
    if len(rounds) > _MOST_ROUNDS:
        raise ValueError(f"expected at most {_MOST_ROUNDS} rounds, found {len(rounds)}")
    return rounds


def checked(function: str, as_it_was: str) -> ast.Module:
    """A function, given as text, some lines of which a student wrote; `as_it_was` is the text
    before. SyntaxError where it is no Python; WrongError where it is more than sums."""
    if len(function) > len(as_it_was) + MOST_CHARACTERS:
        raise WrongError(f"expected at most {MOST_CHARACTERS} characters, found more")
    try:
        tree, before = ast.parse(function), ast.parse(as_it_was)
        found = next(_findings(tree, before), None)
    except SyntaxError:
        raise
    except (ValueError, MemoryError, RecursionError) as error:  # a null byte, too many brackets
        raise SyntaxError(str(error)) from None
    if found is not None:
        raise WrongError(f"expected sums of tensors and of F, torch and math, found {found}")
    return tree


def _findings(tree: ast.Module, before: ast.Module) -> Iterator[str]:
    """What is not allowed, each as a few words."""
    if [_head(node) for node in tree.body] != [_head(node) for node in before.body]:
        yield "another first line"
        return
    body, lines = (one.body[0].body for one in (tree, before))  # type: ignore[attr-defined]
    if len(body) > MOST_STATEMENTS + len(lines):
        yield f"more than {MOST_STATEMENTS} statements"
    yield from (_shown(node) for node in body if not isinstance(node, _STATEMENTS))
    known = _names(before, ast.Load) | _names(tree, ast.Store) | _FIXED
    known |= {one.arg for one in ast.walk(before) if isinstance(one, ast.arg)}
    inside = [node for one in body for node in ast.walk(one) if node is not one]
    fine = _fine_in_their_place(tree)
    for node in (*body, *inside):
        if node in inside and not _is_part(node):
            yield _shown(node)
        elif isinstance(node, ast.Name):
            is_known = node in fine if node.id in _MODULES else node.id in known
            if not is_known or (isinstance(node.ctx, ast.Store) and node.id in _FIXED):
                yield _shown(node)
        elif node not in fine and not _is_right(node):
            yield _shown(node)
    if _product(tree) > _LARGEST * _product(before):
        yield "numbers this large"


def _fine_in_their_place(tree: ast.AST) -> set[ast.AST]:
    """The modules before a dot (never alone: `x = torch` hides what comes next), and short texts
    that are arguments: reduction="none"."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.value} if isinstance(node.value.ctx, ast.Load) else set()
        if isinstance(node, ast.Call):
            given = [*node.args, *(word.value for word in node.keywords)]
            texts = [one for one in given if isinstance(one, ast.Constant)]
            found |= {t for t in texts if isinstance(t.value, str) and len(t.value) <= 40}
    return found


def _head(node: ast.AST) -> str:
    """A function's first line; of anything else, all of it."""
    head = copy.copy(node)
    if isinstance(head, ast.FunctionDef):
        head.body = []
    return ast.dump(head)


def _names(tree: ast.AST, how: type[ast.expr_context]) -> set[str]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {n.id for n in nodes if isinstance(n.ctx, how) and not n.id.startswith("__")}


def _is_part(node: ast.AST) -> bool:
    return isinstance(node, _PARTS) and not isinstance(node, _NOT_THESE)


def _is_right(node: ast.AST) -> bool:
    """Of parts that are allowed as such: whether this one is."""
    if isinstance(node, ast.Attribute):
        of = node.value.id if isinstance(node.value, ast.Name) else ""
        known = {"F": _OF_F, "math": _OF_MATH}.get(of, _WORDS)
        return node.attr in known and isinstance(node.ctx, ast.Load) and node.attr[0] != "_"
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int):
            return abs(node.value) <= _LARGEST
        return isinstance(node.value, float) or node.value in (None, ...)
    if isinstance(node, ast.keyword):
        return node.arg is not None and not node.arg.startswith("_")
    if isinstance(node, ast.comprehension):
        return not node.is_async
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Pow):
        return isinstance(node, ast.BinOp) and _is_small_power(node)
    return True


def _is_small_power(node: ast.BinOp) -> bool:
    """x**2, x**-0.5, 2**temperature, and no tower of powers."""
    if any(isinstance(part, ast.Pow) for part in (*ast.walk(node.left), *ast.walk(node.right))):
        return False
    power = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if isinstance(power, ast.Constant):
        return isinstance(power.value, (int, float)) and abs(power.value) <= _LARGEST_POWER
    return isinstance(power, ast.Name) and power.id == "temperature"


def _product(tree: ast.AST) -> int:
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return math.prod(abs(v) for v in values if isinstance(v, int) and abs(v) > 1)


def _shown(node: ast.AST) -> str:
    """The part as it is written."""
    if isinstance(node, (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)):
        return f"the operator {type(node).__name__}"
    text = ast.unparse(node).strip().splitlines()[0]
    return f"`{text[:80]}`"
