"""Wrong answers to Lab 6 as students write them, as in `wrong_answers`: the exercise, what they
did, the function, and words of what they must be told. The checks' own mutants are others."""

# pyright: reportOptionalMemberAccess=false, reportUnusedExpression=false

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from wrong_answers import collector

WRONG, wrong = collector()


def lowest_cut(scores, k):
    return torch.ones_like(scores, dtype=torch.bool).scatter(
        1, scores.argsort(dim=1, stable=True)[:, :k], False
    )


# -- magnitude_mask


@wrong("lab6.magnitude_mask", "no return", "Each call gave None")
def _(weight, sparsity, group):
    lowest_cut(weight.abs(), round(sparsity * weight.shape[1]))


@wrong("lab6.magnitude_mask", "a quantile of the tensor", "the mask by tensor")
def _(weight, sparsity, group):
    return weight.abs() > weight.abs().quantile(sparsity)


@wrong("lab6.magnitude_mask", "the places", "A mask is asked for")
def _(weight, sparsity, group):
    return weight.abs().argsort(dim=-1)[..., : round(sparsity * weight.shape[-1])]


@wrong("lab6.magnitude_mask", "the flat mask", "the weights' shape")
def _(weight, sparsity, group):
    return lowest_cut(weight.abs().reshape(1, -1), round(sparsity * weight.numel()))


@wrong("lab6.magnitude_mask", "what is cut, as ones", "the other way round")
def _(weight, sparsity, group):
    sizes = weight.abs().reshape(1, -1) if group == "tensor" else weight.abs()
    return (~lowest_cut(sizes, round(sparsity * sizes.shape[1]))).int().reshape(weight.shape)


@wrong("lab6.magnitude_mask", "a share for a count", "TypeError")
def _(weight, sparsity, group):
    return lowest_cut(weight.abs(), sparsity * weight.shape[1])


# -- wanda_mask


@wrong("lab6.wanda_mask", "no return", "Each call gave None")
def _(weight, inputs, attention_mask, sparsity):
    weight.abs() * inputs.flatten(0, 1).norm(dim=0)


@wrong("lab6.wanda_mask", "the norm without an axis", "magnitude alone")
def _(weight, inputs, attention_mask, sparsity):
    score = weight.abs() * inputs[attention_mask.bool()].norm()
    return lowest_cut(score, round(sparsity * weight.shape[1]))


@wrong("lab6.wanda_mask", "padding counted, and by tensor", "padding is no input")
def _(weight, inputs, attention_mask, sparsity):
    score = (weight.abs() * inputs.flatten(0, 1).norm(dim=0)).reshape(1, -1)
    return lowest_cut(score, round(sparsity * weight.numel())).reshape(weight.shape)


@wrong("lab6.wanda_mask", "the sum of the inputs", "which cancel")
def _(weight, inputs, attention_mask, sparsity):
    score = weight.abs() * inputs[attention_mask.bool()].sum(0).abs()
    return lowest_cut(score, round(sparsity * weight.shape[1]))


@wrong("lab6.wanda_mask", "the scores", "A mask is asked for")
def _(weight, inputs, attention_mask, sparsity):
    return weight.abs() * inputs[attention_mask.bool()].norm(dim=0)


@wrong("lab6.wanda_mask", "a mask of whole numbers for places", "raised")
def _(weight, inputs, attention_mask, sparsity):
    score = weight.abs() * inputs[attention_mask].norm(dim=0)
    return lowest_cut(score, round(sparsity * weight.shape[1]))


# -- nm_mask


@wrong("lab6.nm_mask", "no return", "Each call gave None")
def _(scores, n, m):
    scores.reshape(-1, m).topk(n)


@wrong("lab6.nm_mask", "two of four by hand", "2:4, whatever")
def _(scores, n, m):
    groups = scores[:, : scores.shape[1] // 4 * 4].reshape(-1, 4)
    mask = lowest_cut(groups, 2).reshape(len(scores), -1)
    return F.pad(mask, (0, scores.shape[1] - mask.shape[1]))


@wrong("lab6.nm_mask", "the kept scores", "A mask is asked for")
def _(scores, n, m):
    return scores.reshape(-1, m).topk(n).values


@wrong("lab6.nm_mask", "the groups' shape", "in the shape of the scores")
def _(scores, n, m):
    return lowest_cut(scores.reshape(-1, m), m - n)


@wrong("lab6.nm_mask", "the median", "takes all of them or none")
def _(scores, n, m):
    groups = scores.reshape(-1, m)
    return (groups > groups.sort().values[:, m - n - 1 : m - n]).reshape(scores.shape)


# -- count_sparsity


@wrong("lab6.count_sparsity", "no return", "Each call gave None")
def _(model, linears):
    sum(p.numel() for p in model.parameters())


@wrong("lab6.count_sparsity", "two numbers", "Three numbers are asked for")
def _(model, linears):
    weights = torch.cat([layer.weight.flatten() for layer in linears.values()])
    return (weights == 0).float().mean(), sum(p.numel() for p in model.parameters())


@wrong("lab6.count_sparsity", "the sum of shares", "expected")
def _(model, linears):
    shares = [(layer.weight == 0).float().mean().item() for layer in linears.values()]
    n = sum(p.numel() for p in model.parameters())
    return sum(shares), sum(shares), n


@wrong("lab6.count_sparsity", "duplicates kept", "counted twice")
def _(model, linears):
    weights = torch.cat([layer.weight.flatten() for layer in linears.values()])
    named = [p for _, p in model.named_parameters(remove_duplicate=False)]
    every = torch.cat([p.flatten() for p in named])
    return (weights == 0).float().mean(), (every == 0).float().mean(), len(every)


@wrong("lab6.count_sparsity", "percent", "not percent")
def _(model, linears):
    weights = torch.cat([layer.weight.flatten() for layer in linears.values()]).double()
    every = torch.cat([p.flatten() for p in model.parameters()]).double()
    return 100 * (weights == 0).double().mean(), 100 * (every == 0).double().mean(), len(every)


# -- block_influence


@wrong("lab6.block_influence", "no return", "Each call gave None")
def _(hidden_states, before_norm, attention_mask):
    F.cosine_similarity(hidden_states[0], hidden_states[1], dim=-1).mean()


@wrong("lab6.block_influence", "as transformers gives them", "behind the final norm")
def _(hidden_states, before_norm, attention_mask):
    pairs = pairwise(hidden_states)
    is_token = attention_mask.bool()
    return [1 - F.cosine_similarity(a, b, dim=-1)[is_token].mean().item() for a, b in pairs]


@wrong("lab6.block_influence", "no attention mask", "Padding is counted")
def _(hidden_states, before_norm, attention_mask):
    states = [*hidden_states[:-1], before_norm]
    pairs = pairwise(states)
    return [1 - F.cosine_similarity(a, b, dim=-1).mean().item() for a, b in pairs]


@wrong("lab6.block_influence", "one number", "A list of numbers")
def _(hidden_states, before_norm, attention_mask):
    return 1 - F.cosine_similarity(hidden_states[0], before_norm, dim=-1).mean().item()


@wrong("lab6.block_influence", "one number a token", "A list of numbers")
def _(hidden_states, before_norm, attention_mask):
    states = [*hidden_states[:-1], before_norm]
    pairs = pairwise(states)
    return [(1 - F.cosine_similarity(a, b, dim=-1)).tolist() for a, b in pairs]


# -- drop_blocks


@wrong("lab6.drop_blocks", "no work", "No block was taken out")
def _(model, indices):
    return [block for n, block in enumerate(model.model.layers) if n not in indices] and model


@wrong("lab6.drop_blocks", "the config alone", "No block was taken out")
def _(model, indices):
    model.config.num_hidden_layers -= len(indices)
    return model


@wrong("lab6.drop_blocks", "a list for a ModuleList", "raised")
def _(model, indices):
    model.model.layers = [b for n, b in enumerate(model.model.layers) if n not in indices]
    return model


@wrong("lab6.drop_blocks", "the first guarded alone", "last block was taken out")
def _(model, indices):
    if 0 in indices:
        raise ValueError
    kept = [b for n, b in enumerate(model.model.layers) if n not in indices]
    for n, block in enumerate(kept):
        block.self_attn.layer_idx = n
    model.model.layers = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)


@wrong("lab6.drop_blocks", "one index too few", "last block was taken out")
def _(model, indices):
    if min(indices) < 1:
        raise ValueError
    kept = [b for n, b in enumerate(model.model.layers) if n not in indices]
    model.model.layers = nn.ModuleList(kept)
    return model


# -- masked_step


@wrong("lab6.masked_step", "weights made anew", "on new tensors")
def _(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for name in weights:
        weights[name] = weights[name] * masks[name]


@wrong("lab6.masked_step", "in place, with a gradient", "torch.no_grad()")
def _(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for name, weight in weights.items():
        weight *= masks[name]


@wrong("lab6.masked_step", "no backward pass", "nothing is learnt")
def _(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    optimizer.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])


@wrong("lab6.masked_step", "gradients masked by a hook", "The gradients are masked")
def _(loss, optimizer, weights, masks):
    optimizer.zero_grad()
    loss.backward()
    for name, weight in weights.items():
        weight.grad.masked_fill_(~masks[name], 0)
    optimizer.step()


@wrong("lab6.masked_step", "not cleared", "clear them")
def _(loss, optimizer, weights, masks):
    loss.backward()
    optimizer.step()
    for name, weight in weights.items():
        weight.data *= masks[name]


# -- predict_decode_speed


@wrong("lab6.predict_decode_speed", "no return", "return` missing")
def _(blocks, seconds, dense, kept):
    np.polyfit(blocks, seconds, 1)


@wrong("lab6.predict_decode_speed", "the share of blocks", "is missing")
def _(blocks, seconds, dense, kept):
    return dense / kept


@wrong("lab6.predict_decode_speed", "new over old", "Upside down")
def _(blocks, seconds, dense, kept):
    line = np.poly1d(np.polyfit(blocks, seconds, 1))
    return line(kept) / line(dense)


@wrong("lab6.predict_decode_speed", "rounded", "Nearly")
def _(blocks, seconds, dense, kept):
    line = np.poly1d(np.polyfit(blocks, seconds, 1))
    return round(line(dense) / line(kept), 2)


@wrong("lab6.predict_decode_speed", "a parabola", "expected")
def _(blocks, seconds, dense, kept):
    line = np.poly1d(np.polyfit(blocks, seconds, min(2, len(blocks) - 1)))
    return line(dense) / line(kept) + 0.01
