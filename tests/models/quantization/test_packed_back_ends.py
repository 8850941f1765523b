"""torchao's int8 and bitsandbytes' NF4 beside our codes, saved and loaded as a run does. Skipped
where they are not installed; NF4 also computes on a CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_lab.models.backend import Backend, choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization import backends
from distill_lab.models.quantization.apply import quantize_linears
from distill_lab.models.quantization.backends import held_tensors, save_by_back_end
from distill_lab.models.quantization.quantize import quantize
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.pipeline.runner import quiet
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings, data_folder

BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
MODEL = data_folder() / "tiny_models" / "teacher"
IDS = torch.arange(40)[None]
quiet()


def packed(kind: Any, folder: Path, backend: Backend = BACKEND) -> LanguageModel:
    """The bundled model in this back end, as it is loaded again."""
    pytest.importorskip(backends.PACKAGES[kind])
    save_by_back_end(MODEL, kind, backend, folder)
    load(str(MODEL), BACKEND, "teacher").tokenizer.save_pretrained(folder)
    return load(str(folder), backend, "student")


def logits(model: LanguageModel) -> Tensor:
    with torch.no_grad():
        return model.lm(IDS.to(model.lm.device)).logits.cpu()


def plain() -> LanguageModel:
    return load(str(MODEL), BACKEND, "teacher")


def test_int8_has_our_scales_and_codes_and_computes_what_they_stand_for(tmp_path):
    made, ours = packed("int8", tmp_path), plain()
    linears = prunable(ours)
    for name, linear in linears.items():
        theirs: Any = made.lm.get_submodule(name).weight
        codes = quantize(linear.weight, Scheme(8))
        assert torch.equal(theirs.scale.flatten(), codes.scale.flatten()), name
        # torchao multiplies with 1 / scale: of two equally near codes that may be the other one
        differ = theirs.qdata.int() != codes.codes
        halves = (linear.weight / codes.scale)[differ].abs() % 1
        torch.testing.assert_close(halves, torch.full_like(halves, 0.5), rtol=0, atol=1e-4)
        assert differ.float().mean() < 3e-3, name
    quantize_linears(ours, Scheme(8))
    torch.testing.assert_close(logits(made), logits(ours), rtol=0, atol=0.003 * 16)
    assert (logits(made) - logits(plain())).abs().max() > 0.01


def test_nf4_is_the_nearest_of_its_sixteen_values_for_64_weights_a_scale(tmp_path):
    made, ours = packed("nf4", tmp_path), plain()
    from bitsandbytes import functional  # type: ignore[import-not-found]

    values = functional.get_4bit_type("nf4", device="cpu").float()  # (16)
    with torch.no_grad():
        for name, linear in prunable(ours).items():
            theirs: Any = made.lm.get_submodule(name).weight
            blocks = linear.weight.reshape(-1, 64)
            scale = blocks.abs().amax(1, keepdim=True)
            nearest = (blocks / scale)[..., None].sub(values).abs().argmin(-1)
            linear.weight.copy_((values[nearest] * scale).reshape(linear.weight.shape))
            found = functional.dequantize_4bit(theirs.data, theirs.quant_state).float()
            assert (found - linear.weight).abs().gt(1e-6).float().mean() < 1e-3, name
    # a CPU that multiplies bfloat16 natively does so here, whatever the compute dtype
    torch.testing.assert_close(logits(made), logits(ours), rtol=0, atol=0.01 * 16)


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8 + 32 / 128), ("nf4", 4 + 32 / 64)])
def test_what_a_model_holds_in_memory_is_counted_packed(kind, bits, tmp_path):
    made, ours = packed(kind, tmp_path), plain()
    n = sum(linear.weight.numel() for linear in prunable(ours).values())
    rest = sum(p.numel() for p in ours.lm.parameters()) - n
    held = sum(t.numel() * t.element_size() for t in held_tensors(made.lm))
    assert held == pytest.approx(4 * rest + n * bits / 8, rel=0.02)
    file = (tmp_path / "model.safetensors").stat().st_size
    assert file == pytest.approx(held, rel=0.03)
    assert sum(t.numel() * 4 for t in held_tensors(ours.lm)) == 4 * (n + rest)


def test_a_packed_model_is_not_pruned_or_quantized_again(tmp_path):
    with pytest.raises(LabError, match="expected weights of 16 or 32 bits"):
        prunable(packed("int8", tmp_path))


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_back_end_that_is_not_installed_is_named(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=f"{backends.PACKAGES[kind]} is not installed"):
        save_by_back_end(MODEL, kind, BACKEND, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_on_a_gpu_it_is_the_model_that_it_is_on_a_cpu(kind, tmp_path):
    gpu = choose_backend(RuntimeSettings(device="cuda", dtype="float32"))
    there, here = packed(kind, tmp_path / "gpu", gpu), packed(kind, tmp_path / "cpu")
    assert there.lm.device.type == "cuda"
    torch.testing.assert_close(logits(there), logits(here), rtol=1e-2, atol=1e-2)
