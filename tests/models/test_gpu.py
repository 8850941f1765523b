"""What must hold on a GPU: the same bodies run on the CPU in the default tests, with the bundled
models, and on CUDA under `make test-gpu`. Nothing here needs a network, unless it is marked so.
"""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import memory_worker
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

from distill_lab.losses.distillation import Objective, completion_states
from distill_lab.losses.fused import distillation_loss
from distill_lab.models.backend import Backend, choose_backend, start
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    head,
    hidden_states,
    load,
    load_model,
    require_known_head,
)
from distill_lab.pipeline.train import hyperparameters_of, objective_of
from distill_lab.planning import memory
from distill_lab.planning.budgets import BUDGETS
from distill_lab.run.records import Example
from distill_lab.run.settings import (
    PROFILES,
    Config,
    GenerateSettings,
    ModelSettings,
    RuntimeSettings,
    TrainSettings,
    data_folder,
)
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.squad.questions import load as load_data
from distill_lab.tasks.squad.task import user_text
from distill_lab.training.batches import collate, encode_examples
from distill_lab.training.trainer import DistillationTrainer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BUNDLED = ModelSettings()


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")
    return request.param


def backend_on(device: str, dtype: Any = "float32") -> Backend:
    return choose_backend(RuntimeSettings(device=device, dtype=dtype))


def half(device: str) -> str:
    """The half precision that would be chosen: bfloat16, but float16 on a T4."""
    return choose_backend(RuntimeSettings(device=device)).dtype if device == "cuda" else "bfloat16"


QUESTIONS = load_data("bundled", "validation").questions[:24]
EXAMPLES = [
    Example(q.id, 0, user_text(q.context, q.question), f"<think>It says so.</think> <answer>{a}")
    for q, a in ((q, q.answers[0] + "</answer>") for q in QUESTIONS[:16])
]


def answers(model: LanguageModel, batch: int) -> list[str]:
    """Greedy answers to all questions, so many at a time."""
    jobs = jobs_for(QUESTIONS, model.tokenizer)
    groups = [jobs[i : i + batch] for i in range(0, len(jobs), batch)]
    made = {j.question_id: c[0].text for g in groups for j, c in complete(model, g, Sampling())}
    return [made[job.question_id] for job in jobs]


# -- sampling


def test_greedy_in_a_batch_is_greedy_alone(device):
    teacher = load_model("teacher", BUNDLED, backend_on(device))
    assert answers(teacher, len(QUESTIONS)) == answers(teacher, 1)


def test_half_precision_answers_as_float32_does(device):
    """Rounding may change a token here and there, not what the model knows."""
    right = []
    for dtype in ("float32", half(device)):
        said = answers(load_model("teacher", BUNDLED, backend_on(device, dtype)), len(QUESTIONS))
        right.append(sum(answer_text(s) in q.answers for s, q in zip(said, QUESTIONS, strict=True)))
    assert right[0] > len(QUESTIONS) / 2
    assert abs(right[0] - right[1]) <= 2


def test_samples_do_not_depend_on_the_batch(device):
    teacher = load_model("teacher", BUNDLED, backend_on(device))
    jobs, how = jobs_for(QUESTIONS[:8], teacher.tokenizer), Sampling(4, 1.0, 0.95, 24, seed=1)
    together = {job.question_id: made for job, made in complete(teacher, jobs, how)}
    alone = {job.question_id: m for each in jobs for job, m in complete(teacher, [each], how)}
    same = sum(together[id] == alone[id] for id in together)
    assert same >= 7  # another kernel for another shape may round a choice over its edge


# -- training


@pytest.mark.parametrize("dtype", ["float32", "half"])
def test_padding_changes_no_hidden_state(device, dtype):
    dtype = half(device) if dtype == "half" else dtype
    lm = load_model("teacher", BUNDLED, backend_on(device, dtype)).lm
    ids = torch.randint(5, 900, (1, 40), device=device, generator=torch.Generator(device))
    alone = hidden_states(lm, ids, torch.ones_like(ids))
    padded = torch.cat([ids, ids.new_zeros(1, 25)], 1)
    mask = torch.cat([torch.ones_like(ids), ids.new_zeros(1, 25)], 1)
    beside = torch.cat([padded, torch.randint_like(padded, 5, 900)])  # another row, all of it real
    found = hidden_states(lm, beside, torch.cat([mask, torch.ones_like(mask)]))[:1, :40]
    within = 1e-4 if dtype == "float32" else 0.05
    assert (found - alone).abs().max().item() < within * alone.abs().max().item()


def config_on(device: str, dtype: Any = "float32", lora_rank: int = 0, **changes: Any) -> Config:
    micro = changes.pop("micro_batch", 8)
    few = {"epochs": 1, "batch_size": 8, "warmup": 0.0, **changes}
    return Config(
        models=ModelSettings(lora_rank=lora_rank),
        train=TrainSettings(**few),
        runtime=RuntimeSettings(device=device, dtype=dtype, micro_batch=micro, threads=1),
    )


def trained(config: Config, folder: Path) -> DistillationTrainer:
    """The bundled base, taught by the bundled teacher at every step."""
    backend = choose_backend(config.runtime, config.models.lora_rank)
    set_seed(0)
    base, teacher = (
        load_model("base", config.models, backend),
        load_model("teacher", config.models, backend),
    )
    data = encode_examples(EXAMPLES, base.tokenizer, config.train.max_length, teacher.tokenizer)
    student = for_training(base, config.models.lora_rank)
    objective = objective_of("kd", config.train)
    hyperparameters = hyperparameters_of(config, backend.dtype)
    trainer = DistillationTrainer(student, data, objective, teacher, hyperparameters, folder)
    trainer.before = {n: w.clone() for n, w in teacher.lm.state_dict().items()}  # type: ignore[attr-defined]
    trainer.train()
    return trainer


def steps(trainer: Any, what: str = "loss") -> list[float]:
    return [row[what] for row in trainer.state.log_history if what in row]


@pytest.mark.parametrize(("dtype", "lora_rank"), [("float32", 0), ("half", 0), ("half", 8)])
def test_the_kd_loss_falls_and_the_teacher_stays(device, dtype, lora_rank, tmp_path):
    dtype = half(device) if dtype == "half" else dtype
    trainer: Any = trained(
        config_on(device, dtype, lora_rank, epochs=6, learning_rate=3e-3), tmp_path
    )
    loss, kl = steps(trainer), steps(trainer, "kl")
    assert len(loss) == 12
    assert max(loss[-2:]) < 0.8 * min(loss[:2])
    assert max(kl[-2:]) < min(kl[:2])
    after = trainer.teacher.lm.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in trainer.before.items())
    learnt = [p for p in trainer.model.parameters() if p.requires_grad]
    assert {p.dtype for p in learnt} == {torch.float32}
    if device == "cuda":
        assert {p.device.type for p in trainer.model.parameters()} == {"cuda"}
        assert (trainer.accelerator.scaler is not None) == (dtype == "float16")


def test_one_micro_batch_is_four(device, tmp_path):
    whole, parts = (trained(config_on(device, micro_batch=n), tmp_path / str(n)) for n in (8, 2))
    assert steps(whole) == pytest.approx(steps(parts), rel=1e-4)
    assert steps(whole, "grad_norm") == pytest.approx(steps(parts, "grad_norm"), rel=1e-3)


def test_what_an_arm_leaves_is_gone_when_the_next_begins(device, tmp_path):
    config = config_on(device)
    trainer = trained(config, tmp_path)
    left = weakref.ref(trainer.model)
    del trainer
    start(config, tmp_path)
    assert left() is None


def gradient(device: str, dtype: str, scale: float) -> torch.Tensor:
    """LoRA's gradient of one step under autocast and a scaler, unscaled again, as one vector."""
    set_seed(0)
    config = config_on(device, dtype, lora_rank=8)
    base = load_model("base", config.models, backend_on(device, dtype))
    data = encode_examples(EXAMPLES, base.tokenizer, config.train.max_length)
    student: Any = for_training(base, 8).lm
    with torch.no_grad():  # LoRA starts at 0, where half of the gradient is 0
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02, generator=torch.Generator(device).manual_seed(3))
    batch = {k: v.to(device) for k, v in collate(data[:4], 0).items()}
    scaler = torch.amp.GradScaler(device, init_scale=scale, enabled=dtype == "float16")
    with torch.autocast(device, dtype=torch.float16, enabled=dtype == "float16"):
        hidden = hidden_states(student, batch["input_ids"], batch["attention_mask"])
    states, targets = completion_states(hidden, batch["labels"])
    loss = distillation_loss(states, head(student), targets, Objective()).total
    optimiser = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.0)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    found = [p.grad.flatten() for p in student.parameters() if p.requires_grad]
    assert all(bool(g.isfinite().all()) for g in found)
    return torch.cat(found)


def test_float16_with_a_gradient_scaler_has_float32s_gradient(device):
    exact = gradient(device, "float32", 1.0)
    scaled = gradient(device, "float16", 2.0**12)
    assert torch.nn.functional.cosine_similarity(exact, scaled, dim=0).item() > 0.995
    assert scaled.norm().item() == pytest.approx(exact.norm().item(), rel=0.03)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_four_bits(tmp_path):
    pytest.importorskip("bitsandbytes")
    dtype = half("cuda")
    teacher = load("bundled", backend_on("cuda", dtype), "teacher", four_bit=True)
    kinds = {type(module).__name__ for module in teacher.lm.base_model.modules()}
    assert "Linear4bit" in kinds
    require_known_head(teacher)
    said = answers(teacher, len(QUESTIONS))
    assert sum(answer_text(s) in q.answers for s, q in zip(said, QUESTIONS, strict=True)) >= 12


# -- memory


def random_model(folder: Path, dtype: torch.dtype, **sizes: Any) -> str:
    """A Qwen2 with random weights, and the bundled tokenizer."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(data_folder() / "tiny_models" / "teacher"))
    config = AutoConfig.for_model(
        "qwen2", tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **sizes,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


WORK: list[tuple[str, dict[str, Any]]] = [
    ("sample", {"prompts": 4, "n": 8, "length": 300, "new": 20}),
    ("sample", {"prompts": 8, "n": 1, "length": 600, "new": 8}),
    ("fill", {"micro": 4, "length": 400, "new": 60}),
    ("train", {"micro": 4, "batch": 4, "length": 256, "new": 40, "lora_rank": 16}),
    ("train", {"micro": 2, "batch": 4, "length": 256, "new": 40}),
]


@pytest.mark.parametrize(("work", "settings"), WORK)
def test_memory_is_as_predicted(device, work, settings, tmp_path):
    """On the CPU, where a peak belongs to the whole process, only that it runs: `test_memory` has
    its processes."""
    large = device == "cuda"
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16}
    if not large:
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        settings = {**settings, "length": settings["length"] // 4, "new": settings["new"] // 4}
    folder = random_model(
        tmp_path, torch.float32, vocab_size=32_000 if large else 1000, num_attention_heads=8,
        num_key_value_heads=4, **sizes,
    )  # fmt: skip
    dtype = half(device) if large else "float32"
    peak, parts = memory_worker.work(work, folder, {**settings, "dtype": dtype, "device": device})
    if large:
        print(json.dumps({"peak": peak, **parts}))
        assert 0.9 < sum(parts.values()) / peak < 1.3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_colabs_student_is_trained_within_the_profiles_budget(tmp_path):
    """Random weights of Qwen2.5-0.5B's shape, examples of max-length, in float16 as on a T4."""
    colab = PROFILES["colab"]
    folder = random_model(
        tmp_path, torch.float16, vocab_size=151_936, hidden_size=896, intermediate_size=4864,
        num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
    )  # fmt: skip
    settings = {
        "micro": colab.runtime.micro_batch,
        "batch": 2 * colab.runtime.micro_batch,
        "length": colab.train.max_length,
        "new": colab.generate.max_new_tokens + 1,
        "lora_rank": colab.models.lora_rank,
        "dtype": "float16",
        "device": "cuda",
    }
    peak, parts = memory_worker.work("train", folder, settings)
    assert 0.9 < sum(parts.values()) / peak < 1.3
    assert peak + memory.PROCESS < BUDGETS["colab"].room * 1e9


@pytest.mark.gpu
@pytest.mark.network
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_colabs_teacher_samples_within_the_profiles_budget():
    """The real teacher in 4 bits, from the hub; prompts that fill max-length."""
    pytest.importorskip("bitsandbytes")
    colab = PROFILES["colab"]
    colab = replace(colab, runtime=replace(colab.runtime, device="cuda", dtype="float16"))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    teacher = load_model(
        "teacher", colab.models, choose_backend(colab.runtime, colab.models.lora_rank)
    )
    s: GenerateSettings = colab.generate
    rows, length = colab.runtime.sample_batch, colab.train.max_length
    for prompts, how in (
        (rows // s.n_samples, Sampling(s.n_samples, 1.0, 1.0, 16)),
        (rows, Sampling(max_new_tokens=16)),
    ):
        memory_worker.sampled(teacher, prompts, length, how)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak + memory.PROCESS < BUDGETS["colab"].room * 1e9
