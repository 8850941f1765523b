"""Runs a notebook as on a student's laptop: this Python, no GPU, no network, the profile `tiny`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import distill_lab
from distill_lab.run.records import LabError

SECONDS_A_CELL = 600  # a cell that takes longer has hung
_NO_PROXY = "http://127.0.0.1:9"  # nothing listens there: every use of the network fails at once


def environment() -> dict[str, str]:
    """The environment of the kernel. Progress bars are off, because they differ from run to run."""
    kept = {name: value for name, value in os.environ.items() if not _disturbs(name)}
    package = str(Path(distill_lab.__file__).parent.parent)
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, where there are no ipywidgets
        "HTTP_PROXY": _NO_PROXY,
        "HTTPS_PROXY": _NO_PROXY,
    }


def _disturbs(name: str) -> bool:
    """Whether a variable would change the run's folder or profile, the pictures or the network."""
    disturbing = ("DISTILL_LAB_RUNS", "MPLBACKEND", "NO_PROXY", "JPY_SESSION_NAME")
    return name in disturbing or name.startswith("COLAB_")


def run(notebook: Any, name: str, work: Path) -> None:
    """Runs all cells in the folder `work`, and keeps their outputs in `notebook`. Raises a LabError
    that names the cell if one fails."""
    try:
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ModuleNotFoundError:
        raise LabError("Expected nbclient, found none. `pip install -e .[dev]`.") from None
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(work)}},
    )
    client.km = client.create_kernel_manager()
    # without folders of kernels, `python3` is this Python, whatever this machine has registered
    client.km.kernel_spec_manager.kernel_dirs = []  # type: ignore[union-attr]
    try:
        client.execute(env=environment(), cleanup_kc=True)
    except CellExecutionError as error:  # its text is a traceback: the last line says what happened
        raise _failure(notebook, name, str(error).strip().splitlines()[-1]) from None
    except (CellTimeoutError, DeadKernelError) as error:  # a preview of the cell follows line 1
        raise _failure(notebook, name, str(error).strip().splitlines()[0]) from None


def _failure(notebook: Any, name: str, message: str) -> LabError:
    began = [c for c in notebook.cells if c.cell_type == "code" and c.execution_count is not None]
    failed = [cell for cell in began if any(o.output_type == "error" for o in cell.outputs)]
    cell = (failed or began or notebook.cells)[-1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message).strip().rstrip(".")
    return LabError(
        f"{name}, cell {cell.id}: expected it to run to its end, found {plain}. Run the notebook "
        "in Jupyter to see where."
    )
