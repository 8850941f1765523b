"""Our quantized models on disk: the bits by hand, what is read back, the bytes, and bad files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from pruned_models import batch, deep, rows
from safetensors.torch import load_file
from torch import Tensor

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load, save_student
from distill_lab.models.pruning.layout import distinct_parameters
from distill_lab.models.quantization.apply import quantize_linears, save_packed
from distill_lab.models.quantization.packed import FILE, read_packed, write_packed
from distill_lab.models.quantization.quantize import Quantized, dequantize, quantize
from distill_lab.models.quantization.scheme import Scheme, size_bytes
from distill_lab.models.quantization.sizes import model_bytes
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings

BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
SCHEMES = (
    Scheme(2), Scheme(3, False), Scheme(4, per="group", group_size=4), Scheme(5, False, "column"),
    Scheme(8), Scheme(8, per="tensor"), Scheme(16), Scheme(16, False, "group", 8),
)  # fmt: skip


def weights(n_out: int = 5, n_in: int = 8) -> Tensor:
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(0))


def stored(made: Quantized, folder: Path) -> Tensor:
    """What is read of it again."""
    write_packed({}, {"w": made}, folder)
    return (read_packed(folder) or {})["w"]


def test_codes_of_three_bits_stand_bit_by_bit_as_by_hand(tmp_path):
    #            −4   −3    0    3   −1    2    1    0  less −4:  0 1 4 7 3 6 5 4
    codes = torch.tensor([[-4, -3, 0, 3, -1, 2, 1, 0]], dtype=torch.int32)
    made = Quantized(codes, torch.ones(1, 1), torch.zeros(1, 1), Scheme(3))
    write_packed({}, {"w": made}, tmp_path)
    expected = [0b00000110, 0b01110111, 0b10101100]
    assert load_file(tmp_path / FILE)["w.codes"].tolist() == expected


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_what_is_read_is_what_the_codes_stand_for_with_scales_in_float16(scheme, tmp_path):
    made = quantize(weights(), scheme)
    halved = Quantized(made.codes, made.scale.half().float(), made.zero_point, scheme)
    assert torch.equal(stored(made, tmp_path), dequantize(halved))
    size = sum(t.numel() * t.element_size() for t in load_file(tmp_path / FILE).values())
    assert size == size_bytes((5, 8), scheme)


def test_a_row_of_zeros_stays_zeros_and_a_scale_beyond_float16_is_refused(tmp_path):
    zeros = weights()
    zeros[1] = 0
    for symmetric in (True, False):
        assert not stored(quantize(zeros, Scheme(4, symmetric)), tmp_path)[1].any()
    (tmp_path / FILE).unlink()
    with pytest.raises(LabError, match=r"w: expected scales of at most 65,504"):
        write_packed({}, {"w": quantize(1e7 * weights(), Scheme(4))}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["round", "awq", "gptq"])
def test_a_model_is_loaded_as_it_was_quantized_and_weighs_what_is_predicted(method, tmp_path):
    scheme = Scheme(4, per="group", group_size=8)
    lm = deep("llama")
    before = {name: p.clone() for name, p in distinct_parameters(lm).items()}
    codes = quantize_linears(lm, scheme, method, [batch(rows())])
    save_packed(lm, codes, tmp_path)
    made = load(str(tmp_path), BACKEND, "student")
    for name, parameter in distinct_parameters(made).items():
        quantized = name.removesuffix(".weight") in codes
        assert torch.equal(parameter, before[name]) != quantized, name
        torch.testing.assert_close(parameter, distinct_parameters(lm)[name], rtol=2e-3, atol=1e-5)
    assert _tied(made) == _tied(lm)
    tensors = load_file(tmp_path / FILE)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    factors = sum(2 * t.numel() for name, t in tensors.items() if name.endswith(".factors"))
    assert size - factors == model_bytes(lm, scheme)
    assert (factors > 0) == (method == "awq")


def _tied(made: LanguageModel) -> bool:
    lm: Any = made.lm
    return lm.get_output_embeddings().weight is lm.get_input_embeddings().weight


def test_a_broken_file_and_another_models_are_refused_in_one_line(tmp_path):
    lm = deep("llama")
    save_packed(lm, quantize_linears(lm, Scheme(8)), tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabError, match="expected the weights of a quantized model") as error:
        load(str(tmp_path), BACKEND, "student")
    assert "\n" not in str(error.value)
    write_packed({"x": torch.ones(2)}, {}, tmp_path)
    with pytest.raises(LabError, match="expected the weights of a llama model"):
        load(str(tmp_path), BACKEND, "student")
    made = quantize(weights(), Scheme(8))
    write_packed({}, {"w": dataclasses.replace(made, scale=made.scale[:3])}, tmp_path)
    with pytest.raises(LabError, match="found RuntimeError in reading it"):  # 3 scales for 5 rows
        read_packed(tmp_path)
    save_student(lm, tmp_path / "plain")
    assert read_packed(tmp_path / "plain") is None
