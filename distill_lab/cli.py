"""The command line. Exit 0: done; 2: a mistake of the user's, in one line; 1: anything else."""

from __future__ import annotations

import difflib
import importlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from distill_lab.arguments import parse_flat, parse_run, value
from distill_lab.config import PROFILES, Config, ExportSettings
from distill_lab.processes import from_main, is_main, join, rank
from distill_lab.records import LabError, note, notes
from distill_lab.runs import adopt

STAGES = (
    ("data", "distill_lab.squad", "prepare", "choose the questions"),
    (
        "generate",
        "distill_lab.generate",
        "run",
        "the teacher answers each training question several times",
    ),
    ("reject", "distill_lab.reject", "run", "keep the correct, readable traces"),
    ("train", "distill_lab.train", "run", "train the two students on what was kept"),
    ("evaluate", "distill_lab.evaluate", "run", "score base, students and teacher"),
    ("report", "distill_lab.report", "build", "table, plots, and the paper side by side"),
)


_SLOW = ("generate", "train", "evaluate")  # stages that resume, and that processes share
_KEPT = "What was written before is kept: mend this and run it again."


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: `distill-lab COMMAND …`."""
    quiet()
    try:
        sys.exit(_command(list(sys.argv[1:] if arguments is None else arguments)))
    except LabError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        if error.errno is None:  # not the operating system's: a library's, with a reason of its own
            raise
        sys.exit(_fail(f"{error.filename or 'writing'}: {error.strerror}. {_KEPT}"))
    except Exception as error:  # a full disk is no OSError where safetensors or torch write
        system = re.search(r"[^:]*\(os error \d+\)|.*inline_container\.cc.*", str(error))
        if not system:
            raise
        sys.exit(_fail(f"writing: {system[0].strip()}. {_KEPT}"))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def quiet() -> None:
    """Before torch and transformers are loaded: their advice is for programmers."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # six lines about a network that is not there
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _fail(message: str) -> int:
    who = "" if is_main() else f" process {rank()}:"
    print(f"distill-lab:{who} {' '.join(message.split())}", file=sys.stderr)
    return 2


def _command(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        print(_help())
    elif name == "run":
        _run(rest)
    elif name in [stage[0] for stage in STAGES]:
        _one_stage(name, rest)
    elif name == "export":
        _export(rest)
    elif name == "doctor":
        _doctor(rest)
    elif name == "notebooks":
        return _notebooks(rest)
    elif name == "grade":
        return _grade(rest)
    elif name in _FILES:
        _file_command(name, rest)
    else:
        known = [
            *(stage[0] for stage in STAGES),
            "run",
            "export",
            "doctor",
            "notebooks",
            "grade",
            *_FILES,
        ]
        near = difflib.get_close_matches(name, known, 1)
        raise LabError(
            f"Unknown command {name!r}; did you mean {near[0]}?"
            if near
            else f"Unknown command {name!r}; see --help."
        )
    return 0


def _help() -> str:
    lines = [
        "usage: distill-lab COMMAND [OPTIONS]     (distill-lab COMMAND --help lists the options)",
        "",
        "  run          all stages in order; resumable",
        *(f"  {name:<12} {text}" for name, _, _, text in STAGES),
        "  export       a student for use elsewhere: adapter, merged weights, or GGUF",
        f"  {'doctor':<12} {_DOCTOR}",
        f"  {'notebooks':<12} {_NOTEBOOKS}",
        f"  {'grade':<12} {_GRADE}",
        *(f"  {' '.join([name, *words]):<28} {text}" for name, (words, text) in _FILES.items()),
        "",
        f"profiles: {', '.join(PROFILES)}     (--profile NAME; `distill-lab doctor` names one)",
    ]
    return "\n".join(lines)


# -- run and its stages


def _run(arguments: list[str]) -> None:
    config, out = _begin("run", arguments)
    print(f"Run {out} ({config.profile}); settings in {out / 'config.json'}", flush=True)
    for name, *_ in STAGES:
        one_stage(name, config, out)
    if not is_main():
        return
    report = importlib.import_module("distill_lab.report")
    print("\n" + report.table(json.loads((out / "report.json").read_text(encoding="utf-8"))))
    print(f"\nReport: {out / 'report.html'}")


def _one_stage(name: str, arguments: list[str]) -> None:
    config, out = _begin(name, arguments)
    one_stage(name, config, out)


def _begin(command: str, arguments: Sequence[str]) -> tuple[Config, Path]:
    """The settings, adopted by the run's folder; the other processes, if there are any, are met."""
    config, out = parse_run(command, arguments)
    join(config.runtime.device)
    from_main(lambda: adopt(config, out))
    return config, out


def one_stage(name: str, config: Config, out: Path) -> None:
    """Runs one stage, a cheap one in the first process alone; its seconds are added up over
    interruptions, and not counted where all was done already.
    """
    module, function = next((m, f) for stage, m, f, _ in STAGES if stage == name)
    start = time.perf_counter()
    if name in _SLOW:  # Unsloth must be imported before transformers
        importlib.import_module("distill_lab.backends").prepare(config.runtime)

    def work() -> object:
        stage: Callable[[Config, Path], object] = getattr(importlib.import_module(module), function)
        return stage(config, out)

    done = work() if name in _SLOW else from_main(lambda: work() is not False)
    if done is False:
        print(f"{name}: all there already", flush=True)
        return
    if not is_main():
        return
    seconds = notes(out).get("seconds", {})
    before = seconds.get(name, 0) if name in _SLOW else 0
    note(out, "seconds", {**seconds, name: round(before + time.perf_counter() - start, 1)})


def _export(arguments: list[str]) -> None:
    settings = parse_flat("export", arguments, ExportSettings())
    if settings.converter == "unsloth":  # before transformers, which the module imports
        importlib.import_module("distill_lab.unsloth_backend").problem()
    importlib.import_module("distill_lab.export").export(settings)


# -- doctor

_DOCTOR = "what this machine can run, and why; what a run would take of memory and time"


def _doctor(arguments: list[str]) -> None:
    """Without flags: this machine and the profile that it recommends. Otherwise a stage's flags,
    and `--gpu NAME` for the prediction of another card."""
    if "--help" in arguments or "-h" in arguments:
        print(f"usage: distill-lab doctor [--gpu NAME] [a stage's flags]\n\n{_DOCTOR}")
        return
    gpu = value("--gpu", arguments)
    rest = [
        argument
        for n, argument in enumerate(arguments)
        if argument.partition("=")[0] != "--gpu" and (n == 0 or arguments[n - 1] != "--gpu")
    ]
    if gpu is None and len(rest) < len(arguments):
        raise LabError("--gpu: expected the name of a card such as t4, found none.")
    config = parse_run("doctor", rest)[0] if rest else PROFILES["colab"] if gpu else None
    print(importlib.import_module("distill_lab.doctor").report(config, gpu))


# -- notebooks

_NOTEBOOKS = "build: write the labs' notebooks; check: are they in step? figures: their numbers"


def _notebooks(arguments: list[str]) -> int:
    """What is wrong with them, a line each; 2 if anything is."""
    notebooks = importlib.import_module("distill_lab.notebooks")
    words = {
        "build": (notebooks.Build(), notebooks.build),
        "check": (notebooks.Check(), notebooks.check),
        "figures": (notebooks.Measure(), notebooks.measure),
    }
    word, rest = (arguments[0], arguments[1:]) if arguments else ("nothing", [])
    if word in ("-h", "--help"):
        print(f"usage: distill-lab notebooks {'|'.join(words)} [OPTIONS]\n\n{_NOTEBOOKS}")
        return 0
    if word not in words:
        raise LabError(f"Expected `distill-lab notebooks {'`, `'.join(words)}`, found {word!r}.")
    default, function = words[word]
    findings: list[str] = function(parse_flat(f"notebooks {word}", rest, default))
    for finding in findings:
        print(finding, file=sys.stderr)
    if not findings:
        said = {"figures": "Each number in the prose is as its source has it."}
        print(said.get(word, "The notebooks are in step with their sources."))
    return 2 if findings else 0


# -- grading

_GRADE = "marks, feedback and an overview of a folder of submitted notebooks"


def _grade(arguments: list[str]) -> int:
    """`LAB SUBMISSIONS [OPTIONS]`, or `--self-test LAB… [OPTIONS]`."""
    grading = importlib.import_module("distill_lab.grading")
    names = ["LAB", "SUBMISSIONS"]
    if arguments[:1] == ["--self-test"]:
        arguments, names = arguments[1:], ["--self-test LAB…"]
    given = list(itertools.takewhile(lambda text: not text.startswith("-"), arguments))
    asked = parse_flat(f"grade {' '.join(names)}", arguments[len(given) :], grading.Grade())
    if given and len(names) == 1:
        self_test = importlib.import_module("distill_lab.grading.self_test").self_test
        return max(self_test(lab, asked, brief=n > 0) for n, lab in enumerate(given))
    if len(given) != len(names):
        raise LabError(
            "Expected `distill-lab grade LAB SUBMISSIONS --out DIR`, or `distill-lab grade "
            f"--self-test LAB…`, found {' '.join(given) or 'neither'}. LAB is lab5a, say."
        )
    return grading.grade(given[0], Path(given[1]), asked)


# -- commands on files


_FILES: dict[str, tuple[tuple[str, ...], str]] = {
    "score": (("DATA", "PREDICTIONS"), "EM and F1 as the official SQuAD script, as JSON"),
    "check-data": (("FILE",), "questions, kept and problems of a SQuAD file, as JSON"),
}


def _file_command(name: str, arguments: list[str]) -> None:
    words, text = _FILES[name]
    usage = " ".join(["distill-lab", name, *words])
    if arguments in (["--help"], ["-h"]):
        print(f"usage: {usage}\n\n{text}")
        return
    if len(arguments) != len(words):
        raise LabError(f"Expected `{usage}`, found {len(arguments)} arguments.")
    squad = importlib.import_module("distill_lab.squad")
    function = squad.score_files if name == "score" else squad.check_file
    print(json.dumps(function(*map(Path, arguments)), indent=1))
