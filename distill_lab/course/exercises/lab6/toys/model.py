"""Lab 6: a language model of a few hundred weights, laid out as those of transformers are, for
answers that work on a model. It is built where the student's code runs: only numbers cross."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.course.exercises.comparing import error_text

Cache = list[Tensor | None]  # one place for each block: what it has read so far, (T, H)


class ToyAttention(nn.Module):
    """What a token takes from itself and all before it: their mean, through one matrix."""

    def __init__(self, width: int, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx  # its own place in the cache, as in transformers
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, states: Tensor, cache: Cache | None) -> Tensor:
        if cache is not None:
            before = cache[self.layer_idx]
            states = states if before is None else torch.cat([before, states])  # (T, H)
            cache[self.layer_idx] = states
        counts = torch.arange(1, len(states) + 1)[:, None]
        return self.o_proj(states.cumsum(0) / counts)


class ToyBlock(nn.Module):
    def __init__(self, width: int, layer_idx: int) -> None:
        super().__init__()
        self.number = layer_idx  # stays with the block wherever it goes
        self.self_attn = ToyAttention(width, layer_idx)
        self.up_proj = nn.Linear(width, 2 * width, bias=False)
        self.down_proj = nn.Linear(2 * width, width, bias=False)

    def forward(self, states: Tensor, cache: Cache | None = None) -> Tensor:
        """(T, H) to (T, H); the newest T tokens, where the others are in the cache."""
        states = states + self.self_attn(states, cache)[-len(states) :]
        return states + self.down_proj(self.up_proj(states).tanh())


class ToyDecoder(nn.Module):
    """`model.layers`, `model.embed_tokens`, `model.norm`, `lm_head`, `config`: all where a Llama of
    transformers has them. The head's weight is the embedding's where `tied`."""

    def __init__(self, blocks: int, vocab_size: int = 8, width: int = 4, tied: bool = True) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=blocks, tie_word_embeddings=tied)
        self.model: Any = nn.Module()
        self.model.embed_tokens = nn.Embedding(vocab_size, width)
        self.model.layers = nn.ModuleList(ToyBlock(width, n) for n in range(blocks))
        self.model.norm = nn.LayerNorm(width, bias=False)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (T, V) of ids (T)."""
        states = self.model.embed_tokens(ids)
        for block in self.model.layers:
            states = block(states, cache)
        return self.lm_head(self.model.norm(states))

    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers of the blocks by their names: what is pruned."""
        return {
            f"model.layers.{name}": module
            for name, module in self.model.layers.named_modules()
            if isinstance(module, nn.Linear)
        }


def toy_decoder(blocks: int, seed: int, **options: Any) -> ToyDecoder:
    """One with drawn weights; the same seed gives the same."""
    model, draw = ToyDecoder(blocks, **options), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return model.eval()


# -- the runners: what the checks of answers that work on a model call


def on_a_pruned_toy(count_sparsity: Callable[..., Any]) -> Callable[..., Any]:
    """`count_sparsity` as its check calls it: of a toy with these shares of zeros in its linears,
    one share for each of them, in turn."""

    def called(blocks: int, vocab_size: int, tied: bool, shares: Sequence[float]) -> Any:
        model = toy_decoder(blocks, 0, vocab_size=vocab_size, tied=tied)
        linears = model.linears()
        for linear, share in zip(linears.values(), shares, strict=True):
            with torch.no_grad():
                linear.weight.flatten()[: round(share * linear.weight.numel())] = 0
        return count_sparsity(model, linears)

    return called


def on_a_toy_with_blocks(drop_blocks: Callable[..., Any]) -> Callable[..., Any]:
    """`drop_blocks` as its check calls it: of a toy with so many blocks, what is left of it."""

    def called(blocks: int, indices: Sequence[int], seed: int) -> dict[str, Any]:
        model = toy_decoder(blocks, seed)
        left = drop_blocks(model, list(indices))
        left: Any = model if left is None else left  # it may change the model, or give another
        layers = list(left.model.layers)
        numbers = [block.self_attn.layer_idx for block in layers]
        in_step = numbers == [*range(left.config.num_hidden_layers)]
        return {
            "blocks": [block.number for block in layers],
            "layer_idx": numbers,
            "num_hidden_layers": left.config.num_hidden_layers,
            "cache": "the same" if in_step else _with_and_without_cache(left),
        }

    return called


@torch.no_grad()
def _with_and_without_cache(model: ToyDecoder) -> str:
    """ "the same", or how the logits differ if tokens come one by one, with a cache."""
    ids = torch.tensor([1, 5, 2, 7])
    whole, cache = model(ids), [None] * model.config.num_hidden_layers
    try:
        steps = torch.cat([model(token[None], cache) for token in ids])  # (T, V)
    except (IndexError, TypeError, RuntimeError) as error:
        return error_text(error)
    return "the same" if torch.allclose(whole, steps, atol=1e-4) else "other logits"
