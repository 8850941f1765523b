"""GRPO by TRL's `GRPOTrainer`: its sampling, advantages and loss, and our prompts, reward and log.

TRL's defaults that would spoil a comparison are set otherwise: bfloat16 and gradient checkpointing,
dropout, its own order of prompts, a reference read from wherever the student was loaded. Unlike our
own sampler, TRL ends a completion at an end token alone: what follows `</answer>` is part of it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback

from distill_lab.losses.policy_gradient import group_advantages, token_log_probs
from distill_lab.models.loading import (
    LanguageModel,
    TokenizerOnly,
    head,
    hidden_states,
    save_student,
)
from distill_lab.run.distributed import from_main
from distill_lab.run.groups import prompts_a_step
from distill_lab.run.records import LabError, write_text
from distill_lab.sampling.jobs import Completion, Job, encoded, end_ids, require_room
from distill_lab.sampling.vllm_sampling import RELEASE
from distill_lab.training.checkpoints import last_checkpoint, load_if_finished
from distill_lab.training.grpo_settings import (
    GrpoSettings,
    Reward,
    prompt_order,
    require_number,
    require_some_signal,
)
from distill_lab.training.trainer import (
    Hyperparameters,
    Progress,
    argument_values,
    call_through_wrapper,
    one_gpu_a_process,
)

FORM = "<think>a</think><answer>b</answer>"
# TRL's names in its log, and ours
_LOGGED = {
    "loss": "loss",
    "reward": "reward",
    "dead": "dead",
    "clip_ratio/region_mean": "clipped",
    "kl": "kl",
    "completions/mean_length": "length",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
}


def train_grpo_trl(
    student: LanguageModel,
    jobs: Sequence[Job],
    reward: Reward,
    settings: GrpoSettings,
    hyperparameters: Hyperparameters,
    folder: Path,
    title: str = "train grpo (TRL)",
) -> list[dict[str, float]]:
    """Trains the student (from `for_training`) in place, and returns one row an optimiser step,
    which log.jsonl in `folder` has too: loss, reward, the share of dead groups, of clipped tokens
    and of completions that ended, their mean length in tokens, and the KL where beta is above 0.

    `batch_size` of the hyperparameters counts completions. Checkpoints go to `folder`, and a call
    with one there goes on from it; the student must then be what the first call began with. Several
    processes draw other samples than one. LabError for groups and batches that do not fit, for tags
    that decoding drops, for a reward that is no number, and where no reward taught anything.
    """
    trainer = make_trainer(student, jobs, reward, settings, hyperparameters, folder, title)
    checkpoint = from_main(lambda: last_checkpoint(folder))
    if not load_if_finished(trainer, checkpoint):
        trainer.train(resume_from_checkpoint=checkpoint)
    if "ref" in getattr(student.lm, "peft_config", {}):  # TRL's copy of the adapter as it was
        student.lm.delete_adapter("ref")
    rows = [_row(row) for row in trainer.state.log_history if "loss" in row]
    from_main(
        lambda: write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    )
    require_some_signal(rows)
    return rows


def make_trainer(
    student: LanguageModel,
    jobs: Sequence[Job],
    reward: Reward,
    settings: GrpoSettings,
    hyperparameters: Hyperparameters,
    folder: Path,
    title: str = "train grpo (TRL)",
) -> Any:
    """TRL's trainer, ready to train."""
    from datasets import Dataset

    lm, tokenizer = student.lm, student.tokenizer
    trl = _trl(settings, lm.device.type)
    assert jobs, "no prompts to learn from"
    require_tags(student)
    ids = encoded(jobs, tokenizer)
    require_room(student.positions, student.name, jobs, ids, settings.max_new_tokens)
    a_step = prompts_a_step(settings.group, hyperparameters.batch_size)
    steps = hyperparameters.steps or math.ceil(hyperparameters.epochs * len(jobs) / a_step)
    order = prompt_order(len(jobs), steps * a_step, hyperparameters.seed)
    values = grpo_arguments(settings, hyperparameters, steps, lm.device, folder)
    rows = {"prompt": [jobs[i].prompt for i in order], "job": order}
    ends = end_ids(getattr(lm.generation_config, "eos_token_id", None), tokenizer)
    with _named_for_a_copy(student, bool(settings.beta) or settings.vllm, folder):
        trainer = trl.GRPOTrainer(
            model=lm,
            reward_funcs=_reward_function(jobs, reward, ends, settings.group),
            args=one_gpu_a_process(trl.GRPOConfig(**values)),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
            callbacks=[Progress(title, ("reward", "dead"))],
        )
    trainer.remove_callback(PrinterCallback)
    # a tokenizer that is called on a rendered prompt may add a second beginning-of-text token
    trainer._tokenize_prompts = lambda prompts: ([ids[prompt] for prompt in prompts], None, {})
    if lm.device.type == "cpu":
        trainer._get_per_token_logps_and_entropies = _log_probs(trainer, settings.temperature)
    return trainer


def grpo_arguments(
    settings: GrpoSettings,
    hyperparameters: Hyperparameters,
    steps: int,
    device: torch.device,
    folder: Path,
) -> dict[str, Any]:
    """The arguments of TRL's `GRPOConfig`."""
    values = argument_values(hyperparameters, device, folder)
    values |= {
        "max_steps": steps,
        "num_generations": settings.group,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "loss_type": settings.kind,
        "scale_rewards": settings.scale,  # dr_grpo alone does not switch it off
        "epsilon": settings.epsilon,
        "epsilon_high": settings.epsilon_high,
        "beta": settings.beta,
        "gradient_checkpointing": False,
        "disable_dropout": True,
        "shuffle_dataset": False,  # the prompts are in order, so that a resumed run goes on in it
    }
    if settings.vllm:
        values |= {"use_vllm": True, "vllm_mode": "colocate"}
    return values


def require_tags(student: LanguageModel | TokenizerOnly) -> None:
    """LabError where a tag is one of the tokenizer's special tokens: decoding, which leaves these
    out, would take every completion's form away."""
    tokenizer: Any = student.tokenizer
    ids = tokenizer(FORM, add_special_tokens=False).input_ids
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    if "".join(decoded.split()) != FORM:
        raise LabError(
            f"Model {student.name!r}: expected a tokenizer that keeps {FORM}, found one that makes "
            f"it {decoded!r}. Make the tags ordinary tokens, or use another model."
        )


def _trl(settings: GrpoSettings, device: str) -> Any:
    """The package trl; LabError where it, or what vLLM needs, is missing."""
    if importlib.util.find_spec("trl") is None:
        raise LabError(
            "GRPO by TRL: expected the package trl, found none. "
            'Install it: pip install "trl>=1.14,<=1.15.0"'
        )
    if settings.vllm and (device != "cuda" or importlib.util.find_spec("vllm") is None):
        raise LabError(
            "GRPO with vLLM: expected a CUDA GPU and the package vllm, found the device "
            f"{device}{'' if device != 'cuda' else ' alone'}. Install vllm=={RELEASE} on one, or "
            "sample without it."
        )
    import trl

    return trl


def _reward_function(
    jobs: Sequence[Job], reward: Reward, ends: frozenset[int], group: int
) -> Callable[..., list[float]]:
    """The reward as TRL calls it: on a whole number of groups, one after the other.

    Dead groups are counted here, by their rewards: TRL's `frac_reward_zero_std` takes a group of
    eight times .2 for a living one.
    """

    def rewards(
        completions: list[str],
        completion_ids: list[list[int]],
        job: list[int],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        made = []
        for text, ids, place in zip(completions, completion_ids, job, strict=True):
            finish = "stop" if ids[-1] in ends else "length"
            completion = Completion(jobs[place].begun + text, len(ids), finish)
            made.append(require_number(reward(jobs[place], completion), jobs[place]))
        dead = group_advantages(torch.tensor(made).view(-1, group)).dead
        log_metric("dead", dead.float().mean().item())
        return made

    return rewards


def _log_probs(trainer: Any, temperature: float) -> Callable[..., tuple[Tensor, Tensor, None]]:
    """TRL's log-probabilities of the completions' tokens (B, C), by our own function: since 1.15
    its own is a Triton kernel, which no CPU runs. Entropies, which nothing here uses, are NaN."""

    def compute(
        model: torch.nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        **_: Any,
    ) -> tuple[Tensor, Tensor, None]:
        lm = trainer.accelerator.unwrap_model(model)
        chosen = attention_mask[:, -logits_to_keep:].bool()  # (B, C)

        def log_probs() -> Tensor:
            hidden = hidden_states(lm, input_ids, attention_mask)  # (B, T, H)
            states = hidden[:, -logits_to_keep - 1 : -1][chosen]  # (N, H)
            targets = input_ids[:, -logits_to_keep:][chosen]  # (N)
            return token_log_probs(states, head(lm), targets, temperature)

        made = call_through_wrapper(model, lm, log_probs)  # (N)
        rows = made.new_zeros(chosen.shape).masked_scatter(chosen, made)  # (B, C)
        return rows, torch.full_like(rows, math.nan), None

    return compute


@contextmanager
def _named_for_a_copy(student: LanguageModel, needed: bool, folder: Path) -> Iterator[None]:
    """While TRL's trainer is made, the student is named for a copy of itself on disk.

    TRL reads its reference, and vLLM its model, from where the student was loaded. That is another
    model where the student was trained, or had an adapter merged, since then. (Under LoRA the
    reference is in the student, and vLLM begins with the base.)
    """
    lm: Any = student.lm
    if not needed or hasattr(lm, "peft_config"):
        yield
        return
    name = lm.config._name_or_path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as copy:
        save_student(student, Path(copy))
        lm.config._name_or_path = lm.name_or_path = copy
        try:
            yield
        finally:
            lm.config._name_or_path = lm.name_or_path = name


def _row(logged: dict[str, Any]) -> dict[str, float]:
    """A row of the log under our names."""
    row = {"step": logged["step"]}
    row |= {ours: logged[theirs] for theirs, ours in _LOGGED.items() if theirs in logged}
    return row | {"ended": 1 - logged["completions/clipped_ratio"]}
