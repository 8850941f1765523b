"""What one submission may take, all its processes together, and the environment they get."""

from __future__ import annotations

import os
import site
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    seconds: int = 300
    memory_bytes: int = 6_000_000_000
    folder_bytes: int = 500_000_000
    file_bytes: int = 100_000_000
    processes: int = 20
    cell_seconds: float = 30.0
    call_seconds: float = 10.0


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the grader's own: no tokens, no network, no settings of Jupyter or Python."""
    home = str(folder / "home")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "HOME": home,
        "TMPDIR": home,
        "MPLCONFIGDIR": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "JUPYTER_PATH": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
