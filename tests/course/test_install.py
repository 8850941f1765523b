"""The install cell, run by a Python of its own in a fresh environment.

By default pip takes small made-up wheels from a folder: named and versioned as the real ones, with
one module that holds the version. The test that is marked `network` takes the real ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import packaging
import pytest
from packaging.requirements import Requirement

from distill_lab.course import colab_install, install_cell
from distill_lab.models.adapters import CONFIG, WEIGHTS
from distill_lab.run.records import LabError

ROOT = Path(__file__).parent.parent.parent
TORCH, NUMPY = "2.13.0+cpu", "2.1.0"  # Colab's, in these tests
HELPER = "made-up-helper"  # the stack does not pin it; the made-up transformers asks for it

pytest.importorskip("hatchling", reason="builds the package's wheel")
pip = pytest.importorskip("pip", reason="lent to the environments that are made here")


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A wheel with one module, `__version__ = …`. `packaging` is the real one: the cell uses it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {f"{module}/__init__.py": f"__version__ = {version!r}\n"}
    if name == "packaging":
        place = Path(packaging.__file__).parent
        files = {str(f.relative_to(place.parent)): f.read_text() for f in place.rglob("*.py")}
    asks = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asks}"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """This package as a wheel."""
    folder = tmp_path_factory.mktemp("package")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def own_requirements(package: Path) -> list[Requirement]:
    with zipfile.ZipFile(package) as wheel:
        file = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        lines = re.findall(r"^Requires-Dist: (.*)$", wheel.read(file).decode(), re.MULTILINE)
    return [Requirement(line) for line in lines if "extra ==" not in line]


def test_the_wheel_brings_all_that_lies_beside_the_package_in_a_checkout(package):
    with zipfile.ZipFile(package) as wheel:
        for inside, beside in (
            ("constraints.txt", "constraints.txt"),
            ("manifest.json", "lab_notebooks/manifest.json"),
            ("data/mini_squad/make.py", "data/mini_squad/make.py"),
            *((f"data/squad_teacher/adapter/{file}",) * 2 for file in (CONFIG, WEIGHTS)),
        ):
            assert wheel.read(f"distill_lab/{inside}") == (ROOT / beside).read_bytes()


def test_a_wheel_of_the_sdist_brings_them_too(tmp_path):
    def build(kind: str, folder: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    build("sdist", ROOT)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    build("wheel", next((tmp_path / "sdist").iterdir()))
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert {"distill_lab/constraints.txt", "distill_lab/manifest.json"} <= {*wheel.namelist()}


def test_the_manifest_is_found_in_an_installed_wheel(package, tmp_path):
    with zipfile.ZipFile(package) as wheel:
        wheel.extractall(tmp_path)
    code = "from distill_lab.course.exercises import manifests as m; print(m.file(), *m.read())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    file, *labs = done.stdout.split()
    assert Path(file) == tmp_path / "distill_lab" / "manifest.json"
    assert "Lab5a_Teacher_Generation" in labs


@pytest.fixture(scope="module")
def index(tmp_path_factory, package: Path) -> Path:
    """A folder with a made-up wheel of all that the cell installs; of some a newer one too."""
    folder = tmp_path_factory.mktemp("index")
    pins = colab_install.pins()
    # Unsloth's own requirements would move torch, and bring what the stack leaves out
    asks = {"transformers": (HELPER,), "unsloth": ("torch>=2.14", "xformers")}
    for name in {*colab_install.STACK, *(wanted.name for wanted in own_requirements(package))}:
        make_wheel(folder, name, pins[name], asks.get(name, ()))
    make_wheel(folder, HELPER, "1.0")
    for name in ("torch", "numpy", "tqdm", "evaluate", "unsloth"):  # none of these is to be chosen
        make_wheel(folder, name, "2.14.1" if name == "torch" else "9999.0")
    make_wheel(folder, "xformers", "0.0.35")
    return folder


@dataclass
class Session:
    """A Colab session, so to say: an environment with a torch and a numpy, and where pip looks."""

    folder: Path
    index: Path | None  # None: pip as this machine has set it up
    package: Path

    @property
    def python(self) -> Path:
        return self.folder / "env" / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.folder / colab_install.LOG.name

    def begin(self, **colab: str) -> Session:
        """`colab` is what the session has: name=version."""
        venv.create(self.folder / "env", symlinks=True)
        site = next((self.folder / "env").glob("lib/python*/site-packages"))
        (site / "pip").symlink_to(Path(pip.__file__).parent)
        if colab:
            self.bring(**colab)
        return self

    def bring(self, **versions: str) -> None:
        """Installs made-up wheels, whatever else is there."""
        for name, version in versions.items():
            make_wheel(self.folder, name, version)
        wanted = [f"{name}=={version}" for name, version in versions.items()]
        done = self.run("-m", "pip", "install", "--no-deps", "-f", str(self.folder), *wanted)
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str, colab: bool = True) -> subprocess.CompletedProcess[str]:
        away = ("COLAB_", "PYTHONPATH", *(["PIP_"] if self.index else []))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(away)}
        own = {"TMPDIR": str(self.folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if self.index:
            own |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_NO_COMPILE": "1"}
            own["PIP_FIND_LINKS"] = str(self.index)
        if colab:
            own["COLAB_RELEASE_TAG"] = "made-up"
        command = [str(self.python), *arguments]
        return subprocess.run(
            command, env=clean | own, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def cell(self, before: str = "", colab: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the cell in a process of its own, behind some code."""
        code = before + "\n" + install_cell.source(str(self.package))
        return self.run("-c", code, colab=colab)

    def versions(self) -> dict[str, str]:
        done = self.run("-m", "pip", "list", "--format=freeze")
        return {
            colab_install._plain(name): version
            for name, _, version in (line.partition("==") for line in done.stdout.split())
        }


@pytest.fixture
def session(tmp_path: Path, index: Path, package: Path) -> Session:
    return Session(tmp_path, index, package)


@pytest.fixture(scope="module")
def ready(tmp_path_factory, index: Path, package: Path) -> tuple[Session, str]:
    """A session in which the cell ran once, and what it printed."""
    session = Session(tmp_path_factory.mktemp("ready"), index, package)
    done = session.begin(torch=TORCH, numpy=NUMPY, tqdm="4.67.0").cell()
    assert done.returncode == 0, done.stdout + done.stderr
    return session, done.stdout


# --- in Colab -------------------------------------------------------------------------------------


def test_the_cell_brings_the_pins_and_keeps_torch_and_numpy(ready):
    session, printed = ready
    there = session.versions()
    assert {name: there[name] for name in colab_install.STACK} == {
        name: colab_install.pins()[name] for name in colab_install.STACK
    }
    # kept; and left alone as it is within the range, though pip knows newer ones
    assert (there["torch"], there["numpy"], there["tqdm"]) == (TORCH, NUMPY, "4.67.0")
    # not in Colab before: as it was tested; and what a part of the stack asks for is there too
    assert there["evaluate"] == colab_install.pins()["evaluate"]
    assert HELPER in there
    assert "xformers" not in there
    assert re.findall(r"^(\d) of 2: .* … \d+ s$", printed, re.MULTILINE) == ["1", "2"]
    assert f"torch=={TORCH}, numpy=={NUMPY}" in printed
    assert "Ready: " in printed


def test_a_second_run_asks_pip_for_nothing(ready):
    session, _ = ready
    before = session.log.stat().st_mtime_ns
    again = session.cell()
    assert again.returncode == 0
    assert again.stdout.startswith("Ready: ")
    assert session.log.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["peft", HELPER])  # pinned, and only asked for by what is pinned
def test_what_went_missing_comes_back(ready, name):
    session, _ = ready
    there = session.versions()
    session.run("-m", "pip", "uninstall", "-y", name)
    assert session.cell().returncode == 0
    assert session.versions() == there


# pinned; within no range of the package's
@pytest.mark.parametrize(("name", "version"), [("peft", "0.21.99"), ("tyro", "0.9.0")])
def test_what_has_another_version_is_brought_back(ready, name, version):
    session, _ = ready
    there = session.versions()
    session.bring(**{name: version})
    assert session.cell().returncode == 0
    assert session.versions() == there


def test_what_would_move_numpy_fails_instead(session, index, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for wheel in index.glob("*.whl"):
        (other / wheel.name).symlink_to(wheel)
    (other / f"evaluate-{colab_install.pins()['evaluate']}-py3-none-any.whl").unlink()
    make_wheel(other, "evaluate", colab_install.pins()["evaluate"], ("numpy>=3",))
    session.index = other
    done = session.begin(torch=TORCH, numpy=NUMPY).cell()
    assert done.returncode == 1
    assert "2 of 2: what else the labs need … failed after " in done.stdout
    assert f"The user requested (constraint) numpy=={NUMPY}" in done.stdout
    assert session.versions()["numpy"] == NUMPY


def test_where_pip_fails_the_end_of_its_log_is_shown_and_torch_is_as_it_was(
    session, index, tmp_path
):
    session.begin(torch=TORCH, numpy=NUMPY)
    poor = tmp_path / "poor"
    poor.mkdir()
    for wheel in index.glob("*.whl"):
        if not wheel.name.startswith("peft"):
            (poor / wheel.name).symlink_to(wheel)
    session.index = poor
    done = session.cell()
    assert done.returncode == 1
    assert "1 of 2: the Unsloth stack … failed after " in done.stdout
    assert f"No matching distribution found for peft=={colab_install.pins()['peft']}" in done.stdout
    assert str(session.log) in done.stderr
    assert "Run this cell again" in done.stderr
    assert session.versions()["torch"] == TORCH
    assert "unsloth" not in session.versions()


def test_a_restart_is_asked_for_only_where_what_changed_was_loaded_already(session):
    session.begin(torch=TORCH, numpy=NUMPY, transformers="5.24.0", peft="0.10.0")
    code = f"""
import numpy, transformers
cell = {install_cell.source(str(session.package))!r}
for _ in range(2):  # the cell, run twice in one session
    try:
        exec(cell, {{}})
    except Exception as error:
        print(type(error).__name__, error)
"""
    asked = session.run("-c", code).stdout
    lines = [line for line in asked.splitlines() if line.startswith("LabError")]
    assert len(lines) == 2  # running the cell again is no restart
    for line in lines:
        assert "Restart the session" in line
        assert "transformers 5.24.0" in line
        assert "peft" not in line  # changed, not loaded
        assert "numpy" not in line  # loaded, not changed
    assert session.cell("import numpy, transformers").stdout.startswith("Ready: ")


def test_a_torch_that_the_package_cannot_use_is_named_before_anything_is_installed(session):
    session.begin(torch="2.99.0", numpy=NUMPY, packaging=colab_install.pins()["packaging"])
    done = session.cell()
    assert done.returncode == 1
    assert re.search(r"Expected torch<2\.15,>=2\.9, found torch 2\.99\.0", done.stderr)
    assert "Runtime version" in done.stderr
    assert not session.log.exists()
    assert "unsloth" not in session.versions()


def test_a_checkout_on_the_path_is_no_installation(session):
    session.begin(torch=TORCH, numpy=NUMPY)
    done = session.cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})")
    assert f"%pip install --no-deps -e {ROOT}" in done.stderr
    assert not session.log.exists()


def test_an_address_without_a_package_is_said_with_pips_own_words(session, tmp_path):
    session.begin()
    session.package = tmp_path / "nothing.whl"
    done = session.cell()
    assert done.returncode == 1
    assert "nothing.whl" in done.stderr
    assert "check SOURCE" in done.stderr


# --- on a laptop ----------------------------------------------------------------------------------


def test_outside_colab_only_the_package_itself_is_installed_and_the_rest_is_said(session):
    session.begin(torch=TORCH, packaging=colab_install.pins()["packaging"])
    done = session.cell(colab=False)
    assert done.returncode == 1
    assert "numpy>=2.0" in done.stderr
    assert f'-m pip install "distill-lab @ {session.package.as_uri()}"' in done.stderr
    assert {*session.versions()} == {"distill-lab", "packaging", "torch"}


def test_outside_colab_a_bare_environment_is_told_what_to_run_too(session):
    done = session.begin().cell(colab=False)
    assert "Expected packaging, not found" in done.stderr
    assert "-m pip install" in done.stderr


def test_outside_colab_with_all_there_nothing_happens(ready):
    session, _ = ready
    done = session.cell(colab=False)
    assert done.stdout.endswith("is here; outside Colab nothing is installed.\n")


# --- with the real packages -----------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.slow
def test_the_real_packages_come_and_unsloth_can_be_imported(session):
    """A few minutes; `pip install torch` must find a build for this machine."""
    session.index = None
    session.begin()
    torch, numpy = (
        f"torch=={colab_install.pins()['torch']}",
        "numpy==2.2.6",
    )  # the pin is a newer one
    assert session.run("-m", "pip", "install", torch, numpy).returncode == 0
    before = session.versions()
    first = session.cell()
    print(first.stdout)
    assert first.returncode == 0, first.stdout + first.stderr
    there = session.versions()
    assert (there["torch"], there["numpy"]) == (before["torch"], before["numpy"])
    assert {name: there[name] for name in colab_install.STACK} == {
        name: colab_install.pins()[name] for name in colab_install.STACK
    }
    assert session.cell().stdout.startswith("Ready: ")
    loaded = session.run("-c", "import unsloth, trl, peft, datasets, distill_lab.cli.main")
    assert loaded.returncode == 0, loaded.stderr

    # one that is loaded already, in another version
    session.run("-m", "pip", "install", "--no-deps", "peft==0.21.1")
    asked = session.cell("import peft")
    assert "Restart the session" in asked.stderr
    assert "peft 0.21.1 was loaded" in asked.stderr
    assert session.cell("import peft").stdout.startswith("Ready: ")

    # a pin that there is not
    pins = next(session.folder.glob("env/lib/python*/site-packages/distill_lab/constraints.txt"))
    text = pins.read_text(encoding="utf-8")
    pins.write_text(text.replace("peft==0.21.2", "peft==0.21.99"), encoding="utf-8")
    failed = session.cell()
    assert "No matching distribution found for peft==0.21.99" in failed.stdout
    assert "Run this cell again" in failed.stderr


# --- in a notebook --------------------------------------------------------------------------------


def test_a_notebook_shows_an_error_of_ours_as_a_sentence():
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    try:
        raise LabError("Expected this, found that.")
    except LabError:
        shown = []
        shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
        shell.showtraceback()
    assert shown == ["LabError: Expected this, found that."]
