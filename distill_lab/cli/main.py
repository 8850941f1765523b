"""The command line. Exit 0: done; 2: a mistake of the user's, in one line; 1: anything else."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from distill_lab.cli.flags import parse_flat, parse_run, value
from distill_lab.pipeline.runner import STAGES, quiet, run_stage
from distill_lab.run.claim import claim_run_folder
from distill_lab.run.distributed import from_main, is_main, join, leave, rank
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.settings import PROFILES, Config, ExportSettings

_KEPT = "What was written before is kept: mend this and run it again."


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: `distill-lab COMMAND …`."""
    quiet()
    try:
        status = _status(list(sys.argv[1:] if arguments is None else arguments))
        print(end="", flush=True)  # here, where a reader that has gone is no traceback
        leave()
        sys.exit(status)
    except LabError as error:
        sys.exit(_fail(str(error)))
    except BrokenPipeError:
        sys.exit(_unread())
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


def _fail(message: str) -> int:
    who = "" if is_main() else f" process {rank()}:"
    print(f"distill-lab:{who} {' '.join(message.split())}", file=sys.stderr)
    return 2


def _status(arguments: list[str]) -> int | str | None:
    """Of the command, also where tyro's help or a signal ended it."""
    try:
        return _command(arguments)
    except SystemExit as ended:
        return ended.code


def _unread() -> int:
    """The reader of what is printed has gone (`… | head -1`): nothing more is written to it, at the
    interpreter's end either. The status is that of a program which the broken pipe ended."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        os.dup2(nothing, stream.fileno())
    return 141


def _command(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        print(_help())
    elif name == "run":
        _run(rest)
    elif name in STAGES:
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
            *STAGES,
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
        *(f"  {stage.name:<12} {stage.help}" for stage in STAGES.values()),
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
    print(f"Run {out} ({config.profile}); settings in {RunFolder(out).config}", flush=True)
    for name in STAGES:
        run_stage(name, config, out)
    if not is_main():
        return
    from distill_lab.pipeline import report

    folder = RunFolder(out)
    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")


def _one_stage(name: str, arguments: list[str]) -> None:
    config, out = _begin(name, arguments)
    run_stage(name, config, out)


def _begin(command: str, arguments: Sequence[str]) -> tuple[Config, Path]:
    """The settings, adopted by the run's folder; the other processes, if there are any, are met."""
    config, out = parse_run(command, arguments)
    join(config.runtime.device)
    from_main(lambda: claim_run_folder(config, out))
    return config, out


def _export(arguments: list[str]) -> None:
    settings = parse_flat("export", arguments, ExportSettings())
    if settings.converter == "unsloth":  # before transformers, which the module imports
        from distill_lab.models import unsloth_backend

        unsloth_backend.problem()
    from distill_lab.pipeline.export import export

    export(settings)


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
    from distill_lab.planning import doctor

    print(doctor.report(config, gpu))


# -- notebooks

_NOTEBOOKS = "build: write the labs' notebooks; check: are they in step? figures: their numbers"


def _notebooks(arguments: list[str]) -> int:
    """What is wrong with them, a line each; 2 if anything is."""
    from distill_lab.course import builder

    words = {
        "build": (builder.Build(), builder.build),
        "check": (builder.Check(), builder.check),
        "figures": (builder.Measure(), builder.measure),
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

_GRADE = "marks, feedback and an overview of a class: a folder or zip file of notebooks"


def _grade(arguments: list[str]) -> int:
    """`LAB SUBMISSIONS [OPTIONS]`, or `--self-test LAB… [OPTIONS]`."""
    from distill_lab.course import grading

    names = ["LAB", "SUBMISSIONS"]
    if arguments[:1] == ["--self-test"]:
        arguments, names = arguments[1:], ["--self-test LAB…"]
    given = list(itertools.takewhile(lambda text: not text.startswith("-"), arguments))
    asked = parse_flat(f"grade {' '.join(names)}", arguments[len(given) :], grading.Grade())
    from distill_lab.course.grading.session.stopping import stoppable

    if given and len(names) == 1:
        from distill_lab.course.grading.selftest import self_test

        with stoppable():
            return max(self_test(lab, asked, brief=n > 0) for n, lab in enumerate(given))
    if len(given) != len(names):
        raise LabError(
            "Expected `distill-lab grade LAB SUBMISSIONS --out DIR`, or `distill-lab grade "
            f"--self-test LAB…`, found {' '.join(given) or 'neither'}. LAB is lab5a, say."
        )
    with stoppable():
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
    from distill_lab.tasks.squad import questions

    function = questions.score_files if name == "score" else questions.check_file
    print(json.dumps(function(*map(Path, arguments)), indent=1))
