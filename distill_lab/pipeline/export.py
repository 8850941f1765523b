"""`distill-lab export`: a trained student for use elsewhere, as its adapter, as merged 16-bit
weights, or as GGUF for llama.cpp, which is written here where the layout is Llama's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from distill_lab.models import unsloth_backend
from distill_lab.models.adapters import CONFIG
from distill_lab.models.backend import choose_backend
from distill_lab.models.gguf_file.tensors import layout_problem, left_in_float16
from distill_lab.models.gguf_file.vocabulary import UNNAMED, splitter_name, vocabulary_problem
from distill_lab.models.gguf_file.write import write_gguf
from distill_lab.models.loading import LanguageModel, load_model, save_student
from distill_lab.models.quantization.gguf_blocks import BLOCK
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved
from distill_lab.run.settings import Config, ExportSettings, RuntimeSettings

CONVERTER = "convert_hf_to_gguf.py"


def export(settings: ExportSettings) -> Path:
    """Writes the student of an arm in the form asked for into a new folder, whole or not at all."""
    config = saved(settings.out)
    if config is None:
        raise LabError(
            f"--out {settings.out}: expected the folder of a run, found none. Name one that is."
        )
    student = RunFolder(settings.out).require_model(settings.arm)
    name = f"{settings.arm}-{settings.to}"
    dest = Path(settings.dest) if settings.dest else settings.out / "exports" / name
    if dest.exists():
        raise LabError(
            f"--dest {dest}: expected a folder that is not there yet. Remove it, or name another."
        )
    write = {"adapter": _adapter, "merged": _merged, "gguf": _gguf}[settings.to]
    partial = dest.with_name(f"{dest.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # a kill may have left one
    try:
        write(student, partial, config, settings)
        partial.rename(dest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{settings.arm} as {settings.to}: {dest} ({_megabytes(dest)})")
    return dest


def _megabytes(folder: Path) -> str:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{size / 1e6:,.1f} MB"


def _adapter(student: Path, dest: Path, config: Config, settings: ExportSettings) -> None:
    """As peft saved it; `base_model_name_or_path` in it is the model that it belongs on."""
    if not (student / CONFIG).exists():
        raise LabError(
            f"--to adapter: expected a student with LoRA, found one of which all weights were "
            f"trained ({student}, --models.lora-rank 0). Take --to merged."
        )
    shutil.copytree(student, dest)


def _merged(student: Path, dest: Path, config: Config, settings: ExportSettings) -> None:
    """Plain weights: what transformers, vLLM and others load without peft."""
    model = _in_float32(config, settings)
    dtype = _half(model.lm)
    print(f"weights in {str(dtype).removeprefix('torch.')}, rounded once, after the merge")
    save_student(LanguageModel(model.lm.to(dtype), model.tokenizer, model.name), dest)  # type: ignore[arg-type]


def _in_float32(config: Config, settings: ExportSettings) -> LanguageModel:
    """The merge in float32, on the CPU: in 16 bits it would round the small update of LoRA away,
    weight by weight.
    """
    runtime = RuntimeSettings(backend="transformers", device="cpu", dtype="float32")
    return load_model(settings.arm, config.models, choose_backend(runtime), settings.out)


def _half(lm: Any) -> torch.dtype:
    """float16, the finer of the two, where all weights are within its range."""
    largest = max(parameter.abs().max().item() for parameter in lm.parameters())
    return torch.float16 if largest < torch.finfo(torch.float16).max else torch.bfloat16


def _gguf(student: Path, dest: Path, config: Config, settings: ExportSettings) -> None:
    """One file of the float32 merge; through llama.cpp's converter or Unsloth where one is named,
    or the layout is not known here."""
    converter = settings.converter
    if not converter:
        model = _in_float32(config, settings)
        problem = layout_problem(model) or vocabulary_problem(model.tokenizer)
        if not problem:
            return _written_here(model, dest, settings, Path(config.models.student).name)
        converter = _found_converter(problem)
    _require_converter(converter, settings.type)
    with tempfile.TemporaryDirectory(dir=_made(dest.parent)) as folder:
        merged = Path(folder) / "merged"
        _merged(student, merged, config, settings)
        dest.mkdir()
        gguf = Path(folder) / f"{settings.arm}.gguf"
        if converter == "unsloth":
            gguf = _through_unsloth(merged, Path(folder), settings.type)
        else:
            _convert(converter, merged, gguf, settings.type)
        gguf.rename(dest / f"{settings.arm}.gguf")


def _written_here(model: LanguageModel, dest: Path, settings: ExportSettings, base: str) -> None:
    """The file, and beside it the tokenizer where GGUF cannot say how it splits a text."""
    name = f"{settings.arm} student of {base}"
    write_gguf(model, dest / f"{settings.arm}.gguf", settings.type, name)
    print(f"{settings.type} written here: the layout is Llama's, which needs no llama.cpp")
    if left := left_in_float16(model, settings.type):
        print(f"{len(left)} matrices stay float16: {BLOCK} does not divide their width")
    if splitter_name(model.tokenizer) == UNNAMED:
        model.tokenizer.save_pretrained(dest)
        print(
            "tokenizer.json lies beside it: GGUF has no name for how this tokenizer splits a text, "
            "and llama.cpp would split some texts otherwise"
        )


def _found_converter(problem: str) -> str:
    """llama.cpp's converter on the PATH, for what is not written here."""
    converter = shutil.which(CONVERTER)
    if not converter:
        raise LabError(
            f"--to gguf: expected {problem}; for others llama.cpp's {CONVERTER} is needed, on the "
            "PATH or in --converter. Clone https://github.com/ggml-org/llama.cpp and name the "
            "script; with a GPU `--converter unsloth` lets Unsloth build llama.cpp and use it."
        )
    print(f"written by {converter}: expected {problem}")
    return converter


def _require_converter(converter: str, file_type: str) -> None:
    if converter != "unsloth" and not Path(converter).is_file():
        raise LabError(f"--converter: expected a file, found none at {converter}.")
    if converter != "unsloth" and file_type == "q4_0":
        raise LabError(
            "--type: expected f16 or q8_0 with llama.cpp's converter, which makes no q4_0; found "
            "q4_0. Take one of these, or leave --converter out."
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _convert(converter: str, merged: Path, target: Path, file_type: str) -> None:
    """`auto` keeps the 16 bits of the merged weights, whichever they are."""
    command = [sys.executable, converter, str(merged), "--outfile", str(target)]
    command += ["--outtype", "auto" if file_type == "f16" else file_type]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not target.exists():
        last_line = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise LabError(
            f"{converter}: expected a GGUF file, found that it ended with {done.returncode} and "
            f"said: {last_line}. Its own requirements may be missing from this environment "
            f"({sys.executable})."
        )


def _through_unsloth(merged: Path, folder: Path, file_type: str) -> Path:
    problem = unsloth_backend.problem()
    if problem:
        raise LabError(f"--converter unsloth: expected Unsloth, but {problem}.")
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    unsloth_backend.save_gguf(merged, config["dtype"], folder / "unsloth", file_type)
    files = sorted(folder.rglob("*.gguf"))  # in or beside the folder that it was given
    if len(files) != 1:
        raise LabError(f"--converter unsloth: expected one GGUF file from it, found {len(files)}.")
    return files[0]
