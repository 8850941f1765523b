"""What Lab 5e shows of TRL's and Unsloth's calls takes keywords that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent.parent / "lab_notebooks/source/Lab5e_Distillation_vs_RL.py"
TEXT = re.sub(r"^# ?", "", SOURCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
CALLS = {
    ast.unparse(node.func): {keyword.arg: keyword.value for keyword in node.keywords}
    for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    for node in ast.walk(ast.parse(code))
    if isinstance(node, ast.Call)
}


@pytest.mark.slow  # TRL takes seconds to load
def test_trl_takes_what_is_shown_and_our_defaults_are_named(tmp_path):
    trl = pytest.importorskip("trl")
    shown = {name: ast.literal_eval(value) for name, value in CALLS["GRPOConfig"].items() if name}
    made = trl.GRPOConfig(output_dir=str(tmp_path), report_to=[], **shown)
    assert made.generation_batch_size % made.num_generations == 0
    assert (made.loss_type, made.scale_rewards, made.beta) == ("dapo", "group", 0.0)


def test_unsloth_is_called_as_its_contract_says():
    """The names that tests/models/test_unsloth_grpo_contract.py holds against its source."""
    contract = (
        Path(__file__).parent.parent / "models" / "test_unsloth_grpo_contract.py"
    ).read_text()
    known = set(re.findall(r'"(\w+)"', contract))
    for call in ("FastLanguageModel.from_pretrained", "FastLanguageModel.get_peft_model"):
        assert CALLS[call].keys() <= known
