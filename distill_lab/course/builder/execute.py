"""Runs a notebook as a student with a laptop would: this Python, no GPU, no network, `tiny`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import distill_lab
from distill_lab.run.records import LabError

SECONDS_A_CELL = 600  # a cell that takes longer has hung
_NOWHERE = "http://127.0.0.1:9"  # a proxy that is not there: what asks the network fails at once


def environment() -> dict[str, str]:
    """The environment of the kernel. Progress bars are off: they would differ each time."""
    kept = {name: value for name, value in os.environ.items() if not _disturbs(name)}
    package = str(Path(distill_lab.__file__).parent.parent)
    path = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, where there are no ipywidgets
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
    }


def _disturbs(name: str) -> bool:
    """What would choose another place, another profile, another picture or another notebook."""
    disturbing = ("DISTILL_LAB_RUNS", "MPLBACKEND", "NO_PROXY", "JPY_SESSION_NAME")
    return name in disturbing or name.startswith("COLAB_")


def run(notebook: Any, name: str, work: Path) -> None:
    """Runs all cells, in the folder `work`, and keeps their outputs in `notebook`. LabError names
    the cell that fails."""
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
    # no folder of kernels: then `python3` is this Python, whatever is registered on the machine
    client.km.kernel_spec_manager.kernel_dirs = []  # type: ignore[union-attr]
    try:
        client.execute(env=environment(), cleanup_kc=True)
    except CellExecutionError as error:  # a traceback
        raise LabError(_failure(notebook, name, str(error).strip().splitlines()[-1])) from None
    except (CellTimeoutError, DeadKernelError) as error:  # then a preview of the cell
        raise LabError(_failure(notebook, name, str(error).strip().splitlines()[0])) from None


def _failure(notebook: Any, name: str, said: str) -> str:
    began = [c for c in notebook.cells if c.cell_type == "code" and c.execution_count is not None]
    failed = [cell for cell in began if any(o.output_type == "error" for o in cell.outputs)]
    cell = (failed or began or notebook.cells)[-1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said).strip().rstrip(".")
    return (
        f"{name}, cell {cell.id}: expected it to run to its end, found {plain}. Run the notebook "
        "in Jupyter to see where."
    )
