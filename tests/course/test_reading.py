"""The companion reading says what the paper says; test_figures.py holds its numbers."""

from __future__ import annotations

import re
from pathlib import Path

READING = Path(__file__).parent.parent.parent / "lab_notebooks" / "reading" / "DeepSeek_R1.md"
TEXT = " ".join(READING.read_text(encoding="utf-8").split())


def test_the_common_error_is_corrected():
    assert "**no KL divergence**" in TEXT
    assert "`kd` is ours" in TEXT


def test_the_kl_that_is_in_the_paper_is_told_apart():
    """Readers of "no KL" found one, in R1's own reinforcement learning."""
    assert re.search(r"KL in the paper, elsewhere.*section 2\.2\.1.*\*reference policy\*", TEXT)


def test_the_judge_that_is_a_model_is_named():
    assert re.search(r"Section 2\.3\.3.*DeepSeek-V3.*Section 2\.4: distillation", TEXT)


def test_links_lead_to_the_version_whose_numbers_are_used():
    assert set(re.findall(r"abs/2501\.12948\w*", TEXT)) == {"abs/2501.12948v1"}
