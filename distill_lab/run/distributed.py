"""Many processes, one run: `accelerate launch -m distill_lab …` (or torchrun) starts the same
command several times, one process a GPU.

Each of `size` processes does every size-th batch of the slow work; process 0 alone writes and
prints. With one process, the usual case, all of this does nothing and does not load torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from distill_lab.run.records import LabError

Batch = TypeVar("Batch")
Made = TypeVar("Made")

_LONGEST = timedelta(hours=6)  # a process may wait so long for another: a model to load


def rank() -> int:
    """This process' number."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """How many processes do this work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """This process' number among those on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """How many of the processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(size())))


def is_main() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def join(device: str) -> None:
    """Meets the other processes, if there are any; from then on all but the first print only their
    errors. Call it before tqdm is imported, which reads TQDM_DISABLE only then.
    """
    if size() == 1:
        return
    if not is_main():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        os.environ["TQDM_DISABLE"] = "1"
    import torch
    from accelerate import PartialState

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    PartialState(cpu=on_cpu, timeout=_LONGEST)


def leave(status: int) -> None:
    """Ends a process that has joined others, with this exit status: where it is 0, as soon as all
    are here; else at once, as the others may have ended. Without others it does nothing.

    Python's own end is passed over: threads of the group that still run then abort the process
    after all its work was done (seen twice, on a busy machine, once after the group was destroyed).
    """
    if size() == 1 or "torch" not in sys.modules:
        return
    from torch import distributed

    if distributed.is_initialized():
        if status == 0:
            distributed.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait() -> None:
    """Returns when all processes have called it."""
    if size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def one_first(make: Callable[[], Made]) -> Made:
    """What `make` returns; one process of each machine calls it before the others there do.

    For what the first downloads or converts and the others then find.
    """
    if local_rank():
        wait()
        return make()
    try:
        return make()
    finally:
        wait()


def from_main(make: Callable[[], Made]) -> Made:
    """What `make` returns in process 0, for all processes; a LabError there ends all of them.

    For what reads or writes the run's folder.
    """
    if size() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    box: list[tuple[bool, Made | str]] = [(False, "")]
    error: LabError | None = None
    if is_main():
        try:
            box = [(True, make())]
        except LabError as raised:
            error, box = raised, [(False, str(raised))]
    done, made = broadcast_object_list(box)[0]
    if error:
        raise error
    if not done:
        sys.exit(2)  # process 0 says why
    return made  # type: ignore[return-value]


def shared(batches: Sequence[Batch], work: Callable[[Batch], Made]) -> Iterator[Made]:
    """The results of `work` on each batch, in the batches' order, in every process; each process
    does every size-th batch. The results are those of one process.
    """
    if size() == 1:
        yield from map(work, batches)
        return
    from accelerate.utils import gather_object

    for start in range(0, len(batches), size()):
        mine = batches[start + rank() : start + rank() + 1]
        yield from gather_object([work(batch) for batch in mine])
