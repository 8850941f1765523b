"""All pins stand in constraints.txt. With it, and with Unsloth's own caps, agree pyproject.toml,
environment.yml, the Makefile, the install cell and the other environments' requirements.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from distill_lab.course import colab_install, install_cell
from distill_lab.run.records import LabError

ROOT = Path(__file__).parent.parent
COLAB_PYTHON = "3.12"

# What unsloth and unsloth_zoo 2026.10.9 say of the packages that we pin (their wheels' METADATA).
UNSLOTH_SAYS = (
    "unsloth-zoo>=2026.10.9",
    "torch<2.15.0,>=2.4.0",
    "torchao>=0.13.0",
    "transformers!=4.57.0,!=5.0.0,!=5.1.0,<=5.17.0,>=4.52.4",
    "trl!=0.19.0,<=1.15.0,>=0.18.2",
    "datasets!=4.0.*,!=4.1.0,!=4.4.*,!=4.5.0,<5.0.0,>=3.4.1",
    "peft!=0.11.0,>=0.18.0",
    "accelerate>=0.34.1",
    "bitsandbytes!=0.46.0,!=0.48.0,>=0.45.5",
    "huggingface-hub>=0.34.0",
    "sentencepiece>=0.2.0",
    "typer>=0.19.0",
    "certifi>=2026.10.19",
    "structlog>=24.1.0",
    "json5>=0.9.25",
    "wheel>=0.42.0",
    "xformers>=0.0.27.post2",
)
# The first release above Unsloth's cap, as of November 2026: the `gpu` extra admits none of them.
ABOVE_THE_CAP = {"transformers": "5.18.0", "trl": "1.15.1", "torch": "2.15.0", "datasets": "5.0.0"}
# The last release of 2025 of what the `gpu` extra names and of what it needs: none is admitted.
LAST_OF_2025 = {
    "unsloth": "2025.12.10",
    "unsloth-zoo": "2025.12.8",
    "bitsandbytes": "0.49.0",
    "trl": "0.26.2",
    "transformers": "5.0.0rc1",
    "peft": "0.18.0",
    "accelerate": "1.12.0",
    "datasets": "4.4.2",
}


def project() -> dict:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, the extras' requirements behind the package's own."""
    part = project()["project"]
    lines = [*part["dependencies"]]
    for extra in extras:
        lines += part["optional-dependencies"][extra]
    return list(map(Requirement, lines))


ALL_EXTRAS = tuple(project()["project"]["optional-dependencies"])


def admits(name: str, version: str) -> bool:
    """Whether `.[gpu]` may resolve to that version of a package."""
    wanted = [r for r in requirements("gpu") if canonicalize_name(r.name) == name]
    assert wanted, f"{name} is not among what .[gpu] asks for"
    return all(r.specifier.contains(version, prereleases=True) for r in wanted)


# --- constraints.txt itself -----------------------------------------------------------------------


def test_every_line_of_the_constraints_is_one_exact_pin_and_no_package_has_two():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for one in wanted:
        assert re.fullmatch(r"==[^*+,]+", str(one.specifier)), one  # no range, no local tag
    names = [canonicalize_name(one.name) for one in wanted]
    assert len(names) == len(set(names))
    assert set(names) == set(colab_install.pins())


def test_the_pins_are_read_by_name_whatever_its_spelling_and_without_markers():
    assert colab_install.pins()["unsloth-zoo"] == colab_install.pins()["unsloth"]
    line = colab_install.pin_lines()["trl"]
    assert line == f'trl=={colab_install.pins()["trl"]}; python_version >= "3.11"'


# --- pyproject.toml and Unsloth's metadata --------------------------------------------------------


@pytest.mark.parametrize("wanted", requirements(*ALL_EXTRAS), ids=str)
def test_a_pin_is_within_the_range_that_pyproject_gives(wanted):
    name = canonicalize_name(wanted.name)
    assert name in colab_install.pins(), f"{name} is asked for and has no pin"
    pin = colab_install.pins()[name]
    assert wanted.specifier.contains(pin), f"{name}=={pin} in constraints.txt, {wanted} here"


@pytest.mark.parametrize("line", UNSLOTH_SAYS)
def test_a_pin_is_what_unsloth_admits(line):
    wanted = Requirement(line)
    assert wanted.specifier.contains(colab_install.pins()[wanted.name])


@pytest.mark.parametrize(("name", "version"), ABOVE_THE_CAP.items())
def test_the_gpu_extra_repeats_unsloths_caps(name, version):
    assert not admits(name, version)


@pytest.mark.parametrize(("name", "version"), LAST_OF_2025.items())
def test_a_floor_keeps_out_the_releases_of_2025(name, version):
    assert not admits(name, version)


def test_every_package_of_the_gpu_extra_is_in_that_table():
    extra = project()["project"]["optional-dependencies"]["gpu"]
    assert {canonicalize_name(Requirement(line).name) for line in extra} <= set(LAST_OF_2025)


# --- environment.yml, the Makefile, other environments --------------------------------------------


def test_the_conda_environment_takes_its_pins_from_the_constraints():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    python, pip, by_pip = yaml.safe_load(text)["dependencies"]
    assert (pip, by_pip) == ("pip", {"pip": ["-c constraints.txt", "-e .[dev]"]})
    requires = project()["project"]["requires-python"]
    assert Requirement(f"python{requires}").specifier.contains(python.removeprefix("python="))
    for extra in re.findall(r"\.\[([\w,]+)\]", text):
        assert set(extra.split(",")) <= set(ALL_EXTRAS)


def test_the_makefile_has_no_version_and_installs_nothing_without_pins():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "==" not in text.replace("s/^\\(torch==", "")  # how it reads torch's pin
    for line in re.findall(r"^\t.*PIP\) install.*$", text, re.MULTILINE):
        # --no-deps: then the file of requirements has all the pins, and a test here reads it
        constrained = re.search(r"-c (\.venv-bench/)?constraints\.txt", line)
        assert constrained or ("--no-deps" in line and "-r " in line), line


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_the_makefile_reads_torchs_pin():
    command = ["make", "-s", "--eval", "pin: ; @echo $(TORCH)", "pin"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"torch=={colab_install.pins()['torch']}"


# Older releases on purpose: TRL's lies in a folder beside the environment, never in it; torchtune
# refuses newer ones of torchao.
OTHERWISE = {
    ("benchmarks/requirements-trl-torch.txt", "trl"),
    ("benchmarks/requirements.txt", "torchao"),
}
OTHER_FILES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("benchmarks", "tests")
    for file in (ROOT / folder).glob("requirements*.txt")
)


@pytest.mark.parametrize("file", OTHER_FILES)
def test_another_environment_has_the_same_versions_of_what_is_pinned_here(file):
    pins = colab_install.pins()
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        if name in pins and (file, name) not in OTHERWISE and wanted.specifier:
            assert str(wanted.specifier) == f"=={pins[name]}", f"{file}: {text}"


# --- the install cell -----------------------------------------------------------------------------


def test_the_stack_is_pinned_for_colabs_python_and_is_not_what_is_kept():
    for name in colab_install.STACK:
        marker = Requirement(colab_install.pin_lines()[name]).marker
        assert marker is None or marker.evaluate({"python_version": COLAB_PYTHON})
    assert not {*colab_install.STACK} & {*colab_install.KEPT}


def test_the_stack_holds_all_that_the_gpu_extra_names():
    extra = project()["project"]["optional-dependencies"]["gpu"]
    assert {canonicalize_name(Requirement(line).name) for line in extra} <= {*colab_install.STACK}


def test_the_cell_has_no_version_and_never_upgrades_or_reinstalls():
    here = Path(colab_install.__file__).read_text(encoding="utf-8")
    for text in (install_cell.source(), here):
        assert "--no-deps" in text
        assert not re.search(r'"(-U|--upgrade|--force-reinstall|-I|--ignore-installed)"', text)
        assert not re.search(r"\d+\.\d+\.\d+", text)


def test_the_cell_is_short_and_tidy(tmp_path):
    lines = install_cell.source().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) <= 12
    assert not [line for line in lines if len(line) > 100]
    cell = tmp_path / "cell.py"
    cell.write_text(install_cell.source(), encoding="utf-8")
    if ruff := shutil.which("ruff", path=str(Path(sys.executable).parent)):
        style = ["--isolated", "--select", "E,F,I,B", "--ignore", "E402", "--line-length", "100"]
        subprocess.run([ruff, "check", *style, cell], check=True)
        subprocess.run(
            [ruff, "format", "--isolated", "--line-length", "100", "--check", cell], check=True
        )


def test_the_cell_takes_the_repository_from_pyproject():
    address = project()["project"]["urls"]["Repository"]
    assert f'SOURCE = "git+{address}"\n' in install_cell.source()


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("someone/fork", "git+https://github.com/someone/fork"),
        ("someone/fork@v1.0", "git+https://github.com/someone/fork@v1.0"),
        ("https://example.org/a/b.git", "git+https://example.org/a/b.git"),
        ("git+https://example.org/a/b", "git+https://example.org/a/b"),
        ("https://example.org/distill_lab-1-py3-none-any.whl",) * 2,
        ("/a/folder", "/a/folder"),
    ],
)
def test_a_fork_gives_its_own_address(given, source):
    assert install_cell.pip_source(given) == source
    assert f'SOURCE = "{source}"\n' in install_cell.source(given)


def test_an_address_that_pip_cannot_take_is_refused():
    with pytest.raises(LabError, match="OWNER/NAME"):
        install_cell.source("fork")
