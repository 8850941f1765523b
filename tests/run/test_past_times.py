"""What stages took makes the next estimate better: held against ranges worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from distill_lab.run import past_times
from distill_lab.run.past_times import learnt, remember
from distill_lab.run.records import LabError
from distill_lab.run.settings import PROFILES, Config

TINY = PROFILES["tiny"]
TWICE = replace(TINY, data=replace(TINY.data, n_train=2 * TINY.data.n_train))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_LAB_CACHE", str(tmp_path))


def estimate(config: Config) -> dict[str, tuple[float, float]]:
    """As long as there are questions: 4 to 16 seconds, say, in the middle 8."""
    n = config.data.n_train / TINY.data.n_train
    return {"generate": (4 * n, 16 * n), "train": (10 * n, 40 * n)}


def test_without_a_past_the_estimate_is_as_it_is():
    assert learnt(estimate, TINY, "cpu") == estimate(TINY)


@pytest.mark.parametrize(
    ("past", "asked", "expected"),
    [
        ([(TINY, 12)], TINY, (12 / 1.25, 12 * 1.25)),  # as last time
        ([(TINY, 12)], TWICE, (24 / 1.25, 24 * 1.25)),  # twice the work
        ([(TINY, 12), (TWICE, 40)], TWICE, (40 / 1.25, 40 * 1.25)),  # the same settings count alone
        ([(TINY, 10), (TINY, 20)], TINY, (10 / 1.25, 20 * 1.25)),
        ([(TINY, 99), *5 * [(TINY, 10)]], TINY, (10 / 1.25, 10 * 1.25)),  # the last five
    ],
)
def test_the_estimate_is_corrected_by_how_far_off_it_was(past, asked, expected):
    for config, seconds in past:
        remember("generate", seconds, config, "cpu")
    times = learnt(estimate, asked, "cpu")
    assert times["generate"] == pytest.approx(expected)
    assert times["train"] == estimate(asked)["train"]  # it has no past


def test_another_machine_teaches_nothing():
    remember("generate", 99, TINY, "cuda:0")
    assert learnt(estimate, TINY, "cpu") == estimate(TINY)


def test_a_run_of_a_model_that_is_gone_teaches_nothing():
    gone = replace(TINY, models=replace(TINY.models, teacher="gone"))

    def of_models_that_are_there(config: Config) -> dict[str, tuple[float, float]]:
        if config == gone:
            raise LabError("gone: expected a model, found none.")
        return estimate(config)

    remember("generate", 99, gone, "cpu")
    assert learnt(of_models_that_are_there, TINY, "cpu") == estimate(TINY)


def test_lines_that_cannot_be_read_are_left_out(capsys):
    remember("generate", 12, TINY, "cpu")
    good = past_times.file().read_text()
    older = json.loads(good)
    older["config"]["data"]["gone"] = 1
    bad = ["", "{", "[]", '"generate"', json.dumps(older), good.replace("12", "0", 1), "\udcff"]
    past_times.file().write_bytes("\n".join([*bad, good]).encode("utf-8", "surrogateescape"))
    assert learnt(estimate, TINY, "cpu") == estimate(TINY)  # no text: all of it
    past_times.file().write_text("\n".join([*bad[:-1], good]))
    assert learnt(estimate, TINY, "cpu")["generate"] == pytest.approx((12 / 1.25, 12 * 1.25))


def test_the_file_does_not_grow_for_ever_and_may_be_missing(tmp_path, monkeypatch):
    for seconds in range(1, 131):
        remember("train", seconds, TINY, "cpu")
    assert len(past_times.file().read_text().splitlines()) == 100
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTILL_LAB_CACHE", str(tmp_path / "file" / "below"))
    remember("train", 1, TINY, "cpu")  # no folder can be made there
    assert learnt(estimate, TINY, "cpu") == estimate(TINY)
