"""Peak memory against a sum by hand; rounds that alternate."""

from __future__ import annotations

import pytest
import torch
from small_runs import small_model

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load
from distill_lab.pipeline.pruning.settings import MeasureSettings
from distill_lab.pipeline.pruning.speed import (
    peak_bytes,
    peak_of_tensors,
    side_by_side,
    times_faster,
)
from distill_lab.run.settings import RuntimeSettings

KB = 256  # float32 numbers in a kilobyte


def test_the_peak_is_what_lived_at_one_time():
    def work() -> None:
        a = torch.zeros(4 * KB)  # 4
        b = a + 1  # 4 + 4
        del a
        c = torch.cat([b, b, b])  # 4 + 12
        c.view(-1, 2).t()  # a view holds nothing of its own
        del b, c
        torch.ones(8 * KB)

    assert peak_of_tensors(work) == 16 * 1024


def test_views_of_weights_are_no_memory_of_their_own():
    weight = torch.zeros(4 * KB)
    assert peak_of_tensors(lambda: weight.view(2, -1).t(), [weight]) == 0
    assert peak_of_tensors(lambda: weight.view(2, -1) + 1, [weight]) == 4 * 1024


def test_times_are_those_of_each_round():
    assert times_faster([2, 2, 9], [1, 2, 3]) == 2  # 2, 1, 3
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        times_faster([2, 2], [1])


def test_each_model_is_timed_once_a_round_and_a_first_one_warms_up(tmp_path):
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    model = load(str(small_model(tmp_path)), backend, "student")
    calls: list[int] = []
    model.lm.register_forward_pre_hook(lambda *_: calls.append(1))
    how = MeasureSettings(prompt_tokens=300, new_tokens=3, repeats=2)  # 256 positions
    speeds = side_by_side([model, model], how)
    assert [len(s.prefill) for s in speeds] == [len(s.decode) for s in speeds] == [2, 2]
    assert all(seconds > 0 for s in speeds for seconds in (*s.prefill, *s.decode))
    assert len(calls) == (2 + 1) * 2 * (1 + 3)
    weights = sum(p.numel() * 4 for p in model.lm.parameters())
    cache = 4 * 2 * 253 * 2 * 8 * 4  # layers, keys and values, positions, heads, head, bytes
    assert weights + cache < peak_bytes(model, how) < 20 * weights
