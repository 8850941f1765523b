"""GPTQ and AWQ against least squares and plain rounding, on the real inputs of the bundled models;
what quantizing a whole model changes, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pruned_models import batch, deep, logits, model, rows
from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, text_batches
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.apply import inputs_by_block, quantize_linears
from distill_lab.models.quantization.awq import awq
from distill_lab.models.quantization.clipping import clip_search
from distill_lab.models.quantization.gptq import gptq
from distill_lab.models.quantization.quantize import (
    codes_of,
    dequantize,
    layer_error,
    quantize,
    rounded,
)
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.models.quantization.sensitivity import input_outliers, sensitivity
from distill_lab.run.records import LabError
from distill_lab.run.settings import data_folder

G8 = Scheme(3, per="group", group_size=8)


def correlated(n: int, width: int, seed: int = 0) -> Tensor:
    """Inputs (n, width) that depend on each other, of unequal sizes."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, width, generator=random) @ torch.randn(width, width, generator=random)
    return mixed * torch.logspace(-1, 1, width)[torch.randperm(width, generator=random)]


def gptq_by_least_squares(weight: Tensor, inputs: Tensor, scheme: Scheme) -> Tensor:
    """Codes: after each column, those that are left are the best for what was rounded so far."""
    x, w = inputs.double(), weight.double()
    hessian = x.T @ x
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian)).double()
    plain = quantize(weight, scheme)
    scale, zero_point = plain.scale.double()[:, 0], plain.zero_point.double()[:, 0]
    codes, errors = torch.zeros_like(w), torch.zeros_like(w)
    for j in range(w.shape[1]):
        pull = torch.linalg.solve(hessian[j:, j:], hessian[j:, :j] @ errors[:, :j].T)
        left = w[:, j] - pull.T[:, 0]
        codes[:, j] = codes_of(left, scale, zero_point, scheme)
        errors[:, j] = (codes[:, j] - zero_point) * scale - w[:, j]
    return codes


@pytest.mark.parametrize("scheme", [Scheme(3), Scheme(4, False), Scheme(2)], ids=str)
def test_gptq_makes_the_codes_of_least_squares_after_each_column(scheme):
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    inputs = correlated(40, 12)
    made = gptq(weight, inputs, scheme)
    assert torch.equal(made.codes.double(), gptq_by_least_squares(weight, inputs, scheme))
    assert not torch.equal(made.codes, quantize(weight, scheme).codes)
    assert torch.allclose(made.scale, quantize(weight, scheme).scale)


@pytest.mark.parametrize("scheme", [Scheme(3), G8, Scheme(4, False, "group", 8)], ids=str)
def test_gptq_rounds_where_inputs_have_nothing_to_do_with_each_other(scheme):
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    made, plain = gptq(weight, torch.diag(torch.arange(1.0, 17)), scheme), quantize(weight, scheme)
    assert torch.equal(made.codes, plain.codes)
    assert torch.allclose(made.scale, plain.scale)
    assert torch.equal(made.zero_point, plain.zero_point)
    assert torch.equal(gptq(weight, torch.zeros(3, 16), scheme).codes, plain.codes)  # no inputs


def test_awq_spends_the_steps_where_inputs_are_large():
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(200, 16, generator=torch.Generator().manual_seed(2))
    inputs[:, 5] *= 50
    made, factors = awq(weight, inputs, Scheme(3))
    assert factors.argmax() == 5
    assert torch.allclose(made, rounded(weight * factors, Scheme(3)) / factors)
    plain = rounded(weight, Scheme(3))
    assert layer_error(weight, made, inputs) < 0.7 * layer_error(weight, plain, inputs)
    assert (made - weight)[:, 5].norm() < (plain - weight)[:, 5].norm()


def calibration(which: str) -> tuple[LanguageModel, list[Batch]]:
    """A bundled model with texts of the set that it was trained on."""
    of = model(data_folder() / "tiny_models" / which)
    if which == "sst2":
        lines = (data_folder() / "mini_sst2" / "train.jsonl").read_text("utf-8").splitlines()
        texts = [json.loads(line)["sentence"] for line in lines[:16]]
    else:
        squad = json.loads((data_folder() / "mini_squad" / "train.json").read_text("utf-8"))
        texts = [p["context"] for article in squad["data"][:4] for p in article["paragraphs"][:1]]
    return of, text_batches(of, texts, 8, 48)


@pytest.mark.parametrize("which", ["teacher", "base", "sst2"])
def test_neither_is_worse_than_rounding_on_any_linear_of_the_bundled_models(which):
    of, batches = calibration(which)
    scheme = Scheme(4, per="group", group_size=16) if which == "base" else Scheme(3)
    linears, gains = prunable(of), []
    for block in inputs_by_block(of, batches):
        for name, inputs in block.items():
            weight = linears[name].weight.detach()
            plain = layer_error(weight, rounded(weight, scheme), inputs)
            by_gptq = layer_error(weight, dequantize(gptq(weight, inputs, scheme)), inputs)
            by_awq = layer_error(weight, awq(weight, inputs, scheme)[0], inputs)
            assert by_gptq <= plain, name
            assert by_awq <= plain, name
            gains.append((by_gptq / plain, by_awq / plain))
    assert len(gains) == len(linears)
    assert sorted(gain for gain, _ in gains)[len(gains) // 2] < 0.75  # GPTQ's median
    assert sorted(gain for _, gain in gains)[len(gains) // 2] < 0.99  # AWQ's


# --- whole models --------------------------------------------------------------------------------


def seen(of: LanguageModel, name: str, texts: Sequence[Tensor]) -> Tensor:
    """What enters a linear (n, in), text by text and so without padding."""
    inputs: list[Tensor] = []
    linear: Any = prunable(of)[name]
    handle = linear.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0]))
    for text in texts:
        logits(of, text)
    handle.remove()
    return torch.cat(inputs)


DOWN = "model.layers.2.mlp.down_proj"


def test_rounding_changes_the_linears_of_the_blocks_alone():
    of = deep("llama", tie_word_embeddings=True)
    before = {name: p.clone() for name, p in of.lm.named_parameters()}
    quantize_linears(of, Scheme(4))
    linears = {f"{name}.weight" for name in prunable(of)}
    for name, parameter in of.lm.named_parameters():
        same = rounded(before[name], Scheme(4)) if name in linears else before[name]
        assert torch.equal(parameter, same), name
    embedding, out = of.lm.get_input_embeddings(), of.lm.get_output_embeddings()
    assert embedding.weight is out.weight  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_each_block_is_rounded_for_what_the_rounded_ones_before_it_make(method):
    """Sums in another order may tip a code of GPTQ's, or AWQ's choice between two like factors."""
    scheme, texts = Scheme(3), rows()
    of, by_hand = (deep("qwen2", num_hidden_layers=2) for _ in range(2))
    quantize_linears(of, scheme, method, [batch(texts[:4], 20), batch(texts[4:])])
    for block in range(2):
        names = [name for name in prunable(by_hand) if f".{block}." in name]
        inputs = {name: seen(by_hand, name, texts) for name in names}  # of the block as it was
        for name in names:
            linear, made = prunable(by_hand)[name], prunable(of)[name].weight.data
            weight = linear.weight.data
            if method == "gptq":
                apart = (made - dequantize(gptq(weight, inputs[name], scheme))).abs()
                assert (apart > 1e-3 * weight.abs().max()).float().mean() < 0.02, name
            else:
                best = layer_error(weight, awq(weight, inputs[name], scheme)[0], inputs[name])
                assert layer_error(weight, made, inputs[name]) == pytest.approx(best, rel=0.02)
            linear.weight.data = made


def test_clipping_a_model_clips_each_linear():
    of, dense = deep("llama"), deep("llama")
    quantize_linears(of, Scheme(3), "clip")
    for name, linear in prunable(dense).items():
        made = dequantize(clip_search(linear.weight, Scheme(3)))
        assert torch.equal(prunable(of)[name].weight, made)


def nan() -> LanguageModel:
    of = deep("llama")
    prunable(of)[DOWN].weight.data[0, 0] = float("nan")
    return of


def packed() -> LanguageModel:
    of = deep("llama")
    weight = torch.zeros(1024, 1, dtype=torch.uint8)  # as bitsandbytes keeps 4 bits
    prunable(of)[DOWN].weight = nn.Parameter(weight, requires_grad=False)
    return of


REFUSED = (
    (
        lambda: deep("llama"),
        Scheme(4),
        "rtn",
        "expected one of round, clip, awq, gptq; found 'rtn'",
    ),
    (lambda: deep("llama"), Scheme(4, per="group", group_size=24), "round", "width 32, found 24"),
    (lambda: deep("llama"), Scheme(4), "gptq", "Calibration: expected texts with at least one"),
    (nan, Scheme(4), "round", "expected finite numbers, found NaN"),
    (packed, Scheme(4), "round", f"found {DOWN}.weight packed in torch.uint8"),
)


@pytest.mark.parametrize(("make", "scheme", "method", "said"), REFUSED)
def test_what_is_refused_changes_nothing(make, scheme, method, said):
    of = make()
    before = {name: p.clone() for name, p in of.lm.named_parameters()}
    with pytest.raises(LabError, match=said) as error:
        quantize_linears(of, scheme, method)
    assert "\n" not in str(error.value)
    for name, parameter in of.lm.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num())


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum(-1)


def test_sensitivity_is_the_kl_of_the_logits_with_one_linear_rounded():
    of, texts, scheme = deep("llama"), rows(), Scheme(3)
    before = {name: p.clone() for name, p in of.lm.named_parameters()}
    made = sensitivity(of, [batch(texts[:4], 20), batch(texts[4:])], scheme)
    for name, parameter in of.lm.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert list(made) == list(prunable(of))
    dense = [logits(of, text) for text in texts]
    linear = prunable(of)[DOWN]
    linear.weight.data = rounded(linear.weight.data, scheme)
    expected = torch.cat([kl(p, logits(of, text)) for p, text in zip(dense, texts, strict=True)])
    assert made[DOWN] == pytest.approx(expected.mean().item(), rel=1e-3)
    assert made[DOWN] > 0


def test_outliers_are_the_largest_input_over_the_median_of_real_tokens():
    of, texts = deep("llama"), rows()
    made = input_outliers(of, [batch(texts[:4], 20), batch(texts[4:])])
    inputs = seen(of, DOWN, texts).abs()
    assert made[DOWN] == pytest.approx((inputs.max() / inputs.median()).item(), rel=1e-3)
    assert list(made) == list(prunable(of))
