"""What a mended line may say: sums of tensors, and of torch, F and math.

The line is read here, where marks are given, and run in the student's kernel. From there another
word would lead to the right loss, which lies in this package (`torch.sys`, say, or a frame).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from types import ModuleType

import torch
import torch.nn.functional as F

_OPERATIONS = vars(torch._C)["_VariableFunctions"]
_OF_TORCH = {*dir(_OPERATIONS), *"e finfo iinfo inf nan newaxis pi".split()}
_OF_TORCH |= {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_OF_F = {name for name in dir(F) if getattr(getattr(F, name), "__module__", "") == F.__name__}
_OF_F |= {name for name, value in vars(F).items() if type(value) is type(F.conv1d)}
_FILES = {"from_file", "share_memory_"}
_MODULES = {n for m in (torch, F) for n, value in vars(m).items() if isinstance(value, ModuleType)}
_NAMES = {*dir(torch.Tensor), *_OF_TORCH, *_OF_F, *dir(math), "min", "max"} - _MODULES - _FILES
WORDS = {name for name in _NAMES if not name.startswith("_")}


def another(source: str) -> str | None:
    """The first part of a function that says more than sums; None where there is none. SyntaxError
    where it is no Python."""
    try:
        return next(_others(ast.parse(source)), None)
    except (ValueError, MemoryError, RecursionError) as error:  # a null byte, too many brackets
        raise SyntaxError(str(error)) from None


def _others(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.MatchClass)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Name) and node.id.startswith("__"):
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr not in WORDS:
            yield ast.unparse(node)
