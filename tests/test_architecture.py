"""The order of the folders, read from the folders themselves, and what importing may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import distill_lab

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "distill_lab"
SOURCES = ROOT / "lab_notebooks" / "source"
# what notebooks import from, beside the parts that `distill_lab` itself names
FACES = {"checks", "install", "notebook", "squad_scores"}
STAGES = ("generate", "reject", "train", "evaluate")
# what a notebook, a help text or the grader's watcher loads before it needs a model
LIGHT = ("run", "tasks", "reporting.stats", "reporting.paper", "course.install_cell")
WITH_TORCH = {"tasks.squad.evaluate_metric"}  # `evaluate` loads transformers


def module_name(file: Path) -> str:
    """`losses.fused` of `distill_lab/losses/fused.py`; a folder's own name of its `__init__.py`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name: file for file in sorted(PACKAGE.rglob("*.py")) if (name := module_name(file))}


def imports(file: Path) -> set[str]:
    """Which modules of the package a file imports, inside functions too, by `importlib` too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write `from distill_lab...`, not a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    ours = {name.removeprefix("distill_lab.") for name in names if name.startswith("distill_lab.")}
    return {found for name in ours if (found := _module_of(name))} - {module_name(file)}


def _module_of(name: str) -> str:
    """The module in which a dotted name lies: `losses.fused` of `losses.fused.kd_loss`."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


IMPORTS = {name: imports(file) for name, file in MODULES.items()}


def folder(name: str) -> str:
    return name.partition(".")[0]


def folders() -> dict[str, set[str]]:
    """What each folder imports of the others."""
    graph: dict[str, set[str]] = {folder(name): set() for name in MODULES}
    for name, used in IMPORTS.items():
        graph[folder(name)] |= {folder(one) for one in used} - {folder(name)}
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The names round a cycle; [] where all imports go down."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def test_imports_between_folders_only_go_down():
    assert cycle(folders()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(IMPORTS) == []


def test_a_circle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_no_folder_holds_more_than_twelve_modules():
    held: dict[Path, int] = {}
    for file in MODULES.values():
        held[file.parent] = held.get(file.parent, 0) + (file.name != "__init__.py")
    assert {place.name: n for place, n in held.items() if n > 12} == {}


def test_stages_meet_through_records_and_never_import_each_other():
    for stage in STAGES:
        others = {f"pipeline.{other}" for other in STAGES if other != stage}
        assert IMPORTS[f"pipeline.{stage}"].isdisjoint(others), stage


@pytest.mark.parametrize("upper", ["pipeline", "course", "cli", "planning"])
def test_the_engine_knows_nothing_of_what_stands_on_it(upper):
    for lower in ("run", "tasks", "losses", "models", "sampling", "training", "reporting"):
        assert upper not in folders()[lower]


def test_notebooks_import_from_five_public_modules_and_nothing_else_does():
    text = "".join(file.read_text("utf-8") for file in SOURCES.glob("*.py"))
    used = re.findall(r"^(?:from|import) distill_lab\.?(\S*)", text, re.MULTILINE)
    assert {*used} == FACES - {"install"} | {""}
    assert [name for name, used in IMPORTS.items() if used & FACES] == []


@pytest.mark.parametrize("name", distill_lab._MODULE_OF)
def test_what_the_package_names_is_there(name):
    assert getattr(distill_lab, name)


def test_importing_what_is_light_loads_neither_torch_nor_transformers():
    light = [
        f"distill_lab.{name}"
        for name in MODULES
        if name.startswith(LIGHT) and name not in WITH_TORCH
    ]
    code = f"import sys, distill_lab, {', '.join(light)}\n"
    code += "print(*{'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
