"""On-policy distillation, sampling included: ours against TRL's DistillationTrainer.

Bundled pair and questions, one sample of each prompt, reverse KL at T = 1, all weights trained.
What counts is tokens that the student wrote and learnt from, a second. TRL goes on after
`</answer>` until the end token, ours stops there: so each is divided by its own tokens. Since
release 1.15 TRL's divergence is a Triton kernel, which no CPU runs; 1.14.2, in PyTorch, stands
beside it.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.loss_peers import TRL_TORCH
from benchmarks.measure import Case, UnavailableError
from benchmarks.worker import Work
from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.run.settings import BUNDLED
from distill_lab.sampling.jobs import Job, encoded, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.squad import questions as squad

CONTENDERS = ("ours", "trl_distillation_torch", "trl_distillation")
LEARNING_RATE = 3e-4


def cases(quick: bool) -> list[Case]:
    """A few steps of the bundled pair."""
    sizes = {"rows": 32, "steps": 6, "new_tokens": 96}
    if quick:
        sizes = {"rows": 2, "steps": 2, "new_tokens": 8}
    return [Case("on-policy", "On-policy distillation, sampling included", "on_policy_bench",
                 CONTENDERS, sizes, repeats=3)]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """The work of one contender: `steps` steps of a trainer that is ready to go."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if contender == "trl_distillation_torch":
        if not TRL_TORCH.is_dir():
            raise UnavailableError("TRL 1.14.2 is not installed beside 1.15.0: `make bench` does")
        sys.path.insert(0, str(TRL_TORCH))
    backend = Backend("transformers", "cpu", "float32", torch.get_num_threads(), "benchmark")
    teacher, base = (load(BUNDLED, backend, role) for role in ("teacher", "base"))
    student = for_training(base, 0)
    questions = squad.load(BUNDLED, "train").questions[: settings["rows"] * settings["steps"]]
    jobs = jobs_for(questions, student.tokenizer)
    folder = tempfile.TemporaryDirectory()
    make = _ours if contender == "ours" else _trls
    trainer = make(student, teacher, jobs, settings, Path(folder.name))

    def work() -> dict[str, float]:
        trainer.train()
        folder.cleanup()
        rows = [row for row in trainer.state.log_history if "loss" in row]
        length = "length" if contender == "ours" else "completions/mean_length"
        tokens = sum(row[length] * settings["rows"] for row in rows)
        return {"tokens": tokens, "steps": len(rows), "loss": rows[0]["loss"]}

    return work


def _ours(
    student: LanguageModel,
    teacher: LanguageModel,
    jobs: list[Job],
    settings: dict[str, Any],
    folder: Path,
) -> Any:
    from distill_lab.training.own_samples import Drawing, OwnSamplesTrainer, Prompt
    from distill_lab.training.trainer import Hyperparameters

    ids = encoded(jobs, student.tokenizer)
    prompts = [Prompt(job, ids[job.prompt], ids[job.prompt]) for job in jobs]
    drawing = Drawing(Sampling(1, 1.0, 1.0, settings["new_tokens"], 0), settings["rows"])
    how = Hyperparameters(1, LEARNING_RATE, settings["rows"])
    objective = Objective(1.0, 1.0, "reverse-kl")
    return OwnSamplesTrainer(student, prompts, drawing, objective, teacher, how, folder)


def _trls(
    student: LanguageModel,
    teacher: LanguageModel,
    jobs: list[Job],
    settings: dict[str, Any],
    folder: Path,
) -> Any:
    """With our settings; without gradient checkpointing, its default, as ours has none."""
    try:
        from datasets import Dataset
        from trl.trainer import distillation_trainer as shipped
        from trl.trainer.distillation_config import DistillationConfig
    except ImportError as error:
        raise UnavailableError(f"not installed here: {error}") from None
    if not hasattr(shipped, "_CHUNKED_LM_HEAD_CHUNK_SIZE") and not torch.cuda.is_available():
        raise UnavailableError("its Triton kernel does not run on a CPU")
    arguments = DistillationConfig(
        output_dir=str(folder), num_train_epochs=1, learning_rate=LEARNING_RATE,
        per_device_train_batch_size=settings["rows"], lr_scheduler_type="cosine", beta=1.0,
        temperature=1.0, max_completion_length=settings["new_tokens"], bf16=False, use_cpu=True,
        gradient_checkpointing=False, seed=0, report_to=[], logging_steps=1, save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    return shipped.DistillationTrainer(
        model=student.lm,
        teacher_model=teacher.lm,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": [job.prompt for job in jobs]}),
        processing_class=student.tokenizer,
    )
