"""What the notebooks' install cell calls: in Colab it installs what the labs need and keeps torch.

Colab comes with a torch and a numpy that fit its GPU; pip is told to keep these versions. The
Unsloth stack is installed in exact versions with `--no-deps`, because its own requirements would
replace torch; all else is installed by the package's version ranges. constraints.txt has all pins.

This runs first, so it needs only the standard library and imports nothing that it installs.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import distill_lab
from distill_lab.run.records import LabError
from distill_lab.run.settings import shipped

# Colab's versions of these must stay: they are built for each other and for its GPU.
KEPT = ("torch", "torchvision", "torchaudio", "triton", "numpy")
# Installed in exact versions, without their dependencies. Unsloth also asks for packages that are
# left out: xformers is compiled for one torch, and without it Unsloth uses PyTorch's attention;
# cut-cross-entropy is not needed, because the loss is ours; others serve only its command line,
# vLLM or images. torchao is here because Colab may have one that is too old for peft.
STACK = (
    *("unsloth", "unsloth-zoo", "bitsandbytes", "torchao"),
    *("transformers", "tokenizers", "huggingface-hub", "datasets", "accelerate", "peft", "trl"),
)
LOG = Path(tempfile.gettempdir()) / "distill_lab_install.log"
_SHOWN = 15  # lines of the log, where pip fails
# The packages that were replaced while they were loaded, with their loaded versions. Only a restart
# of the process empties this.
_outdated: dict[str, str] = {}


def install(source: str) -> None:
    """Installs the pinned versions in a Colab session; returns at once if they are installed.

    Outside Colab it installs nothing and says what is missing. `source` is this package as pip
    takes it: an address, a folder or a wheel. Raises a LabError that says what to do.
    """
    if not in_colab():
        _outside_colab(source)
        return
    if _version("distill-lab") is None:
        folder = Path(__file__).parents[2]
        raise LabError(
            f"Expected a distill_lab that pip installed, found the folder {folder}. Run"
            f" `%pip install --no-deps -e {folder}`, then this cell again."
        )
    missing = _missing()
    if missing:
        _refuse_torch_out_of_range(missing)
        _install()
    if _outdated:
        names = ", ".join(f"{name} {version}" for name, version in sorted(_outdated.items()))
        raise LabError(
            f"Restart the session (Runtime > Restart session) and go on from this cell: {names} was"
            " loaded before another version of it was installed."
        )
    there = ", ".join(f"{name} {_version(name)}" for name in ("unsloth", "transformers", "torch"))
    print(f"Ready: distill_lab {distill_lab.__version__}, {there}.")
    if not shutil.which("nvidia-smi"):
        print("No GPU in this session: Runtime > Change runtime type > T4 GPU.")


def in_colab() -> bool:
    """Whether this is Colab, which sets several variables that begin with COLAB_."""
    return any(name.startswith("COLAB_") for name in os.environ)


def _outside_colab(source: str) -> None:
    missing = list(_unmet("distill-lab"))
    if missing:
        path = Path(source)
        address = path.resolve().as_uri() if path.exists() else source
        raise LabError(
            f"Expected {', '.join(missing)}, not found; outside Colab nothing is installed for you."
            " Run this in a terminal, then restart the kernel: "
            f'{sys.executable} -m pip install "distill-lab @ {address}"'
        )
    print(f"distill_lab {distill_lab.__version__} is here; outside Colab nothing is installed.")


# -- what is needed, and what is missing


def pin_lines() -> dict[str, str]:
    """The lines of constraints.txt, markers included, by the name of the package."""
    text = shipped("constraints.txt", "constraints.txt").read_text("utf-8")
    lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
    return {_plain(line.partition("==")[0]): line for line in lines if "==" in line}


def pins() -> dict[str, str]:
    """The pinned version of each package."""
    return {name: re.split(r"==|;", line)[1].strip() for name, line in pin_lines().items()}


def _plain(name: str) -> str:
    """A package's name in its normal spelling: unsloth-zoo for unsloth_zoo."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing() -> list[str]:
    """The parts of the stack and of our requirements that are missing, or in another version."""
    wanted = pins()
    stack = [f"{name}=={wanted[name]}" for name in STACK if _version(name) != wanted[name]]
    return [*stack, *_unmet("distill-lab")]


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # a folder on the path, which pip did not install
        return []


def _unmet(name: str, extras: Iterable[str] = (), seen: set[str] | None = None) -> Iterator[str]:
    """The requirements of an installed package that are not met, also those of its requirements."""
    if importlib.util.find_spec("packaging") is None:  # without it the others cannot be read
        yield "packaging"
        return
    from packaging.requirements import Requirement

    seen = set() if seen is None else seen
    for line in _requires(name):
        wanted = Requirement(line)
        chosen = ("", *extras)
        if wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in chosen):
            continue
        version = _version(wanted.name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            yield line
        elif _plain(wanted.name) not in KEPT and line not in seen:
            seen.add(line)
            yield from _unmet(wanted.name, wanted.extras, seen)


def _refuse_torch_out_of_range(missing: Iterable[str]) -> None:
    """Colab changes: if this package does not support its torch, pip cannot help."""
    for line in missing:
        name = re.split(r"[^\w.-]", line)[0]
        if name in KEPT and _version(name):
            raise LabError(
                f"Expected {line.replace(' ', '')}, found {name} {_version(name)}, which is Colab's"
                " own and stays. Runtime > Change runtime type > Runtime version offers other ones."
            )


# -- pip


def _install() -> None:
    before = _versions()
    kept = [f"{name}=={before[name]}" for name in KEPT if name in before]
    print(f"Keeping {', '.join(kept)}. The whole log: {LOG}")
    wanted = pins()
    stack = [f"{name}=={wanted[name]}" for name in STACK]
    # What Colab has may change within the ranges; what it lacks is installed as we tested it.
    new = [line for name, line in pin_lines().items() if name not in before and name not in STACK]
    constraints = LOG.with_suffix(".txt")
    constraints.write_text("\n".join([*kept, *stack, *new]) + "\n", encoding="utf-8")
    others = [line for line in _requires("distill-lab") if not re.search(r";.*\bextra\b", line)]
    LOG.unlink(missing_ok=True)
    try:
        _pip("1 of 2: the Unsloth stack", "--no-deps", *stack)
        if others:
            _pip("2 of 2: what else the labs need", "-c", str(constraints), *others)
    finally:
        _note_outdated(before)


def _pip(step: str, *arguments: str) -> None:
    """Runs `pip install` with its output in the log; prints the end of the log if it fails."""
    quiet = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
    command = [sys.executable, "-m", "pip", "install", *quiet, *arguments]
    print(f"{step} … ", end="", flush=True)
    start = time.perf_counter()
    with LOG.open("a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    print(f"{'failed after ' if done.returncode else ''}{time.perf_counter() - start:.0f} s")
    if done.returncode:
        print(*LOG.read_text("utf-8", errors="replace").splitlines()[-_SHOWN:], sep="\n")
        raise LabError(
            f"pip could not install {step[8:]}; above is the end of its log, {LOG}. Run this cell "
            "again, because a download may have been interrupted. If it fails again, start afresh: "
            "Runtime > Disconnect and delete runtime, then Runtime > Run all."
        )


# -- a restart


def _versions() -> dict[str, str]:
    """The version of every installed package."""
    packages = ((p.metadata["Name"], p.version) for p in metadata.distributions())
    return {_plain(name): version for name, version in packages if name}


def _note_outdated(before: dict[str, str]) -> None:
    """Notes which packages were replaced on the disk while one of their files was loaded."""
    importlib.invalidate_caches()
    after = _versions()
    # read the modules' own dictionaries, because asking a lazy module for an attribute may load it
    modules = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    loaded = {module.get("__file__") for module in modules}
    for name in before.keys() & after.keys():
        if after[name] != before[name]:
            package = metadata.distribution(name)
            if any(str(package.locate_file(file)) in loaded for file in package.files or ()):
                _outdated.setdefault(name, before[name])
