"""Which backend is taken, and that Unsloth is imported before transformers or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from distill_lab.models import unsloth_backend

# In the place of Unsloth: what is tested is when it is imported, and what is said where it fails.
FAKES = {
    "works": "import sys\nassert 'transformers' not in sys.modules\nprint('a banner')\n",
    "broken": "raise NotImplementedError('Unsloth cannot find any torch accelerator')\n",
}


def python(code: str, fake: str, folder: Path, gpu: bool = False) -> str:
    """What a new process prints, where a package `unsloth` can be imported; `gpu`: as if there
    were one.
    """
    for name in ("unsloth", "unsloth_zoo"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(FAKES[fake] if name == "unsloth" else "")
    code = (
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
        "import torch\n"
        f"torch.cuda.is_available = lambda: {gpu}\n"
        "from distill_lab.models.backend import _backend_name, prepare\n"
        "from distill_lab.run.settings import RuntimeSettings\n"
        "from distill_lab.run.records import LabError\n"
        "def said(asked):\n"
        "    try: print(*_backend_name(asked), sep=' | ')\n"
        "    except LabError as error: print(error)\n" + code
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout


def test_with_a_gpu_auto_takes_unsloth_and_imports_it_first(tmp_path):
    printed = python(
        "prepare(RuntimeSettings())\nprint('unsloth' in sys.modules)\n"
        "import distill_lab.models.loading\nsaid('auto')\nsaid('transformers')",
        "works", tmp_path, gpu=True,
    )  # fmt: skip
    assert printed.splitlines() == [  # and not its banner
        "True",
        "unsloth | unsloth, as it and a CUDA GPU are there",
        "transformers | transformers was asked for",
    ]


def test_without_a_gpu_auto_does_not_import_it(tmp_path):
    printed = python("said('auto')\nprint('unsloth' in sys.modules)", "works", tmp_path)
    assert printed.splitlines() == [
        "transformers | transformers, as Unsloth is taken with a CUDA GPU alone",
        "False",
    ]


def test_after_transformers_it_is_too_late_and_both_say_so(tmp_path):
    """As in a notebook that calls the package's functions before `prepare`."""
    printed = python(
        "import distill_lab.models.loading\nsaid('auto')\nsaid('unsloth')",
        "works",
        tmp_path,
        gpu=True,
    )
    auto, asked = printed.splitlines()
    assert auto.startswith("transformers | transformers, as transformers was imported before")
    assert asked.startswith("--runtime.backend unsloth: expected Unsloth, but transformers was")
    assert "restart the kernel" in asked


def test_one_that_cannot_be_imported_is_said_with_its_reason(tmp_path):
    printed = python("said('auto')\nsaid('unsloth')", "broken", tmp_path, gpu=True)
    reason = "Unsloth cannot be imported here (Unsloth cannot find any torch accelerator)"
    assert printed.splitlines() == [
        f"transformers | transformers, as {reason}",
        f"--runtime.backend unsloth: expected Unsloth, but {reason}.",
    ]


@pytest.mark.parametrize(("asked", "index"), [("cpu", "cpu"), ("cuda:1", "cuda:1")])
def test_a_device_that_is_named_is_left_as_it_is(asked, index):
    assert unsloth_backend._with_index(asked) == index


def test_cuda_is_the_one_of_this_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert unsloth_backend._with_index("cuda") == "cuda:3"
