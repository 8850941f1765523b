"""Bytes of quantized weights: by hand, and on models whose embedding is tied or not."""

from __future__ import annotations

import pytest
from pruned_models import deep, model

from distill_lab.models.quantization.scheme import Scheme, size_bytes
from distill_lab.models.quantization.sizes import model_bytes
from distill_lab.run.records import LabError

G32 = Scheme(4, per="group", group_size=32)
TABLE = (
    # shape, scheme, bytes of a scale, codes + scales + zero points
    ((576, 1536), Scheme(8), 4, 576 * 1536 + 576 * 4),
    ((576, 1536), Scheme(8, per="tensor"), 4, 576 * 1536 + 4),
    ((576, 1536), Scheme(8, per="column"), 4, 576 * 1536 + 1536 * 4),
    ((576, 1536), G32, 2, 576 * 1536 // 32 * 18),  # a block of Q4_0: 18 bytes for 32
    ((576, 1536), Scheme(8, per="group", group_size=32), 2, 576 * 1536 // 32 * 34),  # Q8_0: 34
    ((4, 64), Scheme(4, False, "group", 32), 2, 128 + 8 * 2 + 8 // 2),
    ((4, 64), Scheme(4, False), 2, 128 + 4 * 2 + 2),
    ((3, 5), Scheme(3), 2, 6 + 3 * 2),  # 45 bits are six bytes
    ((3, 5), Scheme(3, False), 2, 6 + 3 * 2 + 2),
    ((4, 8), Scheme(16), 4, 64 + 16),
)


@pytest.mark.parametrize(("shape", "scheme", "scale_bytes", "expected"), TABLE, ids=str)
def test_bytes_of_a_weight_are_those_by_hand(shape, scheme, scale_bytes, expected):
    assert size_bytes(shape, scheme, scale_bytes) == expected


def test_four_bits_in_groups_of_32_are_four_and_a_half():
    assert size_bytes((64, 64), G32) * 8 / 64**2 == 4.5


@pytest.mark.parametrize("tied", [True, False])
def test_bytes_of_a_model_count_a_tied_embedding_once(tied):
    of = deep("llama", tie_word_embeddings=tied)
    linears = 4 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # q and o, k and v, the MLP's three
    others = (1 if tied else 2) * 1000 * 32 + (2 * 4 + 1) * 32  # embedding (and head), norms
    rows = 4 * (2 * 32 + 2 * 16 + 2 * 64 + 32)
    assert model_bytes(of, None) == 4 * (linears + others)
    assert model_bytes(of, Scheme(8), 4) == linears + rows * 4 + others * 4
    assert model_bytes(of, G32) == linears // 32 * 18 + others * 4
    of.lm.bfloat16()
    assert model_bytes(of, G32) == linears // 32 * 18 + others * 2


def test_a_group_that_does_not_divide_is_refused(tiny_model):
    with pytest.raises(LabError, match="divides the input's width 32, found 24"):
        model_bytes(model(tiny_model("llama")), Scheme(4, per="group", group_size=24))
