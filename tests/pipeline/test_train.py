"""Training on tiny random models: TRL as the oracle, tables of what is encoded, kill and resume."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODEL_KINDS, ROOT
from torch import Tensor
from transformers import set_seed

from distill_lab.losses.distillation import IGNORED
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    load_model,
    load_student,
)
from distill_lab.pipeline import train
from distill_lab.pipeline.learning import teachers
from distill_lab.pipeline.learning.teachers import encode_for
from distill_lab.run import saved_settings
from distill_lab.run.records import Example, LabError, write_records
from distill_lab.run.settings import Config, ModelSettings, RuntimeSettings, TrainSettings
from distill_lab.tasks.prompts import BEGUN, encode, render
from distill_lab.tasks.squad.task import user_text
from distill_lab.training.batches import Encoded, collate
from distill_lab.training.trainer import DistillationTrainer, _half_precision

THOUGHTS = "short", "a thought of middling length", "a long one, " * 12, "", "it says so " * 5
EXAMPLES = [
    Example(
        f"q{i}",
        0,
        user_text(f"Ann number {i} lives in Rome.", f"Where does Ann {i} live?"),
        f"<think>{THOUGHTS[i % 5]}</think><answer>Rome {i}</answer>",
    )
    for i in range(10)
]
LOGGED = {
    "step", "epoch", "loss", "ce", "kl", "trained", "scored", "learning_rate", "grad_norm",
}  # fmt: skip


def settings(
    teacher: Path, student: Path, lora_rank=0, dtype: Any = "float32", **changes
) -> Config:
    """10 examples in 3 steps of 4, 4 and 2."""
    own = {name: changes.pop(name) for name in ("micro_batch", "save_every") if name in changes}
    shots = changes.pop("teacher_shots", 0)
    few = {"epochs": 1, "batch_size": 4, "warmup": 0.0, **changes}
    return Config(
        models=ModelSettings(str(teacher), str(student), shots, lora_rank),
        train=TrainSettings(**few),
        runtime=RuntimeSettings(device="cpu", dtype=dtype, threads=1, **own),
    )


@pytest.fixture
def pair(tiny_model):
    """A teacher and a student of other architectures with one vocabulary."""
    return tiny_model("llama"), tiny_model("qwen3")


def run_in(out: Path, config: Config) -> Path:
    saved_settings.claim_run_folder(config, out)
    write_records(out / "examples.jsonl", EXAMPLES)
    train.run(config, out)
    return out


def log(out: Path, arm: str) -> list[dict[str, Any]]:
    text = (out / "students" / arm / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def weights(out: Path, arm: str, config: Config) -> dict[str, Tensor]:
    folder = out / "students" / arm / "model"
    return load_student(folder, config.models, choose_backend(config.runtime)).lm.state_dict()


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], within: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=within, msg=name)


def trainer_for(config: Config, alpha: float, folder: Path) -> DistillationTrainer:
    backend = choose_backend(config.runtime)
    torch.set_num_threads(backend.threads)
    set_seed(config.train.seed)
    base = load_model("base", config.models, backend)
    teacher = load_model("teacher", config.models, backend) if alpha else None
    data = encode_for(config, EXAMPLES, base, teacher)
    student = for_training(base, config.models.lora_rank)
    objective = train.objective_of("kd", replace(config.train, alpha=alpha))
    hyperparameters = train.hyperparameters_of(config, backend.dtype)
    return DistillationTrainer(student, data, objective, teacher, hyperparameters, folder)


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 7])  # 10 examples are 3 steps a pass
def test_steps_count_whatever_the_epochs_say(tiny_model, tmp_path, steps):
    config = settings(tiny_model("llama"), tiny_model("llama"), steps=steps, epochs=2)
    run_in(tmp_path, config)
    rows = log(tmp_path, "sft")
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    # the rate at which step k begins: a cosine over just these steps
    cosine = [3e-3 * (1 + math.cos(math.pi * k / steps)) / 2 for k in range(steps)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(cosine)


def test_as_many_steps_as_two_epochs_have_are_two_epochs(tiny_model, tmp_path):
    kind = tiny_model("llama")
    two, six = settings(kind, kind, epochs=2), settings(kind, kind, steps=6)
    run_in(tmp_path / "two", two)
    run_in(tmp_path / "six", six)
    for arm in ("sft", "kd"):
        assert_same(weights(tmp_path / "two", arm, two), weights(tmp_path / "six", arm, six), 0)


# --- the loss of a step ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_alpha_0_is_trls_sft_loss(tiny_model, tmp_path, kind):
    """Its SFTTrainer, with its own masks and its own collator; and the gradient."""
    from datasets import Dataset
    from trl.trainer import utils
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    config = settings(tiny_model(kind), tiny_model(kind))
    ours = trainer_for(config, 0.0, tmp_path)
    data: Any = ours.train_dataset
    rows = [
        {
            "input_ids": e.student_prompt + e.completion,
            "completion_mask": [0] * len(e.student_prompt) + [1] * len(e.completion),
        }
        for e in data
    ]
    model = load_model("base", config.models, choose_backend(config.runtime))
    theirs = SFTTrainer(
        model.lm,
        args=SFTConfig(
            str(tmp_path), completion_only_loss=True, max_length=None, use_cpu=True, report_to=[]
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=model.tokenizer,
    )
    ours_lm: Any = ours.model
    ours_lm.eval()  # GPT-2 has dropout
    batch = theirs.data_collator(list(theirs.train_dataset))  # type: ignore[arg-type]
    mine = ours.compute_loss(ours_lm, collate(data, model.tokenizer.pad_token_id))  # type: ignore[arg-type]
    # TRL's head needs Triton; without it, what SFTTrainer.compute_loss itself falls back to
    fused = (
        getattr(utils, "_ChunkedLogProbFunction", None) is not None and torch.cuda.is_available()
    )
    compute: Any = (theirs if fused else super(SFTTrainer, theirs)).compute_loss
    n_items = (batch["labels"] != IGNORED).sum()
    oracle = compute(model.lm.eval(), batch, num_items_in_batch=n_items)
    torch.testing.assert_close(mine, oracle, rtol=1e-6, atol=1e-6)
    mine.backward()
    oracle.backward()
    oracles = dict(model.lm.named_parameters())
    for name, parameter in ours_lm.named_parameters():
        torch.testing.assert_close(parameter.grad, oracles[name].grad, rtol=1e-4, atol=1e-6)


def test_4_x_1_equals_1_x_4(pair, tmp_path):
    """Completions of very different lengths, and a last step of 2 examples."""
    lengths = {len(e.completion) for e in encoded_by(pair[1], settings(*pair))}
    assert max(lengths) > 3 * min(lengths)
    whole, parts = (settings(*pair, micro_batch=n, learning_rate=1e-3) for n in (4, 1))
    one, four = run_in(tmp_path / "1x4", whole), run_in(tmp_path / "4x1", parts)
    for arm in train.ARMS:
        assert len(log(one, arm)) == 3
        for row, other in zip(log(one, arm), log(four, arm), strict=True):
            assert row.keys() == other.keys()
            for name in LOGGED - {"epoch"}:  # which the Trainer counts in whole micro-batches
                assert row[name] == pytest.approx(other[name], abs=1e-5)
        assert_same(weights(one, arm, whole), weights(four, arm, parts), within=1e-5)


def test_each_step_logs_ce_and_kl_apart(pair, tmp_path):
    config = settings(*pair, alpha=0.3, temperature=3.0, micro_batch=2, epochs=2)
    out = run_in(tmp_path, config)
    for arm, alpha in (("sft", 0.0), ("kd", 0.3)):
        rows = log(out, arm)
        assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
        for row in rows:
            assert row.keys() == LOGGED
            whole = (1 - alpha) * row["ce"] + alpha * 3.0**2 * row["kl"]
            assert row["loss"] == pytest.approx(whole, abs=1e-5)
            assert (row["kl"] > 0) == bool(alpha)
    assert log(out, "sft")[0]["ce"] == pytest.approx(log(out, "kd")[0]["ce"], abs=1e-5)
    # cosine, with no warm-up: from the peak to 0
    rates = [row["learning_rate"] for row in log(out, "sft")]
    assert rates[0] == pytest.approx(3e-3)
    assert rates == sorted(rates, reverse=True)


def sharpened(folder: Path, to: Path) -> Path:
    """A copy of a model that is sure of itself: random weights give nearly uniform answers."""
    model = load_model(
        "base", ModelSettings("", str(folder)), choose_backend(RuntimeSettings(device="cpu"))
    )
    linear: Any = model.lm.get_output_embeddings()
    with torch.no_grad():
        linear.weight.mul_(20)
    model.lm.save_pretrained(to)
    model.tokenizer.save_pretrained(to)
    return to


def test_kl_falls_and_the_teacher_stays_as_it_was(pair, tmp_path):
    teacher = sharpened(pair[0], tmp_path / "teacher")
    config = settings(teacher, pair[1], alpha=1.0, epochs=10, learning_rate=1e-2)
    trainer = trainer_for(config, 1.0, tmp_path / "student")
    assert isinstance(trainer.teacher, LanguageModel)
    before = {name: value.clone() for name, value in trainer.teacher.lm.state_dict().items()}
    trainer.train()
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert max(kl[-3:]) < 0.9 * min(kl[:3])
    assert_same(before, trainer.teacher.lm.state_dict(), within=0)
    assert all(parameter.grad is None for parameter in trainer.teacher.lm.parameters())
    assert not trainer.teacher.lm.training


def test_sft_takes_nothing_from_the_teacher(pair, tmp_path):
    one = run_in(tmp_path / "one", settings(*pair))
    other = run_in(tmp_path / "other", settings(sharpened(pair[0], tmp_path / "t"), pair[1]))
    assert log(one, "sft") == log(other, "sft")
    assert log(one, "kd") != log(other, "kd")


def cached(config: Config, **changes) -> Config:
    return replace(config, train=replace(config.train, **changes))


@pytest.mark.parametrize(
    "divergence", ["forward-kl", pytest.param("reverse-kl", marks=pytest.mark.slow), "jsd"]
)
def test_a_cache_of_all_tokens_trains_as_the_teacher_itself(pair, tmp_path, divergence):
    config = settings(*pair, teacher_shots=1, divergence=divergence, epochs=2)
    online = run_in(tmp_path / "online", cached(config, cache="none"))
    whole = run_in(tmp_path / "cached", cached(config, cache="topk", cache_k=1024))
    assert not (online / "teacher_cache").exists()
    for row, other in zip(log(online, "kd"), log(whole, "kd"), strict=True):
        assert row["kl"] == pytest.approx(other["kl"], abs=2e-4)
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-3)


def test_smaller_caches_train_nearly_as_the_teacher_itself(pair, tmp_path):
    """Of a random teacher, whose tail is heavy: tokens as one lump lose some of the KL."""
    teacher = sharpened(pair[0], tmp_path / "teacher")
    config = settings(teacher, pair[1])
    online = run_in(tmp_path / "online", cached(config, cache="none"))
    top = run_in(tmp_path / "top", cached(config, cache="topk", cache_k=64))
    drawn = run_in(tmp_path / "drawn", cached(config, cache="sampled", cache_k=1024))
    for row, of_top, of_drawn in zip(*(log(o, "kd") for o in (online, top, drawn)), strict=True):
        assert 0 < of_top["kl"] <= row["kl"] + 1e-3
        assert of_drawn["kl"] == pytest.approx(row["kl"], rel=0.1)
        assert of_top["ce"] == pytest.approx(row["ce"], rel=0.05)


def test_training_from_a_whole_cache_loads_no_teacher(pair, tmp_path, monkeypatch):
    config = settings(*pair)
    first = run_in(tmp_path, config)
    before = log(first, "kd")
    shutil.rmtree(tmp_path / "students")

    def without_teacher(who: str, *rest: Any) -> Any:
        assert who != "teacher", "the teacher was loaded"
        return load_model(who, *rest)

    monkeypatch.setattr(teachers, "load_model", without_teacher)
    train.run(config, tmp_path)
    assert log(tmp_path, "kd") == before


def test_sampled_tokens_with_another_divergence_are_refused(pair, tmp_path):
    with pytest.raises(LabError, match="forward-kl, found jsd"):
        run_in(tmp_path, settings(*pair, cache="sampled", divergence="jsd"))


def test_a_cache_for_another_temperature_is_refused(pair, tmp_path):
    run_in(tmp_path, settings(*pair))
    shutil.rmtree(tmp_path / "students")
    with pytest.raises(LabError, match=r"teacher_cache was made with --train.temperature 2.0"):
        run_in(tmp_path, settings(*pair, temperature=3.0))


# --- what is encoded ------------------------------------------------------------------------------


def encoded_by(
    folder: Path, config: Config, examples=EXAMPLES, teacher: LanguageModel | None = None
):
    student = load_model(
        "base", replace(config.models, student=str(folder)), choose_backend(config.runtime)
    )
    return encode_for(config, examples, student, teacher)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_what_is_learnt_is_the_completion_and_its_end_token(tiny_model, kind):
    folder = tiny_model(kind)
    tokenizer: Any = load_model(
        "base", ModelSettings("", str(folder)), choose_backend(RuntimeSettings(device="cpu"))
    ).tokenizer
    batch = collate(encoded_by(folder, settings(folder, folder)), tokenizer.pad_token_id)
    for row, example in enumerate(EXAMPLES):
        labels, ids = batch["labels"][row], batch["input_ids"][row]
        learnt = labels != IGNORED
        assert tokenizer.decode(labels[learnt]) == example.completion + tokenizer.eos_token
        before = ids[: int(learnt.nonzero()[0])]
        assert tokenizer.decode(before) == render(example.prompt, tokenizer)
        assert torch.equal(labels[learnt], ids[learnt])


#          prompt      teacher's prompt   completion and its end, 9
LONG = Encoded([5, 5, 5], [6, 6, 6, 6, 6], [1, 2, 9])
SHORT = Encoded([5], [6, 6], [9])
X = IGNORED


@pytest.mark.parametrize("pad", [0, 9])
def test_collate_by_hand(pad):
    """Also where the padding is the end token. A teacher may have another vocabulary, and is padded
    with an id that each has."""
    batch = {name: value.tolist() for name, value in collate([LONG, SHORT], pad).items()}
    assert batch == {
        "input_ids": [[5, 5, 5, 1, 2, 9], [5, 9, pad, pad, pad, pad]],
        "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
        "labels": [[X, X, X, 1, 2, 9], [X, 9, X, X, X, X]],
        "teacher_input_ids": [[6, 6, 6, 6, 6, 1, 2, 9], [6, 6, 9, 0, 0, 0, 0, 0]],
        "teacher_attention_mask": [[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0]],
        "teacher_labels": [[X, X, X, X, X, 1, 2, 9], [X, X, 9, X, X, X, X, X]],
    }


def test_a_few_shot_teacher_meets_the_student_at_the_completion(pair):
    config = settings(*pair, teacher_shots=2)
    encoded = encoded_by(pair[1], config)
    assert all(len(e.teacher_prompt) > 2 * len(e.student_prompt) for e in encoded)
    batch = collate(encoded, 0)
    for row in range(len(encoded)):
        ours, theirs = batch["labels"][row], batch["teacher_labels"][row]
        assert ours[ours != IGNORED].tolist() == theirs[theirs != IGNORED].tolist()


def test_the_teachers_prompt_goes_through_its_own_template(pair, tmp_path):
    """It is the prompt that its traces were sampled from (but for the begun <think>)."""
    folder = shutil.copytree(pair[0], tmp_path / "teacher")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{m.content}}]{% endfor %}"
    )
    config = settings(folder, pair[1], teacher_shots=1)
    teacher = load_model("teacher", config.models, choose_backend(config.runtime))
    for e, example in zip(encoded_by(pair[1], config, teacher=teacher), EXAMPLES, strict=True):
        sampled_from = encode(teacher.tokenizer, render(example.prompt, teacher.tokenizer, 1))
        begun = encode(teacher.tokenizer, BEGUN)
        assert e.teacher_prompt + begun == sampled_from


def test_what_is_too_long_is_cut_from_the_end_or_left_out_and_counted(pair, capsys):
    whole = encoded_by(pair[1], settings(*pair))
    lengths = [len(e.student_prompt) + len(e.completion) for e in whole]
    prompts = [len(e.student_prompt) for e in whole]
    assert capsys.readouterr().out == ""
    wordy = Example("long", 0, user_text("Ann lives in Rome. " * 40, "Where?"), "<think>")
    longest = max(prompts) + 4
    got = encoded_by(pair[1], settings(*pair, max_length=longest), [*EXAMPLES, wordy])
    cut = sum(length > longest for length in lengths)
    assert cut
    for e, before in zip(got, whole, strict=True):
        assert e.student_prompt == before.student_prompt
        assert e.completion == before.completion[: longest - len(before.student_prompt)]
        assert len(e.completion) >= 4
    assert capsys.readouterr().out == (
        f"train: {cut} examples cut to {longest} tokens, "
        "1 left out as their prompt alone is longer\n"
    )


def test_a_prompt_that_just_fills_the_length_is_left_out(pair, capsys):
    length = len(encoded_by(pair[1], settings(*pair), EXAMPLES[:1])[0].student_prompt)
    with pytest.raises(LabError, match=rf"--train.max-length {length}: expected room"):
        encoded_by(pair[1], settings(*pair, max_length=length), EXAMPLES[:1])
    assert "1 left out" in capsys.readouterr().out
    kept = encoded_by(pair[1], settings(*pair, max_length=length + 1), EXAMPLES[:1])
    assert [len(e.completion) for e in kept] == [1]


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_any_causal_lm_is_trained_whole_or_by_lora(tiny_model, tmp_path, kind, lora_rank):
    config = settings(tiny_model("llama"), tiny_model(kind), lora_rank, learning_rate=1e-2)
    out = run_in(tmp_path, config)
    base = load_model("base", config.models, choose_backend(config.runtime)).lm.state_dict()
    for arm in train.ARMS:
        folder = out / "students" / arm
        assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "model"]
        found = {path.name for path in (folder / "model").iterdir()}
        assert ("adapter_model.safetensors" if lora_rank else "model.safetensors") in found
        assert ("config.json" in found) == (not lora_rank)
        assert not [name for name in found if name.endswith((".bin", ".pt", ".pth"))]
        trained = weights(out, arm, config)
        assert trained.keys() == base.keys()
        assert any((trained[name] - base[name]).abs().max() > 1e-4 for name in base)
    assert not train.run(config, out)  # both are there


def test_lora_leaves_the_base_and_its_head_alone(pair, tmp_path):
    config = settings(*pair, lora_rank=4, learning_rate=1e-2)
    trainer = trainer_for(config, 0.5, tmp_path)
    lm: Any = trainer.model
    names = [name for name, parameter in lm.named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)
    before = lm.get_output_embeddings().weight.clone()
    trainer.train()
    assert torch.equal(lm.get_output_embeddings().weight, before)
    assert lm.get_output_embeddings().weight.grad is None


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_half_precision_weights_are_trained_in_float32(pair, lora_rank):
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="bfloat16"))
    base = load_model("base", ModelSettings("", str(pair[1])), backend)
    student = for_training(base, lora_rank)
    trained = {p.dtype for p in student.lm.parameters() if p.requires_grad}
    assert trained == {torch.float32}


def test_lora_is_trained_on_a_bfloat16_base(pair, tmp_path):
    config = settings(*pair, lora_rank=4, dtype="bfloat16", learning_rate=1e-2, epochs=4)
    out = run_in(tmp_path, config)
    for arm, alpha in (("sft", 0.0), ("kd", 0.5)):
        rows = log(out, arm)
        assert rows[-1]["ce"] < rows[0]["ce"] - 0.1
        for row in rows:  # the parts are float32, so they add up
            whole = (1 - alpha) * row["ce"] + alpha * 2.0**2 * row["kl"]
            assert row["loss"] == pytest.approx(whole, abs=1e-5)


def test_no_examples_is_said(pair, tmp_path):
    write_records(tmp_path / "examples.jsonl", [])
    with pytest.raises(LabError, match="expected kept traces, found none"):
        train.run(settings(*pair), tmp_path)


def test_no_examples_file_is_said(pair, tmp_path):
    with pytest.raises(LabError, match="distill-lab reject"):
        train.run(settings(*pair), tmp_path)


def test_a_micro_batch_that_does_not_divide_is_said(pair, tmp_path):
    with pytest.raises(LabError, match=r"--runtime.micro-batch: expected a divisor .* 4, found 3"):
        run_in(tmp_path, settings(*pair, micro_batch=3))


# --- tokenizers that disagree ---------------------------------------------------------------------


def with_tokens_swapped(folder: Path, to: Path) -> Path:
    """A copy of the model whose tokenizer gives two tokens each other's id."""
    shutil.copytree(folder, to)
    path = to / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["ou"], vocabulary["iv"] = vocabulary["iv"], vocabulary["ou"]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return to


def test_tokenizers_that_disagree_are_refused_for_kl_and_work_without(pair, tmp_path):
    teacher = with_tokens_swapped(pair[0], tmp_path / "teacher")
    with pytest.raises(LabError, match="differ in 2 ids") as error:
        run_in(tmp_path / "kd", settings(teacher, pair[1]))
    assert "'ou' and 'iv'" in str(error.value)
    assert "--train.alpha 0" in str(error.value)
    config = settings(teacher, pair[1], alpha=0.0)
    out = run_in(tmp_path / "sft", config)
    # with alpha 0 both arms are the same
    assert_same(weights(out, "sft", config), weights(out, "kd", config), within=0)


# --- interrupted and resumed ----------------------------------------------------------------------


def test_last_checkpoint_is_the_newest_whole_one(tmp_path):
    def checkpoint(step: int, state: str | None) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
        return folder

    assert train.last_checkpoint(tmp_path) is None
    checkpoint(9, "{}")
    whole = checkpoint(10, '{"global_step": 10}')  # after 9, though not in the alphabet
    torn = [checkpoint(11, None), checkpoint(12, '{"global_step": 1'), checkpoint(13, "")]
    assert train.last_checkpoint(tmp_path) == str(whole)
    assert not any(folder.exists() for folder in torn)
    assert train.last_checkpoint(tmp_path / "none") is None


class Breaking(list[Encoded]):
    """Data that can be read 12 times: once through, and a little into the second epoch."""

    reads = 0

    def __getitem__(self, place: Any) -> Any:
        self.reads += 1
        if self.reads > 12:
            raise OSError("the disk is gone")
        return super().__getitem__(place)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_run_that_broke_off_ends_as_one_that_did_not(pair, tmp_path, lora_rank):
    config = settings(
        *pair, lora_rank=lora_rank, save_every=2, epochs=2, learning_rate=1e-2, warmup=0.2
    )
    config = cached(config, cache="none")
    whole, out = run_in(tmp_path / "whole", config), tmp_path / "broken"
    trainer = trainer_for(config, config.train.alpha, out / "students" / "kd")
    trainer.train_dataset = Breaking(trainer.train_dataset)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.train()
    assert [path.name for path in (out / "students" / "kd").iterdir()] == ["checkpoint-2"]
    run_in(out, config)
    assert_same_students(whole, out, config)


@pytest.mark.parametrize("lora_rank", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_a_run_that_broke_off_at_the_very_end_is_finished(pair, tmp_path, lora_rank):
    """A folder where the log wants to be stops it after the last step, before the model."""
    config = settings(*pair, lora_rank=lora_rank, learning_rate=1e-2)
    whole, out = run_in(tmp_path / "whole", config), tmp_path / "broken"
    block = out / "students" / "kd" / "log.jsonl"
    block.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        run_in(out, config)
    block.rmdir()
    assert [path.name for path in block.parent.iterdir()] == ["checkpoint-3"]
    assert train.run(config, out)
    assert_same_students(whole, out, config)


def test_what_was_done_is_not_done_again(pair, tmp_path):
    """A mark in the checkpoint shows that it was gone on from."""
    config = settings(*pair)
    block = tmp_path / "students" / "sft" / "log.jsonl"
    block.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        run_in(tmp_path, config)
    block.rmdir()
    path = block.parent / "checkpoint-3" / "trainer_state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["log_history"][0]["ce"] = 123.0
    path.write_text(json.dumps(state), encoding="utf-8")
    assert train.run(config, tmp_path)
    assert [row["step"] for row in log(tmp_path, "sft")] == [1, 2, 3]
    assert log(tmp_path, "sft")[0]["ce"] == 123.0


def assert_same_students(whole: Path, out: Path, config: Config) -> None:
    for arm in train.ARMS:
        assert log(whole, arm) == log(out, arm)
        assert_same(weights(whole, arm, config), weights(out, arm, config), within=0)
        found = (out / "students" / arm).iterdir()
        assert sorted(path.name for path in found) == ["log.jsonl", "model"]


STAGE = """
import sys
from pathlib import Path
from distill_lab.run import saved_settings; from distill_lab.pipeline import train
from distill_lab.pipeline.learning import teachers
from distill_lab.pipeline.learning.teachers import encode_for
config = saved_settings.saved(Path(sys.argv[1]))
train.run(config, Path(sys.argv[1]))
"""


def start_process(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [False, True], ids=["qwen3", "gpt2 with dropout"])
def test_a_killed_run_ends_as_one_that_was_not(tiny_model, tmp_path, dropout):
    """kill -9 after a few checkpoints, once in each arm."""
    student = tiny_model("gpt2" if dropout else "qwen3")
    config = settings(tiny_model("llama"), student, save_every=3, epochs=40)
    whole, out = run_in(tmp_path / "whole", config), tmp_path / "killed"
    saved_settings.claim_run_folder(config, out)
    write_records(out / "examples.jsonl", EXAMPLES)
    for arm in train.ARMS:
        process = start_process(out)
        deadline = time.monotonic() + 300
        while process.poll() is None and not list(
            (out / "students" / arm).glob("checkpoint-*/trainer_state.json")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "students" / arm / "model").exists()
    assert train.run(config, out)
    assert_same_students(whole, out, config)


# --- half precision on a GPU ----------------------------------------------------------------------

MIXED = [  # device, dtype: fp16 (with a gradient scaler), bf16
    ("cuda", "float16", (True, False)),
    ("cuda", "bfloat16", (False, True)),
    ("cuda", "float32", (False, False)),
    ("cpu", "bfloat16", (False, False)),
]


@pytest.mark.parametrize(("device", "dtype", "expected"), MIXED)
def test_which_half_precision_the_trainer_takes(device, dtype, expected):
    made = _half_precision(dtype, torch.device(device))
    assert (made["fp16"], made["bf16"]) == expected
