"""Several processes under `accelerate launch`, and what keeps them in step, on the CPU (gloo)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from test_kill import left

from distill_lab.run.distributed import from_main, is_main, shared, size
from distill_lab.run.records import LabError, RecordLog, Trace
from distill_lab.training.batches import blank, collate
from distill_lab.training.trainer import (
    EpochShuffle,
    Hyperparameters,
    argument_values,
    call_through_wrapper,
)

SMALL = [
    "--data.n-train", "24", "--data.n-eval", "10", "--generate.n-samples", "2",
    "--runtime.sample-batch", "8", "--train.epochs", "2", "--train.batch-size", "4",
    "--runtime.save-every", "2", "--runtime.device", "cpu", "--runtime.threads", "1",
]  # fmt: skip


# `--cpu` starts one process, whatever --num_processes says; `--multi_gpu` all, GPU or not.
# Port 0 is any that is free: other launches may run beside this one.
def launcher(processes: int) -> list[str]:
    options = ["--multi_gpu", "--num_processes", str(processes), "--main_process_port", "0"]
    return ["-m", "accelerate.commands.launch", *options]


def command(out: Path, processes: int, *more: str) -> list[str]:
    start = [sys.executable, *(launcher(processes) if processes > 1 else ())]
    return [*start, "-m", "distill_lab", "run", "--out", str(out), *SMALL, *more]


def run(out: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(out, processes, *more), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done


def curve(out: Path, arm: str) -> list[list[float]]:
    """Of each step; the gradient's norm too, as AdamW hides one half as long."""
    lines = (out / "students" / arm / "log.jsonl").read_text().splitlines()
    return [[row[k] for k in ("loss", "ce", "kl", "grad_norm")] for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, two micro-batches a step."""
    out = tmp_path_factory.mktemp("one")
    run(out, 1, "--runtime.micro-batch", "2")
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same of two processes, one micro-batch each a step; and what they printed."""
    out = tmp_path_factory.mktemp("two")
    return out, run(out, 2, "--runtime.micro-batch", "2").stdout


@pytest.mark.parametrize("status", [0, 3])
def test_processes_that_leave_end_at_once(tmp_path, status):
    """Python's own end, in which the group's threads may abort a process, is passed over."""
    (tmp_path / "leaves.py").write_text(
        "import atexit, sys\n"
        "from distill_lab.run import distributed as processes\n"
        "processes.join('cpu')\n"
        "atexit.register(lambda: print('the end', file=sys.stderr))\n"
        "print('done', end='')\n"
        f"processes.leave({status})\n"
        "raise SystemExit(1)\n"
    )
    leaves = [sys.executable, *launcher(2), str(tmp_path / "leaves.py")]
    done = subprocess.run(leaves, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (int(status != 0), "done"), done.stderr[-6000:]
    assert "the end" not in done.stderr
    assert (f"exitcode  : {status}" in done.stderr) == (status != 0)


@pytest.mark.parametrize(
    "name",
    ["traces.jsonl", "verdicts.jsonl", "examples.jsonl", "teacher_cache/rows.bin",
     "teacher_cache/index.jsonl", "predictions/base.jsonl", "predictions/teacher.jsonl"],
)  # fmt: skip
def test_two_processes_write_what_one_writes(one, two, name):
    assert (two[0] / name).read_bytes() == (one / name).read_bytes()
    assert (one / name).stat().st_size


@pytest.mark.parametrize("arm", ["sft", "kd"])
def test_two_processes_have_the_loss_curve_of_one(one, two, arm):
    curves = curve(two[0], arm), curve(one, arm)
    assert len(curves[1]) > 4
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=1e-4, atol=1e-4)


def test_the_first_process_alone_prints(one, two):
    lines = two[1].splitlines()
    assert sum(line.startswith("Report: ") for line in lines) == 1
    of_backend = [line for line in lines if line.startswith("transformers on cpu")]
    assert len(of_backend) == 1
    assert of_backend[0].endswith("; 1 CPU threads; 2 processes")  # accelerate did start two


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_goes_on_when_started_again(one, tmp_path):
    with subprocess.Popen(
        command(tmp_path, 2, "--runtime.micro-batch", "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as launcher:
        _kill_the_second_once_there(tmp_path / "traces.jsonl", launcher)
        said = launcher.communicate(timeout=120)[1].decode()
    assert launcher.returncode != 0
    assert "SIGKILL" in said or "-9" in said
    assert 0 < len((tmp_path / "traces.jsonl").read_text().splitlines()) < 48
    run(tmp_path, 2, "--runtime.micro-batch", "2")
    for name in ("traces.jsonl", "examples.jsonl", "predictions/base.jsonl"):
        assert left(tmp_path)[name] == left(one)[name]


def _kill_the_second_once_there(path: Path, launcher: subprocess.Popen[bytes]) -> None:
    while not (path.exists() and path.stat().st_size):
        assert launcher.poll() is None
        time.sleep(0.05)
    children = psutil.Process(launcher.pid).children(recursive=True)
    second = next(child for child in children if child.environ().get("RANK") == "1")
    second.kill()


def test_a_mistake_is_said_once_and_ends_all(tmp_path):
    done = subprocess.run(
        [sys.executable, *launcher(2), "-m", "distill_lab", "reject", "--out", str(tmp_path / "r")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if line.startswith("distill-lab:")]
    assert done.returncode != 0
    assert len(ours) == 1
    assert "Run `distill-lab" in ours[0]
    assert "Traceback" not in "".join(
        line for line in done.stderr.splitlines() if line.startswith("[rank")
    )


# --- the parts ------------------------------------------------------------------------------------


def test_an_epoch_has_every_example_once_and_then_blanks_up_to_whole_steps():
    order = EpochShuffle(10, 4, seed=3)
    epochs = []
    for epoch in range(2):
        order.set_epoch(epoch)
        epochs.append(list(order))
        assert list(order) == epochs[-1]  # the same each time it is asked
        assert sorted(epochs[-1][:10]) == list(range(10))
        assert epochs[-1][10:] == [10, 11]
    assert epochs[0] != epochs[1]
    assert len(order) == 12
    assert (EpochShuffle(8, 4, 0).blanks, len(EpochShuffle(8, 4, 0))) == (0, 8)


def test_nothing_of_a_blank_counts():
    batch = collate([blank(5)], pad=5)
    assert batch["input_ids"].tolist() == [[5]]
    assert batch["attention_mask"].tolist() == [[1]]
    assert batch["labels"].tolist() == [[-100]]


def test_work_goes_through_the_wrapper_once_and_forward_is_put_back():
    calls: list[str] = []

    class Wrapper(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self) -> torch.Tensor:
            calls.append("wrapper")
            return self.inner()

    inner = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2)
    expected = inner(x)
    # the work calls the module itself: it must find the module's own forward
    torch.testing.assert_close(
        call_through_wrapper(Wrapper(inner), inner, lambda: inner(x)), expected
    )
    assert calls == ["wrapper"]
    torch.testing.assert_close(inner(x), expected)
    assert call_through_wrapper(inner, inner, lambda: "no wrapper") == "no wrapper"

    def fails() -> None:
        raise RuntimeError("in the work")

    with pytest.raises(RuntimeError, match="in the work"):
        call_through_wrapper(Wrapper(inner), inner, fails)
    torch.testing.assert_close(inner(x), expected)


def test_alone_there_is_nothing_to_share():
    assert (size(), is_main()) == (1, True)
    assert list(shared([1, 2, 3], lambda n: n * n)) == [1, 4, 9]
    assert from_main(lambda: "made") == "made"


def test_a_log_that_does_not_write_leaves_the_file_alone(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text('{"torn')
    with RecordLog(path, Trace, writes=False) as log:
        log.append([Trace("q", 0, "text", 1, "stop", "teacher", "p")])
        assert log.records == []
    assert path.read_text() == '{"torn'


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "fits"),
    [(16, 16, 1, True), (16, 4, 1, True), (16, 99, 1, True), (16, 6, 1, False), (16, 8, 3, False),
     (2, 1, 4, False), (12, 4, 2, False)],
)  # fmt: skip
def test_a_step_is_divided_over_processes_and_micro_batches(
    batch, micro, processes, fits, tmp_path, monkeypatch
):
    hyperparameters = Hyperparameters(1, 1e-3, batch, micro_batch=micro)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    if not fits:
        with pytest.raises(LabError, match=r"micro-batch: expected a divisor of"):
            argument_values(hyperparameters, torch.device("cpu"), tmp_path)
        return
    made = argument_values(hyperparameters, torch.device("cpu"), tmp_path)
    whole = made["per_device_train_batch_size"] * made["gradient_accumulation_steps"]
    assert whole == batch
