"""Memory and time of the arms that learn from own samples: how they follow from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distill_lab.planning import memory
from distill_lab.planning.memory import Way
from distill_lab.planning.model_shapes import shape_of
from distill_lab.planning.own_arms import predict_own, rows_of
from distill_lab.planning.timing import GPUS, estimate_own, of_gpu
from distill_lab.run.arms import OWN_ARMS
from distill_lab.run.settings import PROFILES

WAY, T4 = Way("float16", True), of_gpu(GPUS["t4"])


def colab(**changes: Any) -> Any:
    config = PROFILES["colab"]
    for name, value in changes.items():
        section, field = name.split("__")
        part: Any = replace(getattr(config, section), **{field: value})
        config = replace(config, **{section: part})
    return config


def totals(**changes: Any) -> dict[str, int]:
    return {stage.name: stage.total for stage in predict_own(colab(**changes), WAY)}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("card", ["t4", "a100"])
def test_every_profile_has_memory_and_time_of_each_arm(name, card):
    stages, times = (
        {stage.name: stage.total for stage in predict_own(PROFILES[name], WAY)},
        estimate_own(PROFILES[name], WAY, of_gpu(GPUS[card])),
    )
    assert set(stages) == set(times) == set(OWN_ARMS)
    assert all(0 < low < high for low, high in times.values())
    assert stages["rft"] < stages["on-policy"]


def test_on_policy_has_the_teacher_beside_it():
    config = colab()
    models = config.models
    size = memory.weights(shape_of(models.teacher, "teacher"), WAY, True, models.teacher)
    assert totals()["on-policy"] - totals()["rft"] > size


def test_whole_groups_go_through_the_model():
    """Micro-batches of 4 with groups of 8 are 8, with groups of 3 they are 3."""
    assert rows_of(colab()) == 8
    assert rows_of(colab(own__group=3)) == 3
    assert rows_of(colab(own__group=2)) == 4
    assert totals(own__group=4)["grpo"] < 0.6 * totals()["grpo"]


@pytest.mark.parametrize(
    "changes",
    [{"own__group": 16}, {"train__max_length": 2048}, {"models__lora_rank": 0}],
)
def test_what_takes_more(changes):
    for arm, size in totals(**changes).items():
        assert size > 1.05 * totals()[arm]


def test_where_sampling_takes_most_it_is_what_counts():
    """Tiny micro-batches, many long samples at once."""
    changes: dict[str, Any] = {"own__group": 1, "runtime__micro_batch": 1}
    few = totals(**changes, runtime__sample_batch=1)
    many = totals(**changes, runtime__sample_batch=512, train__batch_size=512)
    assert many["grpo"] > 1.5 * few["grpo"]


def test_what_takes_longer():
    """Twice the steps take twice as long; scoring costs, and what is not accepted is not learnt."""
    one, two = (estimate_own(colab(train__steps=n), WAY, T4) for n in (1000, 2000))
    for arm in OWN_ARMS:
        assert two[arm][0] / one[arm][0] == pytest.approx(2, rel=0.01)
    assert one["rft"][0] < one["grpo"][0] < one["on-policy"][0]
    longer = estimate_own(colab(train__steps=1000, own__max_new_tokens=192), WAY, T4)
    assert longer["grpo"][1] > 1.5 * one["grpo"][1]
