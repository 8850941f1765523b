"""What GRPO through Unsloth relies on, held against the source that it was released with.

Importing Unsloth puts classes of its own in the place of TRL's `GRPOTrainer` and `GRPOConfig`. They
are made from TRL's source on a GPU, so they are read here; its loss alone, which needs only torch,
is also run.
"""

from __future__ import annotations

import ast
import importlib.util
import math
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from policy_batches import KINDS, MOST, batches
from test_unsloth_contract import (
    CPU,
    GPU,
    functions,
    known,
    method_of,
    named,
    site_packages,
    source,
    tree,
)

from distill_lab.losses.policy_gradient import step_items
from distill_lab.training.grpo_settings import GrpoSettings
from distill_lab.training.trainer import Hyperparameters
from distill_lab.training.trl_grpo import grpo_arguments

pytestmark = pytest.mark.unsloth

RL, REPLACED = "unsloth/models/rl.py", "unsloth/models/rl_replacements.py"
LOSS = "unsloth_zoo/rl_replacements.py"
# what its GRPO notebooks pass, beside TRL's own keywords
LOADED = {
    "model_name", "max_seq_length", "load_in_4bit", "fast_inference", "max_lora_rank",
    "gpu_memory_utilization",
}  # fmt: skip
LORA = {"r", "target_modules", "lora_alpha", "use_gradient_checkpointing", "random_state"}
CONFIGURED = {
    "vllm_sampling_params", "temperature", "learning_rate", "weight_decay", "lr_scheduler_type",
    "optim", "logging_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "num_generations", "max_completion_length", "max_steps", "save_steps", "report_to",
    "output_dir",
}  # fmt: skip
RETIRED = {"max_prompt_length"}  # they pass it still, TRL takes it no more


@cache
def config_filter() -> ModuleType:
    """Its module that sorts out what the config of the installed TRL accepts: it needs nothing."""
    path = site_packages() / "unsloth/models/rl_config_compat.py"
    spec = importlib.util.spec_from_file_location("rl_config_compat", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def template() -> str:
    """The text that its trainers and configs are made from."""
    texts = [n.value for n in ast.walk(tree(RL)) if isinstance(n, ast.Constant)]
    return next(str(t) for t in texts if "class Unsloth{RLConfig_name}({RLConfig_name})" in str(t))


def replaced() -> set[str]:
    """The methods of TRL's GRPO trainer for which it has an edit."""
    edits = [f for name, f in functions(REPLACED).items() if name.startswith("grpo_trainer_")]
    return {
        name for edit in edits for name in re.findall(r"function_name != '(\w+)'", source(edit))
    }


def ours(**changes: Any) -> dict[str, Any]:
    how = Hyperparameters(1, 1e-5, 32, micro_batch=8)
    return grpo_arguments(GrpoSettings(**changes), how, 10, torch.device("cpu"), Path("out"))


def test_importing_it_puts_its_trainer_in_the_place_of_trls():
    """`trl_grpo` takes the class from the package `trl` when it is called, not before."""
    calls = [source(node) for node in tree("unsloth/models/llama.py").body]
    assert any(call.startswith("PatchFastRL(") for call in calls)
    assert "patch_trl_rl_trainers()" in source(functions(RL)["PatchFastRL"])


def test_its_notebooks_keywords_reach_the_functions_that_load():
    for method, keywords in (("from_pretrained", LOADED), ("get_peft_model", LORA)):
        assert keywords <= known(GPU, method_of(GPU, "FastLanguageModel", method))
        if (site_packages() / CPU).is_dir():
            assert keywords <= known(CPU, method_of(CPU, "FastCPUModel", method)) | {
                "fast_inference", "max_lora_rank", "gpu_memory_utilization",
            }  # fmt: skip


def test_its_notebooks_keywords_are_of_its_config_or_of_trls():
    from trl.trainer.grpo_config import GRPOConfig

    said: list[str] = []
    its_own = set(re.findall(r"^    (\w+) ?: Optional", template(), re.M))
    values = dict.fromkeys((CONFIGURED | RETIRED) - its_own, 1)
    kept = config_filter().filter_config_init_kwargs(GRPOConfig, values, said.append)
    assert set(values) - set(kept) == RETIRED
    assert len(said) == 1
    assert "vllm_sampling_params" in its_own


@pytest.mark.parametrize("vllm", [False, True])
def test_our_keywords_pass_its_config_unchanged(vllm):
    from trl.trainer.grpo_config import GRPOConfig

    values = ours(vllm=vllm, beta=0.1, epsilon_high=0.28)
    assert config_filter().filter_config_init_kwargs(GRPOConfig, values, pytest.fail) == values
    assert "**_unsloth_filter_config_init_kwargs({RLConfig_name}, " in template()


def test_it_leaves_alone_what_we_replace_and_what_calls_our_reward():
    """`trl_grpo` gives the trainer our prompts' token ids, and counts dead groups in the reward."""
    edited = replaced()
    assert {"_generate_and_score_completions", "compute_loss", "_prepare_inputs"} <= edited
    assert not edited & {"_tokenize_prompts", "_calculate_rewards", "_log_metric"}
    generate = functions(REPLACED)
    assert "_tokenize_prompts" not in source(generate["grpo_trainer__generate"])


def test_its_generation_asks_for_the_logits_that_training_needs():
    """It switches the model to training before log-probabilities and to inference to sample."""
    text = source(functions(REPLACED)["grpo_trainer__generate_and_score_completions"])
    assert "self.model.for_training(" in text
    assert "model.for_inference()" in template()


# --- its loss -------------------------------------------------------------------------------------


@cache
def its_loss() -> Any:
    """`grpo_compute_loss`, taken out of its file: the file itself wants a GPU."""
    function = functions(LOSS)["grpo_compute_loss"]
    assert {"ref", "new", "old", "mask", "beta", "advantages"} <= named(function)
    scope: dict[str, Any] = {"torch": torch, "math": math}
    module = ast.Module([function], [])
    exec(compile(module, LOSS, "exec"), scope)
    return scope["grpo_compute_loss"]


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_its_loss_is_ours(kind, beta):
    """Over two micro-batches, with padding; it clamps log-ratios and the KL far beyond these."""
    step = batches()
    n_items = sum(step_items(batch.mask, kind) for batch in step)
    n_tokens = torch.stack([batch.mask.sum() for batch in step]).sum()
    for batch in step:
        theirs, *_ = its_loss()(
            batch.reference, batch.log_p, batch.old, None, torch.zeros_like(batch.mask), batch.mask,
            beta, batch.advantages, loss_type=kind, epsilon_low=0.2, epsilon_high=0.5,
            max_completion_length=MOST, num_items_in_batch=n_tokens, use_bias_correction_kl=True,
            current_gradient_accumulation_steps=2, steps_per_generation=2,
        )  # fmt: skip
        made = batch.ours(kind, epsilon_high=0.5, beta=beta, n_items=n_items).total
        torch.testing.assert_close(made, theirs, rtol=1e-6, atol=1e-6)
        gradients = [torch.autograd.grad(loss, batch.log_p)[0] for loss in (made, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_its_trainer_hands_the_correction_of_the_kl_on():
    """Else its default, without, would make the loss another than TRL's where beta is above 0."""
    text = source(functions(REPLACED)["grpo_trainer_compute_loss"])
    zoo = source(functions(LOSS)["grpo_accumulated_loss"])
    assert "use_bias_correction_kl" in text + zoo
