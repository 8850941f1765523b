"""A whole training step with LoRA: ours against TRL's GKDTrainer, on the same token ids.

Teacher and student are random models of Qwen2's kind with its vocabulary and few layers, made on
the spot. Off-policy (lmbda 0), forward KL alone at T = 1, as GKDTrainer takes a temperature and
does not use it in its loss: so both must find the same loss at the first step, which the table
shows.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.measure import Case, UnavailableError
from benchmarks.worker import Work
from distill_lab.losses.distillation import Objective
from distill_lab.models.loading import LanguageModel, for_training
from distill_lab.models.sources import resolve
from distill_lab.run.settings import BUNDLED
from distill_lab.training.batches import Encoded, collate

CONTENDERS = ("ours", "trl_gkd", "ours_cached", "trl_gkd_default")
RANK = 16
LEARNING_RATE = 1e-3


def cases(quick: bool) -> list[Case]:
    """Qwen2.5's 0.5B under its 1.5B, with fewer layers."""
    sizes = {"vocabulary": 151_936, "layers": 4, "rows": 2, "prompt": 128, "completion": 128}
    sizes |= {"student": 896, "teacher": 1536, "steps": 2}
    if quick:
        sizes |= {"vocabulary": 2_000, "layers": 2, "prompt": 16, "completion": 16}
        sizes |= {"student": 64, "teacher": 128}
    title = "A training step with LoRA"
    return [Case("training", title, "training_bench", CONTENDERS, sizes, repeats=3,
                 seldom=CONTENDERS[2:])]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """The work of one contender: `steps` steps of a trainer that is ready to go."""
    torch.manual_seed(0)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    student, teacher = (
        random_model(settings["vocabulary"], settings[role], settings["layers"])
        for role in ("student", "teacher")
    )
    data = _data(settings)
    folder = tempfile.TemporaryDirectory()
    if contender in ("ours", "ours_cached"):
        cached = contender == "ours_cached"
        trainer = _ours(student, teacher, data, settings, Path(folder.name), cached)
    else:
        checkpointing = contender == "trl_gkd_default"
        trainer = _gkd(student, teacher, data, settings, Path(folder.name), checkpointing)

    def work() -> dict[str, float]:
        trainer.train()
        folder.cleanup()
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        return {"loss": losses[0], "steps": trainer.state.global_step}

    return work


def random_model(vocabulary: int, width: int, layers: int) -> LanguageModel:
    """A random Qwen2 of Qwen2.5's proportions, with the bundled tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve(BUNDLED, "teacher"))
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=int(5.5 * width),
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return LanguageModel(Qwen2ForCausalLM(config).eval(), tokenizer, f"random Qwen2, {width} wide")


def _data(settings: dict[str, Any]) -> list[Encoded]:
    """Random token ids, prompt and completion of fixed lengths: rows of one step, for each step."""
    rows = []
    for _ in range(settings["rows"] * settings["steps"]):
        ids = torch.randint(5, min(900, settings["vocabulary"]),
                            (settings["prompt"] + settings["completion"],)).tolist()  # fmt: skip
        prompt, completion = ids[: settings["prompt"]], ids[settings["prompt"] :]
        rows.append(Encoded(prompt, prompt, completion))
    return rows


def _ours(
    student: LanguageModel,
    teacher: LanguageModel,
    data: list[Encoded],
    settings: dict[str, Any],
    folder: Path,
    cached: bool,
) -> Any:
    """Our trainer; `cached`: the teacher has been run before, and only its top 64 are read."""
    from distill_lab.training.teacher_cache.build import RowFormat, TeacherCache, fill
    from distill_lab.training.trainer import DistillationTrainer, Hyperparameters

    lora, source = for_training(student, RANK), teacher
    if cached:
        kind = RowFormat("topk", 64, (1.0,), settings["vocabulary"])
        fill(folder / "cache", teacher, data, kind, settings["rows"])
        source = TeacherCache(folder / "cache", kind, teacher.name)
    # no checkpoints: the other saves nothing either
    hyperparameters = Hyperparameters(1, LEARNING_RATE, settings["rows"])
    return DistillationTrainer(lora, data, Objective(1.0, 1.0), source, hyperparameters, folder)


def _gkd(
    student: LanguageModel,
    teacher: LanguageModel,
    data: list[Encoded],
    settings: dict[str, Any],
    folder: Path,
    checkpointing: bool,
) -> Any:
    """GKDTrainer with our settings, and gradient checkpointing (its default) or not (as ours)."""
    try:
        from datasets import Dataset
        from peft import LoraConfig
        from trl.experimental.gkd import GKDConfig, GKDTrainer
    except ImportError as error:
        raise UnavailableError(f"not installed here: {error}") from None
    pad = student.tokenizer.pad_token_id
    arguments = GKDConfig(
        output_dir=str(folder), num_train_epochs=1, learning_rate=LEARNING_RATE,
        per_device_train_batch_size=settings["rows"], lr_scheduler_type="cosine",
        lmbda=0.0, beta=0.0, temperature=1.0, gradient_checkpointing=checkpointing, bf16=False,
        use_cpu=True, seed=0, report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [{"prompt": e.student_prompt, "completion": e.completion} for e in data]
    return GKDTrainer(
        model=student.lm,
        teacher_model=teacher.lm,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        data_collator=lambda batch: _gkd_batch(batch, pad),
        processing_class=student.tokenizer,
        peft_config=LoraConfig(
            r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


def _gkd_batch(batch: list[dict[str, list[int]]], pad: Any) -> dict[str, torch.Tensor]:
    """Our own batch, with the prompts apart as GKDTrainer wants them."""
    ours = collate([Encoded(r["prompt"], r["prompt"], r["completion"]) for r in batch], pad)
    prompts = torch.tensor([row["prompt"] for row in batch])
    return {
        **{name: ours[name] for name in ("input_ids", "attention_mask", "labels")},
        "prompts": prompts,
        "prompt_attention_mask": torch.ones_like(prompts),
    }
