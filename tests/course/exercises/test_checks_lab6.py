"""Lab 6's exercises: ours agree with torch and with tables by hand, honest oddities keep their
points, and the toys behave as the models that they stand for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab6.blocks import drop_blocks
from distill_lab.course.exercises.lab6.influence import block_influence
from distill_lab.course.exercises.lab6.magnitude import magnitude_mask
from distill_lab.course.exercises.lab6.sparsity import count_sparsity
from distill_lab.course.exercises.lab6.speed import predict_decode_speed
from distill_lab.course.exercises.lab6.toys.model import ToyDecoder, toy_decoder
from distill_lab.course.exercises.lab6.wanda import wanda_mask

SEEDS = range(5)

# -- ours


def test_the_tensors_mask_is_that_of_torch():
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    linear: Any = nn.Linear(8, 6)
    linear.weight.data = weight.clone()
    prune.l1_unstructured(linear, "weight", amount=0.25)
    assert torch.equal(magnitude_mask(weight, 0.25, "tensor"), linear.weight_mask.bool())


def test_wandas_mask_is_locuslabs_arithmetic():
    draw = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(6, 8, generator=draw), torch.randn(3, 5, 8, generator=draw)
    counts = torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] * 4 + [0]])
    scaler_row = inputs[counts.bool()].norm(dim=0) ** 2 / len(inputs)
    metric = weight.abs() * scaler_row.reshape(1, -1).sqrt()
    mask = torch.zeros_like(metric, dtype=torch.bool)
    mask.scatter_(1, metric.sort(dim=-1, stable=True)[1][:, :4], True)
    assert torch.equal(wanda_mask(weight, inputs, counts, 0.5), ~mask)


def test_influence_by_hand():
    before, after = (
        torch.tensor([[[1.0, 0.0], [9.0, 9.0]]]),
        torch.tensor([[[0.0, 2.0], [1.0, 1.0]]]),
    )
    normed, counts = after * 5, torch.tensor([[1, 0]])
    assert block_influence([before, normed], after, counts) == pytest.approx([1.0])
    assert block_influence([before, normed], after, torch.tensor([[1, 1]])) == pytest.approx([0.5])


def test_speed_by_hand():
    assert predict_decode_speed([4, 2], [0.05, 0.03], 4, 2) == pytest.approx(5 / 3)


# -- the toys


def test_a_toy_counts_its_tied_head_once():
    tied, apart = (toy_decoder(2, 0, tied=tied) for tied in (True, False))
    embedding = tied.model.embed_tokens.weight.numel()
    counts = [count_sparsity(model, model.linears())[2] for model in (tied, apart)]
    assert counts[1] - counts[0] == embedding


def logits(model: ToyDecoder) -> torch.Tensor:
    return model(torch.tensor([1, 5, 2, 7]))


def one_by_one(model: ToyDecoder) -> torch.Tensor:
    cache = [None] * model.config.num_hidden_layers
    return torch.cat([model(token[None], cache) for token in torch.tensor([1, 5, 2, 7])])


@torch.no_grad()
def test_a_toy_says_the_same_with_a_cache_and_another_toy_something_else():
    model = toy_decoder(4, 1)
    torch.testing.assert_close(one_by_one(model), logits(model))
    assert not torch.allclose(logits(toy_decoder(4, 2)), logits(model))


@torch.no_grad()
def test_a_toy_whose_books_were_not_mended_breaks_as_a_model_of_transformers_does():
    whole = toy_decoder(4, 1)
    model = drop_blocks(copy.deepcopy(whole), [1])
    torch.testing.assert_close(one_by_one(model), logits(model))
    model.config.num_hidden_layers = 2
    with pytest.raises(IndexError):
        one_by_one(model)
    model.config.num_hidden_layers = 3
    model.model.layers[1].self_attn.layer_idx = 0  # it reads what its neighbour has kept
    with pytest.raises((AssertionError, RuntimeError)):
        torch.testing.assert_close(one_by_one(model), logits(model))


# -- answers of other kinds, which are right


def by_threshold_and_count(weight, sparsity, group):
    """In NumPy; of equal magnitudes those that come last go."""
    sizes = np.abs(np.asarray(weight, dtype=np.float64))
    sizes = sizes.reshape(1, -1) if group == "tensor" else sizes
    mask = np.ones_like(sizes)
    for row, kept in zip(sizes, mask, strict=True):
        kept[np.lexsort((-np.arange(len(row)), row))[: int(sparsity * len(row))]] = 0
    return mask.reshape(weight.shape)


def by_topk_in_float64(weight, sparsity, group):
    sizes = weight.double().abs().reshape(1, -1) if group == "tensor" else weight.double().abs()
    best = sizes.topk(sizes.shape[1] - round(sparsity * sizes.shape[1]), dim=1).indices
    return torch.zeros(sizes.shape, dtype=torch.uint8).scatter_(1, best, 1).view(weight.shape)


def in_place(weight, sparsity, group):
    """On the weights that it was given."""
    flat = [weight.view(-1)] if group == "tensor" else list(weight)
    for row in flat:
        cut = sorted(range(len(row)), key=lambda n: abs(row[n].item()))[
            : round(sparsity * len(row))
        ]
        row[cut] = 0
    return weight != 0


def token_by_token(weight, inputs, attention_mask, sparsity):
    """Sums of squares, then one root of their mean: the same order as the norm's."""
    squares = np.zeros(inputs.shape[-1])
    for text, counts in zip(inputs.numpy(), attention_mask.tolist(), strict=True):
        for token, is_token in zip(text, counts, strict=True):
            squares += token.astype(np.float64) ** 2 if is_token else 0
    score = np.abs(weight.numpy()) * np.sqrt(squares / attention_mask.sum().item())
    order = np.argsort(score, axis=1)
    mask = np.ones(score.shape, dtype=bool)
    np.put_along_axis(mask, order[:, : round(sparsity * score.shape[1])], False, axis=1)
    return mask.tolist()


def padding_set_to_zero(weight, inputs, attention_mask, sparsity):
    norms = (inputs * attention_mask[..., None]).pow(2).sum((0, 1)).sqrt()
    score = weight.abs() * norms
    worst = score.kthvalue(round(sparsity * score.shape[1]), dim=1, keepdim=True).values
    return score > worst


def group_by_group(scores, n, m):
    rows = []
    for row in scores.tolist():
        kept = []
        for start in range(0, len(row), m):
            group = row[start : start + m]
            best = sorted(range(m), key=lambda i: (-group[i], -i))[:n]  # of equal ones the last
            kept += [int(i in best) for i in range(m)]
        rows.append(kept)
    return rows


def by_state_dict(model, linears):
    """By the memory that a matrix lies in."""
    seen = {}
    for weight in model.state_dict(keep_vars=True).values():
        seen[weight.data_ptr()] = weight
    values = torch.cat([w.flatten() for w in seen.values()])
    inside = torch.cat([layer.weight.flatten() for layer in linears.values()])
    n = len(values)
    return [1 - inside.count_nonzero() / len(inside), (n - values.count_nonzero()) / n, n]


def by_dot_products(hidden_states, before_norm, attention_mask):
    states = torch.stack([*hidden_states[:-1], before_norm]).double()
    a, b = states[:-1], states[1:]
    cosine = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return 1 - (cosine * attention_mask).sum((1, 2)) / attention_mask.sum()


def a_copy(model, indices):
    """The model that was given stays as it was."""
    model = copy.deepcopy(model)
    n = len(model.model.layers)
    assert not {0, n - 1} & set(indices)
    for index in sorted(indices, reverse=True):
        del model.model.layers[index]
    for place, block in enumerate(model.model.layers):
        block.self_attn.layer_idx = place
    model.config.num_hidden_layers = n - len(indices)
    return model


def nothing_returned(model, indices):
    drop_blocks(model, indices)


def gradients_masked_too(loss, optimizer, weights, masks):
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    for name, weight in weights.items():
        weight.grad *= masks[name]
    optimizer.step()
    for name, weight in weights.items():
        weight.data[~masks[name]] = 0


def data_replaced(loss, optimizer, weights, masks):
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    for name in masks:
        weights[name].data = weights[name].data * masks[name].float()


def normal_equations(blocks, seconds, dense, kept):
    x, y = np.mean(blocks), np.mean(seconds)
    slope = sum((n - x) * (t - y) for n, t in zip(blocks, seconds, strict=True))
    slope /= sum((n - x) ** 2 for n in blocks)
    return (y + slope * (dense - x)) / (y + slope * (kept - x))


RIGHT = (
    *(("lab6.magnitude_mask", f) for f in (by_threshold_and_count, by_topk_in_float64, in_place)),
    *(("lab6.wanda_mask", f) for f in (token_by_token, padding_set_to_zero)),
    ("lab6.nm_mask", group_by_group),
    ("lab6.count_sparsity", by_state_dict),
    ("lab6.block_influence", by_dot_products),
    *(("lab6.drop_blocks", f) for f in (a_copy, nothing_returned)),
    *(("lab6.masked_step", f) for f in (gradients_masked_too, data_replaced)),
    ("lab6.predict_decode_speed", normal_equations),
)


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(n, f, id=f"{n}: {f.__name__}") for n, f in RIGHT]
)
def test_an_honest_oddity_keeps_all_points(name, function):
    for seed in SEEDS:
        outcome = judge(find(name), function, seed)
        assert outcome.state == "right", report(find(name), outcome)
