"""The order of the modules, and what importing the package may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "distill_lab"

SQUAD = ("squad_scores", "squad_files", "squad", "squad_metric")
TEXT = ("prompts", "languages", "rules")
LOSS = ("loss", "fused_loss")
INSTALL = ("install", "install_cell")
MODELS = ("unsloth_backend", "backends", "models")
SAMPLING = ("kv_cache", "prefill", "pick", "sampling", "vllm_sampling", "sampler")
CACHE = ("cache_rows", "cache_file", "teacher_pass", "teacher_cache")
PLOTS = ("plots", "plots_5a", "plots_5bd", "plots_5c")
PAGE = ("templates", "page")
CHECKS = ("checks", "notebooks", "grading")
DOCTOR = ("memory", "timing", "doctor")
# A module may import those in earlier layers and those before it in its own; stages (layer 3) never
# import each other. Not all exist yet.
LAYERS = (
    ("safe_path", "json_text", "records", "json_files", "config", "budgets", "runs", "history"),
    ("processes", "paper", *SQUAD, "stats", "sources", *TEXT, *LOSS, *INSTALL, "shapes"),
    (*MODELS, "encoding", *SAMPLING, *CACHE, "trainer"),
    ("generate", "reject", "train", "evaluate"),
    (
        *PLOTS,
        *PAGE,
        "run_folder",
        "report",
        "runner",
        "ablation",
        *CHECKS,
        *DOCTOR,
        "export",
        "drive",
    ),
    ("arguments", "cli", "notebook", "__main__"),
)
STAGES = 3
PLACE = {name: (n, m) for n, layer in enumerate(LAYERS) for m, name in enumerate(layer)}
WITH_TORCH = {
    "loss",
    "fused_loss",
    "squad_metric",
}  # the only ones of the first two layers: `evaluate` loads transformers


def name_of(file: Path) -> str:
    """`distill_lab/grading/forms.py` is part of `grading`."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(
    file
    for file in PACKAGE.rglob("*.py")
    if file != PACKAGE / "__init__.py" and name_of(file) != "data"
)


def imported(file: Path) -> set[str]:
    """Full names of all that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write `from distill_lab...`, not a relative import"
            module = node.module or ""
            is_package = module == "distill_lab"
            names |= {f"{module}.{a.name}" for a in node.names} if is_package else {module}
    return names


def own(file: Path) -> set[str]:
    """Which modules of the package a file imports."""
    parts = [name.split(".") for name in imported(file)]
    used = {p[1] for p in parts if p[0] == "distill_lab" and len(p) > 1} - {"__version__"}
    return used - {name_of(file)}


def may_import(importer: str, used: str) -> bool:
    here, there = PLACE[importer], PLACE[used]
    return there[0] < here[0] or (there[0] == here[0] != STAGES and there[1] < here[1])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_what_comes_before_it(file):
    name = name_of(file)
    new = sorted({name, *own(file)} - set(PLACE))
    assert not new, (
        f"new here: {', '.join(new)}. Give it a place in LAYERS (tests/test_architecture.py)"
    )
    wrong = sorted(used for used in own(file) if not may_import(name, used))
    assert not wrong, f"{name} (layer {PLACE[name][0]}) may not import {', '.join(wrong)}"


@pytest.mark.parametrize("name", LAYERS[0])
def test_the_first_layer_needs_only_the_standard_library(name):
    roots = {used.split(".")[0] for used in imported(PACKAGE / f"{name}.py")}
    assert roots <= sys.stdlib_module_names | {"distill_lab"}


def test_the_rule_itself():
    assert may_import("train", "loss")
    assert may_import("cli", "train")
    assert may_import("config", "records")
    assert not may_import("records", "config")
    assert not may_import("train", "generate")
    assert not may_import("generate", "train")
    assert not may_import("loss", "models")


def test_importing_the_package_and_its_first_layers_loads_neither_torch_nor_transformers():
    light = [name for name in (*LAYERS[0], *LAYERS[1]) if name not in WITH_TORCH]
    there = [name for name in light if (PACKAGE / f"{name}.py").exists()]
    modules = ["distill_lab", *(f"distill_lab.{name}" for name in there)]
    code = (
        f"import sys, {', '.join(modules)}\nprint(*{{'torch', 'transformers'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.split() == []
