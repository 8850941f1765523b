"""Whole numbers for weights: against tables by hand, the nearest of all values, and torchao."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_lab.models.quantization.clipping import clip_search
from distill_lab.models.quantization.fake import fake_quantize
from distill_lab.models.quantization.quantize import dequantize, quantize, rounded
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.run.records import LabError

SCHEMES = [
    Scheme(bits, symmetric, per, 8 if per == "group" else 0)
    for bits, symmetric, per in itertools.product(
        (2, 3, 4, 8), (True, False), ("tensor", "row", "column", "group")
    )
]


def weights(seed: int = 0, *shape: int) -> Tensor:
    """Rows and columns of unequal size, so that it matters which of them share a scale."""
    random = torch.Generator().manual_seed(seed)
    made = torch.randn(*(shape or (6, 16)), generator=random)
    return made * torch.logspace(-2, 2, len(made))[:, None]


def line(*values: float) -> Tensor:
    return torch.tensor([values])


TABLE = (
    # bits, symmetric, weights, scale, zero point, codes
    (4, True, (-7.5, 0.0, 3.75), 1.0, 0, (-8, 0, 4)),
    (4, True, (7.5, 0.4, -0.6), 1.0, 0, (7, 0, -1)),  # 8 would be no code
    (2, True, (-3.0, 3.0, 0.9, 1.1), 2.0, 0, (-2, 1, 0, 1)),
    (8, True, (-255.0, 255.0, 3.0, 5.0), 2.0, 0, (-128, 127, 2, 2)),  # ties to even
    (4, False, (0.0, 15.0, 7.2), 1.0, 0, (0, 15, 7)),
    (4, False, (-5.0, 10.0, 0.0), 1.0, 5, (0, 15, 5)),
    (4, False, (5.0, 30.0), 2.0, 0, (2, 15)),  # 0 stays a code where all are above it
    (4, False, (-30.0, -5.0), 2.0, 15, (0, 13)),  # and where all are below
    (8, False, (-1.0, 254.0), 1.0, 1, (0, 255)),
    (2, False, (-1.0, 2.0, 0.4, 0.6), 1.0, 1, (0, 3, 1, 2)),
)


@pytest.mark.parametrize(("bits", "symmetric", "values", "scale", "zero_point", "codes"), TABLE)
def test_scales_zero_points_and_codes_are_those_of_a_table(
    bits, symmetric, values, scale, zero_point, codes
):
    made = quantize(line(*values), Scheme(bits, symmetric))
    assert made.scale.tolist() == [[scale]]
    assert made.zero_point.tolist() == [[zero_point]]
    assert made.codes.tolist() == [list(codes)]
    assert dequantize(made).tolist() == [[(code - zero_point) * scale for code in codes]]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_each_weight_becomes_the_nearest_of_all_values_that_its_scale_has(scheme):
    weight = weights()
    made = quantize(weight, scheme)
    least, greatest = scheme.code_range
    codes = torch.arange(least, greatest + 1)
    values = (codes - made.zero_point) * made.scale  # (G, 2^bits)
    rows = scheme.sharing(weight)  # (G, n)
    nearest = (rows[..., None] - values[:, None]).abs().amin(-1)  # (G, n)
    error = (scheme.sharing(dequantize(made)) - rows).abs()
    assert torch.allclose(error, nearest, rtol=1e-4, atol=0)
    assert (error <= made.scale * 0.5001).all()
    assert all(len(row.unique()) <= 2**scheme.bits for row in scheme.sharing(made.codes))


def groups_by_hand(per: str) -> list[list[tuple[int, int]]]:
    """Which weights of a (2, 4) share a scale, groups of 2."""
    cells = [[(i, j) for j in range(4)] for i in range(2)]
    return {
        "tensor": [cells[0] + cells[1]],
        "row": cells,
        "column": [[(0, j), (1, j)] for j in range(4)],
        "group": [cells[0][:2], cells[0][2:], cells[1][:2], cells[1][2:]],
    }[per]


@pytest.mark.parametrize("per", ["tensor", "row", "column", "group"])
def test_the_weights_that_share_a_scale_are_those_of_the_scheme(per):
    weight = torch.tensor([[1.0, -3.75, 30.0, 4.0], [480.0, -60.0, 7.0, 7.5]])
    scheme = Scheme(4, per=per, group_size=2 if per == "group" else 0)
    groups = groups_by_hand(per)
    largest = [max(abs(weight[cell].item()) for cell in group) for group in groups]
    made = quantize(weight, scheme)
    assert made.scale[:, 0].tolist() == pytest.approx([size / 7.5 for size in largest])
    assert scheme.n_scales((2, 4)) == len(groups) == len(made.scale)
    back = dequantize(made)
    for group, size in zip(groups, largest, strict=True):
        for cell in group:
            code = max(-8, min(7, round(weight[cell].item() / (size / 7.5))))
            assert made.codes[cell] == code
            assert back[cell].item() == pytest.approx(code * size / 7.5)


def test_the_wrong_axis_costs_more_where_rows_differ_in_size():
    weight = weights()
    errors = {
        per: ((rounded(weight, Scheme(8, per=per)) - weight).norm(dim=1) / weight.norm(dim=1)).max()
        for per in ("row", "column", "tensor")
    }
    assert errors["row"] * 50 < min(errors["column"], errors["tensor"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_of_zeros_has_a_finite_scale_and_stays_zero(dtype, symmetric):
    weight = weights(1, 3, 8).to(dtype)
    weight[1] = 0
    made = quantize(weight, Scheme(4, symmetric))
    assert made.scale.isfinite().all()
    assert (made.scale > 0).all()
    assert (dequantize(made)[1] == 0).all()
    back = rounded(weight, Scheme(4, symmetric))
    assert back.dtype == dtype
    assert back.isfinite().all()


REFUSED = (
    (lambda: Scheme(0), "Bits: expected a whole number from 2 to 16, found 0."),
    (lambda: Scheme(1), "found 1."),
    (lambda: Scheme(17), "found 17."),
    (lambda: Scheme(4.0), "found 4.0."),  # type: ignore[arg-type]
    (lambda: Scheme(True), "found True."),
    (lambda: Scheme(4, per="channel"), "per tensor, row, column, group; found 'channel'"),  # type: ignore[arg-type]
    (lambda: Scheme(4, per="group"), "expected a group size with per='group'"),
    (lambda: Scheme(4, group_size=32), "found 32 with per='row'"),
    (lambda: quantize(weights(), Scheme(4, per="group", group_size=5)), "divides .* 16, found 5"),
    (lambda: quantize(line(1.0, float("nan")), Scheme()), "expected finite numbers, found NaN"),
    (lambda: quantize(line(1.0, float("inf")), Scheme()), "expected finite numbers"),
    (lambda: quantize(torch.ones(4), Scheme()), r"expected a matrix \(out, in\) of floats"),
    (lambda: quantize(torch.ones(4, 4).byte(), Scheme()), "found torch.uint8"),
)


@pytest.mark.parametrize(("call", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_refused_is_said_in_one_line(call, said):
    with pytest.raises(LabError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


# --- torchao -----------------------------------------------------------------------------------

TORCHAO = [
    (Scheme(8), (1, 16)),
    (Scheme(8, per="tensor"), (6, 16)),
    (Scheme(4, per="group", group_size=8), (1, 8)),
    (Scheme(4, False), (1, 16)),
    (Scheme(3, False, "group", 4), (1, 4)),
]


@pytest.mark.parametrize(("scheme", "block"), TORCHAO, ids=str)
def test_scales_zero_points_and_codes_are_torchaos(scheme, block):
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    weight, (least, greatest) = weights(), scheme.code_range
    kind = (
        primitives.MappingType.SYMMETRIC if scheme.symmetric else primitives.MappingType.ASYMMETRIC
    )
    dtype = torch.int8 if scheme.symmetric else torch.uint8
    scale, zero_point = primitives.choose_qparams_affine(
        weight, kind, block, dtype, quant_min=least, quant_max=greatest
    )
    codes = primitives.quantize_affine(weight, block, scale, zero_point, dtype, least, greatest)
    made = quantize(weight, scheme)
    assert torch.equal(made.scale.flatten(), scale.flatten())
    assert torch.equal(made.zero_point.flatten().int(), zero_point.flatten().int())
    assert torch.equal(made.codes, codes.int())


def test_int8_per_row_is_what_torchaos_int8_weight_only_makes():
    quantization = pytest.importorskip("torchao.quantization")
    linear = nn.Linear(16, 6, bias=False)
    linear.weight.data = weights()
    model: Any = nn.Sequential(linear)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    made, theirs = quantize(weights(), Scheme(8)), model[0].weight
    assert torch.equal(made.codes, theirs.qdata.int())
    assert torch.equal(made.scale.flatten(), theirs.scale.flatten())
    assert torch.equal(dequantize(made), theirs.dequantize())


# --- fake quantization -------------------------------------------------------------------------


def test_the_forward_pass_is_rounded_and_the_gradient_goes_straight_through():
    weight = weights().requires_grad_()
    scheme = Scheme(4)
    made = fake_quantize(weight, scheme)
    assert torch.equal(made, rounded(weight, scheme))
    assert not torch.equal(made, weight)
    upstream = torch.randn(made.shape, generator=torch.Generator().manual_seed(2))
    made.backward(upstream)
    assert torch.equal(weight.grad, upstream)  # type: ignore[arg-type]


def test_training_through_it_finds_weights_that_round_better():
    """Inputs that depend on each other let one weight make up for another, which rounding alone
    cannot."""
    random = torch.Generator().manual_seed(3)
    inputs = torch.randn(64, 4, generator=random) @ torch.randn(4, 16, generator=random)
    target = torch.randn(6, 16, generator=random)
    weight, scheme = target.clone().requires_grad_(), Scheme(3)

    losses = []
    for _ in range(60):
        made = fake_quantize(weight, scheme)
        loss = (inputs @ (made - target).T).square().mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        losses.append(loss.item())
        weight.data -= 1e-2 * gradient
    assert min(losses) < 0.5 * losses[0]


# --- clipping ----------------------------------------------------------------------------------


def error(made: Tensor, weight: Tensor) -> Tensor:
    return (made - weight).square().sum(1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_clipping_is_the_best_of_all_that_were_tried_for_each_row(symmetric):
    weight = weights(4, 5, 64)
    weight[2, 7] *= 30
    scheme = Scheme(3, symmetric)
    tried = [
        error(dequantize(quantize(weight, scheme, s)), weight) for s in torch.linspace(1, 0.2, 9)
    ]
    made = dequantize(clip_search(weight, scheme, n_steps=9))
    assert torch.allclose(error(made, weight), torch.stack(tried).amin(0), rtol=1e-5)
    assert (error(made, weight) <= error(rounded(weight, scheme), weight)).all()


def test_an_outlier_that_took_all_steps_is_clipped_and_the_others_have_them_again():
    weight = weights(5, 1, 256) / weights(5, 1, 256).abs().max()
    weight[0, 0] = 8.0
    others = slice(1, None)
    plain, clipped = (
        rounded(weight, Scheme(4)),
        dequantize(clip_search(weight, Scheme(4), 40, 0.05)),
    )
    assert error(clipped[:, others], weight[:, others]) < error(plain[:, others], weight[:, others])
    assert clipped[0, 0] < weight[0, 0]
    assert error(clipped, weight) < error(plain, weight)


def test_nothing_is_clipped_where_it_does_not_pay():
    weight = line(*(float(v) for v in range(-8, 8)))
    made = clip_search(weight, Scheme(4, False))
    assert torch.equal(dequantize(made), weight)


def test_messages_are_whole_sentences():
    with pytest.raises(LabError) as error:
        Scheme(1)
    assert re.fullmatch(r"Bits: expected .*, found 1\. Take 8 or 4\.", str(error.value))
