"""The self-tests of grading, of the labs for which something changed since theirs last passed.

    python -m tests.self_tests [--all]

A self-test takes minutes, so what passed is written into self_tests.json, which is committed: the
digest of all that the self-test of a lab depends on. Where nothing changed, nothing runs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PASSED = ROOT / "tests" / "self_tests.json"
LABS = ("lab5a", "lab5b", "lab5c", "lab5d", "lab5e", "lab6", "lab7")


def main(every: bool) -> int:
    passed: dict[str, str] = json.loads(PASSED.read_text(encoding="utf-8"))
    changed = [lab for lab in LABS if every or passed.get(lab) != digest(lab)]
    print(f"Self-tests of grading: {' '.join(changed) or 'none, as nothing changed'}.", flush=True)
    if not changed:
        return 0
    command = [sys.executable, "-P", "-m", "distill_lab", "grade", "--self-test", *changed]
    status = subprocess.run(command, cwd=ROOT).returncode
    if status == 0:
        passed |= {lab: digest(lab) for lab in changed}
        PASSED.write_text(json.dumps(passed, indent=1) + "\n", encoding="utf-8")
    return status


def digest(lab: str) -> str:
    """Of grading, the checks that all labs share and the lab's own, and of its notebooks."""
    total = hashlib.sha256()
    for file in sorted(_inputs(lab)):
        total.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + _content(file))
    return total.hexdigest()[:16]


def _content(file: Path) -> bytes:
    """The file; of a notebook all but outputs and their numbers, which grading does not read."""
    if file.suffix != ".ipynb":
        return file.read_bytes()
    notebook = json.loads(file.read_bytes())
    for cell in notebook["cells"]:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    return json.dumps(notebook).encode()


def _inputs(lab: str) -> Iterator[Path]:
    package, notebooks = ROOT / "distill_lab", ROOT / "lab_notebooks"
    others = tuple(other for other in LABS if other != lab)
    course = package / "course"
    for file in (*course.glob("grading/**/*.py"), *course.glob("exercises/**/*.py")):
        if not any(part.startswith(others) for part in file.relative_to(package).parts):
            yield file
    yield from notebooks.glob(f"**/L{lab[1:]}_*.ipynb")
    shared = ("__init__", "checks", "squad_scores", "safe_path", "losses/distillation",
              "tasks/squad/scores", "reporting/stats", "run/records",
              "course/exercises/lab5c/museum", "models/pruning/patterns",
              "losses/policy_gradient", "run/operations",
              "models/quantization/scheme", "models/quantization/quantize",
              "models/quantization/clipping", "models/quantization/fake",
              "models/quantization/gguf_blocks",
              "pipeline/rejection_rules")  # fmt: skip
    yield from (package / f"{name}.py" for name in shared)
    yield ROOT / "constraints.txt"


if __name__ == "__main__":
    sys.exit(main("--all" in sys.argv[1:]))
