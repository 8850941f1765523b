"""Training beside busy programs: threads that spin a little before they sleep (`distill_lab` asks
OpenMP for it as it is imported), threads that sleep at once, and OpenMP's default.

The policy is read as torch is loaded, so each training has a process of its own, which is ready
before the clock starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from benchmarks.measure import Case
from benchmarks.worker import Work

POLICIES = {
    "spins_little": {},
    "sleeps": {"OMP_WAIT_POLICY": "passive"},
    "spins": {"OMP_WAIT_POLICY": ""},  # as where nothing is said
}


def cases(quick: bool) -> list[Case]:
    """Alone, and beside one and two programs that never rest."""
    examples, others = (16, (1,)) if quick else (168, (0, 1, 2))
    return [
        Case(f"busy-{busy}", f"Training on `tiny` beside {busy} busy programs", "busy_bench",
             tuple(POLICIES), {"busy": busy, "examples": examples}, repeats=3)
        for busy in others
    ]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """The training's process, ready, and the busy ones, which end with the work."""
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    own = {name: value for name, value in os.environ.items() if name not in unset}
    training = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.busy_bench", str(settings["examples"])],
        env=own | POLICIES[contender], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert training.stdin
    assert training.stdout
    while "ready" not in training.stdout.readline():
        assert training.poll() is None
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(settings["busy"])
    ]

    def work() -> dict[str, float]:
        try:
            output, _ = training.communicate("go\n")
        finally:
            for program in busy:
                program.kill()
                program.wait()
        return {"steps": float(output.split()[-1])}

    return work


def main(examples: str) -> None:
    import distill_lab  # noqa: F401  it asks for the policy, before torch is loaded
    from benchmarks import epochs_bench

    settings = {"student": None, "teacher": None, "examples": int(examples)}
    work = epochs_bench.prepare("online", settings)
    print("ready", flush=True)
    sys.stdin.readline()
    print(work()["steps"], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
