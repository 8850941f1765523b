"""Times are estimates: what is held here is how they follow from the work and from the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distill_lab.planning.memory import Way
from distill_lab.planning.timing import GPUS, Speed, estimate, of_cpu, of_gpu
from distill_lab.run.settings import PROFILES

T4 = of_gpu(GPUS["t4"])
WAY = Way("float16", True)


def changed(name: str, value: Any) -> Any:
    section, field = name.split(".")
    config = PROFILES["colab"]
    part: Any = replace(getattr(config, section), **{field: value})
    return replace(config, **{section: part})


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("card", GPUS)
def test_every_profile_has_a_time_on_every_card(name, card):
    for low, high in estimate(PROFILES[name], WAY, of_gpu(GPUS[card])).values():
        assert 0 < low < high


MORE = [  # what it changes: the same stage, and by about how much
    ("data.n_train", 2000, {"generate": 2, "train": 2, "evaluate": 1}),
    ("data.n_eval", 1000, {"generate": 1, "train": 1, "evaluate": 2}),
    ("train.epochs", 4, {"generate": 1, "evaluate": 1}),
    ("generate.n_samples", 8, {"generate": 2, "evaluate": 1}),
    ("evaluate.max_new_tokens", 384, {"generate": 1, "train": 1, "evaluate": 2}),
]


@pytest.mark.parametrize(("name", "value", "times"), MORE)
def test_twice_the_work_takes_twice_the_time(name, value, times):
    before, after = (estimate(c, WAY, T4) for c in (PROFILES["colab"], changed(name, value)))
    for stage, factor in times.items():
        for one, other in zip(before[stage], after[stage], strict=True):
            assert other / one == pytest.approx(factor, rel=0.15)


def test_steps_take_their_time_whatever_the_number_of_questions():
    few, more, of_many = (
        changed("train.steps", 2000),
        changed("train.steps", 4000),
        replace(changed("data.n_train", 2000), train=changed("train.steps", 4000).train),
    )
    few, more, of_many = (estimate(c, WAY, T4)["train"] for c in (few, more, of_many))
    for one, twice, same in zip(few, more, of_many, strict=True):
        assert twice / one == pytest.approx(2, rel=0.15)
        assert same / twice == pytest.approx(1, rel=0.15)


def test_the_teacher_at_every_step_costs_more_than_its_cache():
    cached, online = (
        estimate(c, WAY, T4)["train"] for c in (PROFILES["colab"], changed("train.cache", "none"))
    )
    assert online[0] > 1.3 * cached[0]
    assert estimate(changed("train.alpha", 0.0), WAY, T4)["train"][0] < 0.5 * cached[0]


def test_a_keep_policy_bounds_what_is_learnt():
    every, two = (
        estimate(PROFILES["colab"], WAY, T4),
        estimate(changed("reject.keep", "first"), WAY, T4),
    )
    assert two["train"][1] < 0.4 * every["train"][1]


def test_training_all_takes_longer_than_lora_and_checkpointing_longer_still():
    lora, whole = (
        estimate(c, WAY, T4)["train"] for c in (PROFILES["colab"], changed("models.lora_rank", 0))
    )
    again = estimate(PROFILES["colab"], replace(WAY, checkpointing=True), T4)["train"]
    assert lora[0] < again[0]
    assert lora[0] < whole[0]


def test_products_reading_and_the_program_itself_each_bound_a_step():
    plain = Speed(1e15, 1e15, (1.0, 1.0), (0.0, 0.0))
    config = PROFILES["colab"]
    for field, worse in (("flops", 1e12), ("bandwidth", 1e10), ("step", (0.01, 0.01))):
        slower: Any = replace(plain, **{field: worse})
        fast, slow = (estimate(config, WAY, s)["generate"][0] for s in (plain, slower))
        assert slow > 3 * fast


def test_the_rate_of_this_machine_is_measured():
    speed = of_cpu("float32", 1, seconds=0.05)
    assert 1e8 < speed.flops < 1e14
    assert 1e7 < speed.bandwidth < 1e13
