"""Stage 2: the dense model in each of the ways, written as it would be shipped; and which of its
linears can stand few bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_lab.models.backend import Backend
from distill_lab.models.gguf_file.tensors import layout_problem
from distill_lab.models.gguf_file.vocabulary import vocabulary_problem
from distill_lab.models.gguf_file.write import write_gguf
from distill_lab.models.loading import LanguageModel, load, save_student
from distill_lab.models.pruning.calibration import Batch
from distill_lab.models.quantization.apply import quantize_linears, save_packed
from distill_lab.models.quantization.backends import problem, save_by_back_end
from distill_lab.models.quantization.sensitivity import sensitivity
from distill_lab.pipeline.pruning.prune import calibration
from distill_lab.pipeline.pruning.training import plain_backend, write_whole
from distill_lab.pipeline.quantizing.records import QuantizationFolder, QuantizedModel, models
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.pipeline.quantizing.ways import Way, parse
from distill_lab.run.records import LabError, write_text

Texts = Callable[[LanguageModel], list[Batch]]


def run(config: QuantizationConfig, out: Path) -> bool:
    """Writes quantized/<way>/model, and sensitivity.json. False if all were there."""
    folder = QuantizationFolder(out)
    dense = folder.require_model(QuantizedModel())
    asked = [model for model in models(config) if model.way and not model.recovery]
    todo = [model for model in asked if not folder.model(model).exists()]
    asks = config.quantize.n_sensitivity > 0 and not folder.sensitivity.exists()
    if not todo and not asks:
        return False
    backend = plain_backend(config.runtime, out)
    model = load(str(dense), backend, "base")
    require_finite(model)
    left_out = leave_out([each.way for each in asked if each.way], model, folder)
    texts = partial(calibration, n=config.quantize.n_calibration, config=config, folder=folder)
    here = [model for model in todo if model.name not in left_out]
    with tqdm(here, desc="quantize", unit="model") as bar:
        for each in bar:
            bar.set_postfix_str(each.name)
            assert each.way is not None
            quantize_into(folder.of(each), dense, each.way, backend, texts)
    if asks:
        _find_sensitivity(model, config, folder)
    return bool(here) or asks


def quantize_into(place: Path, dense: Path, way: Way, backend: Backend, texts: Texts) -> None:
    """Writes the model that lies in the folder `dense` in this way into `place`/model."""
    model = load(str(dense), replace(backend, dtype=way.dtype or backend.dtype), "base")

    def write(partial: Path) -> None:
        if way.kind == "float":
            save_student(model, partial)
        elif way.kind == "codes":
            _write_codes(model, way, texts, partial)
        else:
            if way.kind == "gguf":
                write_gguf(model, partial / "model.gguf", _any(way.text), dense.parent.name)
            else:
                save_by_back_end(dense, _any(way.text), backend, partial)
            model.tokenizer.save_pretrained(partial)  # GGUF does not say how a text is split

    write_whole(place, write)


def _write_codes(model: LanguageModel, way: Way, texts: Texts, folder: Path) -> None:
    batches = texts(model) if way.calibrated else []
    codes = quantize_linears(model, way.scheme(), _any(way.method), batches)
    save_packed(model, codes, folder)


def require_finite(model: LanguageModel) -> None:
    """LabError for a weight that is no number: no code stands for it."""
    for name, parameter in model.lm.named_parameters():
        if not parameter.isfinite().all():
            raise LabError(
                f"Model {model.name!r}: expected finite weights, found NaN or infinity in {name}. "
                "Take another model, or train it again with a lower learning rate."
            )


def why_not(way: Way, model: LanguageModel) -> str | None:
    """Why a model cannot be kept in this way here; None where it can."""
    if way.kind == "back end":
        return problem(_any(way.text))
    if way.kind == "gguf":
        found = layout_problem(model) or vocabulary_problem(model.tokenizer)
        return found and f"GGUF is written here for {found}"
    return None


def leave_out(
    ways: Sequence[Way], model: LanguageModel, folder: QuantizationFolder
) -> dict[str, str]:
    """Prints and notes the ways that cannot be had."""
    reasons = {way.text: why_not(way, model) for way in ways}
    left_out = {name: why for name, why in reasons.items() if why}
    for name, why in left_out.items():
        print(f"quantize: {name} is left out: {why}", flush=True)
    folder.run.write_note("left_out", left_out)
    return left_out


def _find_sensitivity(
    model: LanguageModel, config: QuantizationConfig, folder: QuantizationFolder
) -> None:
    settings = config.quantize
    batches = calibration(model, settings.n_sensitivity, config, folder)
    scheme = parse(settings.sensitivity).scheme()
    found = sensitivity(model, batches, scheme, "quantize each linear alone")
    write_text(folder.sensitivity, json.dumps(found, indent=1) + "\n")


def _any(value: Any) -> Any:
    return value
