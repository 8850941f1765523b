"""What `--prune.methods` may say, and what is said of all else."""

from __future__ import annotations

import pytest

from distill_lab.pipeline.pruning.methods import Method, parse, parse_all
from distill_lab.run.records import LabError

GOOD = (
    ("wanda:0.5", "wanda", 0.5, 0.5, True),
    ("magnitude-tensor:.3", "magnitude-tensor", 0.3, 0.3, True),
    ("wanda-one-shot:5e-1", "wanda-one-shot", 0.5, 0.5, True),
    ("wanda:2:4", "wanda", (2, 4), 0.5, True),
    ("magnitude-row:1:4", "magnitude-row", (1, 4), 0.75, True),
    ("blocks:2", "blocks", 2, None, False),
    ("neurons:0.25", "neurons", 0.25, 0.25, False),
)
BAD = (
    ("wanda", "a method and its amount, one of"),
    ("wnada:0.5", "a method and its amount, one of"),
    ("", "a method and its amount, one of"),
    ("wanda:0", "a share above 0 and below 1"),
    ("wanda:1", "a share above 0 and below 1"),
    ("wanda:1.5", "a share above 0 and below 1"),
    ("wanda:nan", "a share above 0 and below 1"),
    ("wanda:half", "a share above 0 and below 1"),
    ("neurons:-0.5", "a share above 0 and below 1"),
    ("wanda:4:4", "n of m neighbours with n below m"),
    ("wanda:0:4", "whole numbers n:m"),
    ("wanda:2.0:4", "whole numbers n:m"),
    ("magnitude-global:2:4", "n of m neighbours with magnitude-row or wanda"),
    ("blocks:2:4", "n of m neighbours with magnitude-row or wanda"),
    ("blocks:0.5", "a whole number of blocks"),
    ("blocks:0", "a whole number of blocks"),
)


@pytest.mark.parametrize(("text", "name", "amount", "share", "masks"), GOOD)
def test_a_method_is_read(text, name, amount, share, masks):
    method = parse(text)
    assert method == Method(text, name, amount)
    assert (method.share, method.masks) == (share, masks)
    assert ":" not in method.folder


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_each_mistake_says_what_was_expected_and_what_was_found(text, expected):
    with pytest.raises(LabError) as raised:
        parse(text)
    assert expected in str(raised.value)
    assert repr(text) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_method_is_named_once():
    assert [m.text for m in parse_all(("wanda:0.5", "blocks:1"), "--prune.methods")] == [
        "wanda:0.5",
        "blocks:1",
    ]
    with pytest.raises(LabError, match=r"--recover.methods: .* found wanda:0.5 twice"):
        parse_all(("wanda:0.5", "wanda:0.5"), "--recover.methods")
