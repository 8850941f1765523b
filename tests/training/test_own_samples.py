"""Training on a student's own samples, held against a loop written by hand: the same prompts and
samples, the loss that is written to be read, PyTorch's own AdamW."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from dense_reward import PROMPTS, require_learnt, share_of_wanted
from torch import Tensor

from distill_lab.losses.distillation import (
    DenseTeacher,
    Objective,
    completion_states,
    plain_loss,
    soften,
)
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, head, hidden_states, load
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings
from distill_lab.sampling.decode import complete_ids
from distill_lab.sampling.jobs import Completion, Job, encoded
from distill_lab.sampling.nucleus import Sampling
from distill_lab.training.batches import Encoded, collate
from distill_lab.training.own_samples import Drawing, OwnSamplesTrainer, Prompt
from distill_lab.training.policy import PolicyTrainer, SampledTargetsTrainer
from distill_lab.training.trainer import DistillationTrainer, EpochShuffle, Hyperparameters

GROUP, SEED = 3, 11
DRAWING = Drawing(Sampling(GROUP, 1.3, 1.0, 6, SEED), rows=4)
HOW = Hyperparameters(epochs=1, learning_rate=1e-2, batch_size=2 * GROUP, seed=5)
ON_POLICY = Objective(1.0, 1.0, "reverse-kl")
ARMS = ["rft", "grpo", "on-policy", "sampled"]


def model(folder: Path, seed: int | None = None) -> LanguageModel:
    """A model whose random weights are sharpened, so that its samples are not all noise."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    made = for_training(load(str(folder), backend, "student"), 0)
    output: Any = made.lm.get_output_embeddings()
    output.weight.data.mul_(20)
    return made


def prompts(student: LanguageModel) -> list[Prompt]:
    """Six of them, of one to six words; the teacher reads something else before."""
    jobs = [Job(f"q{n}", " ".join(["Rome"] * n)) for n in range(1, 7)]
    ids = encoded(jobs, student.tokenizer)
    return [Prompt(job, ids[job.prompt], [9, 9, *ids[job.prompt]]) for job in jobs]


def reward(job: Job, completion: Completion) -> float:
    """Of what was written, so that some samples of most groups get it and some do not."""
    return float(len(completion.text) % 2)


def trainer_of(
    arm: str, student: LanguageModel, teacher: LanguageModel, folder: Path, how: Hyperparameters
) -> OwnSamplesTrainer:
    theirs = teacher if arm in ("on-policy", "sampled") else None
    objective = ON_POLICY if theirs else Objective()
    judge = None if theirs else reward
    common = (student, prompts(student), DRAWING, objective, theirs, how, folder, arm, judge)
    if arm == "grpo":
        return PolicyTrainer(*common, kind="dapo", scale="group")
    return (SampledTargetsTrainer if arm == "sampled" else OwnSamplesTrainer)(*common)


def by_hand(arm: str, student: LanguageModel, teacher: LanguageModel, n_steps: int) -> None:
    """Two prompts a step in the trainer's order; each sample is drawn and learnt from by itself."""
    optimiser = torch.optim.AdamW(student.lm.parameters(), HOW.learning_rate, weight_decay=0.0)
    asked, order = prompts(student), EpochShuffle(6, 2, HOW.seed)
    for step, pair in enumerate([list(order)[n : n + 2] for n in range(0, 6, 2)][:n_steps]):
        seed = (SEED << 32) + step
        losses, tokens = [], 0
        for prompt in (asked[n] for n in pair):
            student.lm.eval()
            sampling = Sampling(GROUP, 1.3, 1.0, 6, seed)
            (made,) = complete_ids(student, [prompt.job], sampling, {prompt.job.prompt: prompt.ids})
            student.lm.train()
            texts = [student.tokenizer.decode(ids, skip_special_tokens=True) for ids in made]
            rewards = [float(len(text) % 2) for text in texts]
            mean = sum(rewards) / GROUP
            deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (GROUP - 1))
            for ids, r in zip(made, rewards, strict=True):
                if arm == "rft" and not r:
                    continue
                advantage = (r - mean) / (deviation + 1e-4) if deviation else 0.0
                losses.append(loss_of(arm, student, teacher, prompt, ids, advantage))
                tokens += len(ids)
        if losses:
            (sum(losses) / tokens).backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(student.lm.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = (
            HOW.learning_rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        )
        optimiser.step()
        optimiser.zero_grad()


def loss_of(
    arm: str,
    student: LanguageModel,
    teacher: LanguageModel,
    prompt: Prompt,
    ids: list[int],
    advantage: float,
) -> Tensor:
    """The loss of one sample, summed over its tokens."""
    batch = collate([Encoded(prompt.ids, prompt.teacher_ids, ids)], 0)
    states, targets = completion_states(read(student, batch, ""), batch["labels"])
    with torch.no_grad():
        theirs = completion_states(read(teacher, batch, "teacher_"), batch["teacher_labels"])[0]
    if arm in ("rft", "on-policy"):
        objective = ON_POLICY if arm == "on-policy" else Objective()
        at_teacher = DenseTeacher(theirs, head(teacher.lm))
        return plain_loss(states, head(student.lm), targets, objective, at_teacher, 1).total
    tokens = torch.arange(len(ids))
    log_q = soften(head(student.lm)(states), 1.3)[tokens, targets]
    if arm == "grpo":
        return -(advantage * log_q).sum()
    log_p = soften(head(teacher.lm)(theirs), 1.3)[tokens, targets]
    return ((log_q - log_p).detach() * log_q).sum()


def read(model: LanguageModel, batch: dict[str, Tensor], whose: str) -> Tensor:
    return hidden_states(model.lm, batch[f"{whose}input_ids"], batch[f"{whose}attention_mask"])


def weights(student: LanguageModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in student.lm.named_parameters()}


def curve(trainer: OwnSamplesTrainer, *names: str) -> list[list[float]]:
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return [[row[name] for name in names] for row in rows]


@pytest.mark.parametrize("micro_batch", [0, pytest.param(GROUP, marks=pytest.mark.slow)])
@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_is_a_loop_that_anyone_can_read(tiny_model, tmp_path, arm, micro_batch):
    teacher = model(tiny_model("llama"))
    student, oracle = (model(tiny_model("qwen3")) for _ in range(2))
    how = Hyperparameters(1, 1e-2, 2 * GROUP, seed=5, micro_batch=micro_batch)
    trainer = trainer_of(arm, student, teacher, tmp_path, how)
    trainer.train()
    by_hand(arm, oracle, teacher, 3)
    expected = weights(oracle)
    for name, found in weights(student).items():
        off = (found - expected[name]).abs()
        # AdamW makes a step of any size of a gradient that is rounding alone
        assert off.max() < HOW.learning_rate, name
        assert (off > 1e-4).float().mean() < 5e-3, name
    assert any(
        (w - expected[n]).abs().max() > 0 for n, w in weights(model(tiny_model("qwen3"))).items()
    )


def test_the_log_counts_what_was_drawn(tiny_model, tmp_path):
    teacher, student = (model(tiny_model(kind)) for kind in ("llama", "qwen3"))
    trainer = trainer_of("grpo", student, teacher, tmp_path, HOW)
    drawn: list[Any] = []
    sample = trainer._sample

    def watch(asked):
        drawn.append((asked, sample(asked)))
        return drawn[-1][1]

    trainer._sample = watch  # type: ignore[method-assign]
    trainer.train()
    names = ("sampled", "prompts", "trained", "length", "ended", "reward", "dead")
    for (asked, made), found in zip(drawn, curve(trainer, *names), strict=True):
        lengths = [len(ids) for group in made for ids in group]
        texts = [[student.tokenizer.decode(i, skip_special_tokens=True) for i in g] for g in made]
        rewards = [[len(text) % 2 for text in group] for group in texts]
        read_once = sum(len(prompt.ids) for prompt in asked)
        ended = [ids[-1] == student.tokenizer.eos_token_id for group in made for ids in group]
        assert found == pytest.approx([
            sum(lengths), read_once, GROUP * read_once + sum(lengths), sum(lengths) / 6,
            sum(ended) / 6, sum(map(sum, rewards)) / 6, sum(len({*g}) == 1 for g in rewards) / 2,
        ])  # fmt: skip


@pytest.mark.parametrize(
    "arm", ["grpo", *(pytest.param(arm, marks=pytest.mark.slow) for arm in ARMS if arm != "grpo")]
)
def test_a_run_that_goes_on_draws_what_it_would_have_drawn(tiny_model, tmp_path, arm):
    teacher = model(tiny_model("llama"))
    whole, again = (model(tiny_model("qwen3")) for _ in range(2))
    how = Hyperparameters(1, 1e-2, 2 * GROUP, seed=5, save_every=2)
    first, second = (trainer_of(arm, each, teacher, tmp_path, how) for each in (whole, again))
    first.train()
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert curve(first, "loss", "sampled") == curve(second, "loss", "sampled")
    theirs = weights(again)
    assert all(torch.equal(found, theirs[name]) for name, found in weights(whole).items())


def test_steps_draw_anew(tiny_model, tmp_path):
    """The same prompt in two epochs: with one seed for all steps it would be one sample."""
    student = model(tiny_model("qwen3"))
    how = Hyperparameters(2, 1e-12, 6 * GROUP, seed=5)
    trainer = trainer_of("grpo", student, student, tmp_path, how)
    drawn: list[Any] = []
    sample = trainer._sample
    trainer._sample = lambda asked: drawn.append((asked, sample(asked))) or drawn[-1][1]  # type: ignore
    trainer.train()
    of = [{p.job.question_id: ids for p, ids in zip(*each, strict=True)} for each in drawn]
    assert of[0].keys() == of[1].keys()
    assert all(of[0][q] != of[1][q] for q in of[0])


def test_without_own_samples_it_is_distillation_from_the_teachers_traces(tiny_model, tmp_path):
    """GKD's lambda of 0: the same steps as a trainer whose examples are these."""
    teacher = model(tiny_model("llama"))
    one, other = (model(tiny_model("qwen3")) for _ in range(2))
    asked = prompts(one)
    written = [
        Encoded(p.ids, p.teacher_ids, [20 + n, 21, 22][: 1 + n % 3]) for n, p in enumerate(asked)
    ]
    asked = [Prompt(p.job, p.ids, p.teacher_ids, (w,)) for p, w in zip(asked, written, strict=True)]
    drawing = Drawing(Sampling(1, 1.0, 1.0, 6), rows=4, share=0.0)
    how = Hyperparameters(2, 1e-2, 2, seed=5)
    own = OwnSamplesTrainer(one, asked, drawing, ON_POLICY, teacher, how, tmp_path / "own")
    plain = DistillationTrainer(other, written, ON_POLICY, teacher, how, tmp_path / "plain")
    own.train()
    plain.train()
    assert [row[0] for row in curve(own, "loss")] == [
        row["loss"] for row in plain.state.log_history if "loss" in row
    ]
    assert curve(own, "sampled", "prompts", "length") == [[0, 0, 0]] * 6


def test_a_share_is_one_of_prompts(tiny_model, tmp_path):
    """Half of many prompts, each with its whole group."""
    student = model(tiny_model("qwen3"))
    written = (Encoded([5], [5], [7]),)
    asked = [Prompt(Job(f"q{n}", "Rome"), [5, 6], [5, 6], written) for n in range(200)]
    drawing = Drawing(Sampling(2, 1.0, 1.0, 1), rows=64, share=0.3)
    how = Hyperparameters(1, 1e-3, 400)
    trainer = OwnSamplesTrainer(student, asked, drawing, ON_POLICY, student, how, tmp_path)
    trainer.train()
    ((n_sampled,),) = curve(trainer, "sampled")
    assert n_sampled % 2 == 0
    assert 2 * 40 < n_sampled < 2 * 80


@pytest.mark.parametrize("arm", ["rft", "grpo"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_samples_get_the_same_reward(tiny_model, tmp_path, arm, value, monkeypatch):
    """Nothing is learnt from dead groups, and nothing by fine-tuning on no samples."""
    monkeypatch.setattr(__name__ + ".reward", lambda job, completion: value)
    student = model(tiny_model("qwen3"))
    before = weights(student)
    trainer = trainer_of(arm, student, student, tmp_path, HOW)
    trainer.train()
    same = all(torch.equal(before[name], found) for name, found in weights(student).items())
    assert same == (arm == "grpo" or value == 0)
    assert [row[0] for row in curve(trainer, "dead")] == [1.0] * 3


def test_a_batch_is_so_many_groups(tiny_model, tmp_path):
    student = model(tiny_model("qwen3"))
    how = Hyperparameters(1, 1e-2, 2 * GROUP + 1)
    with pytest.raises(LabError, match="expected a multiple of the group size 3, found 7"):
        trainer_of("grpo", student, student, tmp_path, how)


@pytest.mark.parametrize("arm", ["rft", "grpo"])
def test_a_reward_that_is_no_number_is_named(tiny_model, tmp_path, arm, monkeypatch):
    monkeypatch.setattr(__name__ + ".reward", lambda job, completion: math.nan)
    student = model(tiny_model("qwen3"))
    with pytest.raises(LabError, match=r"Question q\d: expected a reward that is a number"):
        trainer_of(arm, student, student, tmp_path, HOW).train()


def test_a_group_of_one_has_no_others_to_be_better_than(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(__name__ + ".DRAWING", Drawing(Sampling(1), rows=4))
    student = model(tiny_model("qwen3"))
    with pytest.raises(LabError, match="expected at least 2 completions a prompt, found 1"):
        trainer_of("grpo", student, student, tmp_path, HOW)
    trainer_of("rft", student, student, tmp_path, HOW)


def test_a_dense_reward_is_learnt(tiny_model, tmp_path):
    """As by TRL's trainer: the same prompts, reward and marks to pass."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    student = for_training(load(str(tiny_model("llama")), backend, "student"), 0)
    ids = encoded(PROMPTS, student.tokenizer)
    asked = [Prompt(job, ids[job.prompt], ids[job.prompt]) for job in PROMPTS]
    drawing = Drawing(Sampling(8, 1.0, 1.0, 12), rows=32)
    how = Hyperparameters(1, 3e-2, 32, steps=30)
    trainer = PolicyTrainer(
        student, asked, drawing, Objective(), None, how, tmp_path, "t", share_of_wanted,
        kind="dapo", scale="group",
    )  # fmt: skip
    trainer.train()
    require_learnt([row[0] for row in curve(trainer, "reward")])
