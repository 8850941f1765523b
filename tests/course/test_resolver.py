"""What a resolver makes of `.[gpu]`, for each Python: `make check-install`. Metadata only, no wheel
of torch or CUDA is fetched; uv comes from the index into an environment that is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from distill_lab.course.colab_install import pins

ROOT = Path(__file__).parent.parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NEIGHBOURS = ("transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")
SHOWN = ("unsloth", "unsloth-zoo", "torch", "torchvision", "bitsandbytes", "xformers", *NEIGHBOURS)

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def uv(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uv")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "uv"]
    subprocess.run(install, check=True)
    return folder / "bin" / "uv"


def compile_(uv: Path, python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    platform = ["--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu"]
    quiet = ["-q", "--no-annotate", "--no-header", "--no-config"]
    command = [uv, "pip", "compile", *quiet, *platform, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def resolved(uv: Path, python: str, *arguments: str) -> dict[str, str]:
    """The set that `.[gpu]` resolves to: version by name."""
    done = compile_(uv, python, "--extra", "gpu", "pyproject.toml", *arguments)
    assert done.returncode == 0, done.stderr
    lines = (line.partition(";")[0].strip() for line in done.stdout.splitlines())
    return {canonicalize_name(name): v for name, _, v in (line.partition("==") for line in lines)}


def show(title: str, found: dict[str, str]) -> None:
    print(f"\n{title}:", ", ".join(f"{name} {found[name]}" for name in SHOWN), file=sys.stderr)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_ranges_alone_resolve_to_a_new_unsloth_and_the_pins_neighbourhood(uv, python):
    found = resolved(uv, python)
    show(f"Python {python}, ranges", found)
    for name in ("unsloth", "unsloth-zoo"):
        assert Version(found[name]) >= Version("2026.10.7")
    for name in NEIGHBOURS:
        near, pin = Version(found[name]), Version(pins()[name])
        assert near.major == pin.major
        assert abs(near.minor - pin.minor) <= 1, f"{name}: {near}, pinned {pin}"
    assert Version("2.9") <= Version(found["torch"]) < Version("2.15")


@pytest.mark.parametrize("python", PYTHONS)
def test_with_the_constraints_every_pin_holds(uv, python):
    found = resolved(uv, python, "-c", "constraints.txt")
    show(f"Python {python}, pins", found)
    # what only torch asks for has no pin here; 3.10 has older ones, as the markers say
    assert found["unsloth"] == pins()["unsloth"]
    other = {name for name in found if name in pins() and found[name] != pins()[name]}
    assert not other or python == "3.10", other
    assert not other & {*NEIGHBOURS} - {"trl"}


@pytest.mark.parametrize("line", ["unsloth", "unsloth_zoo", "transformers", "trl", "bitsandbytes"])
def test_nothing_that_the_gpu_extra_names_was_released_in_2025(uv, line, tmp_path):
    """With an index as it was at the end of 2025 none of them resolves."""
    from tests.test_pins import project

    extra = project()["project"]["optional-dependencies"]["gpu"]
    wanted = next(one for one in extra if one.startswith(f"{line}>"))
    (tmp_path / "wanted.in").write_text(wanted + "\n", encoding="utf-8")
    only = [str(tmp_path / "wanted.in"), "--no-deps", "--exclude-newer", "2026-01-01"]
    assert compile_(uv, "3.12", *only).returncode == 1
    (tmp_path / "wanted.in").write_text(line + "\n", encoding="utf-8")  # as the floor is the reason
    assert compile_(uv, "3.12", *only).returncode == 0
