"""One piece of work in a process of its own, and the peak of memory that it took above the process
itself: `python tests/memory_worker.py WORK FOLDER SETTINGS`. A JSON line on stdout.

WORK is sample, evaluate, fill or train; FOLDER holds a model, SETTINGS are sizes (see `main`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.worker import peak_bytes, reset_peak
from distill_lab import memory, train
from distill_lab.backends import choose_backend
from distill_lab.config import Config, GenerateSettings, ModelSettings, RuntimeSettings
from distill_lab.config import TrainSettings as Train
from distill_lab.encoding import Encoded
from distill_lab.models import for_training, load
from distill_lab.pick import Sampling
from distill_lab.sampling import Job, complete
from distill_lab.shapes import shape_of
from distill_lab.teacher_cache import Kind, fill


def examples(n: int, length: int, completion: int) -> list[Encoded]:
    """Prompts that differ from their first token on, so that nothing is shared."""
    prompts = [[5 + i, *range(5, 4 + length - completion)] for i in range(n)]
    return [Encoded(prompt, prompt, list(range(5, 5 + completion))) for prompt in prompts]


def work(name: str, folder: str, s: dict[str, Any]) -> tuple[int, memory.Parts]:
    """Does it; how much memory it took, and the prediction."""
    lora, dtype = s.get("lora_rank", 0), s.get("dtype", "float32")
    config = Config(
        models=ModelSettings(folder, folder, lora_rank=lora),
        generate=GenerateSettings(n_samples=s.get("n", 1), max_new_tokens=s["new"]),
        train=Train(batch_size=s.get("batch", 1), max_length=s["length"], epochs=1, alpha=0.5),
        runtime=RuntimeSettings(
            device="cpu", dtype=dtype, micro_batch=s.get("micro", 1), save_every=10**6
        ),
    )
    way, shape = memory.Way(dtype, False), shape_of(folder, "base")
    backend = choose_backend(config.runtime, lora)
    before = reset_peak()
    model = load(folder, backend, "base")
    of_weights = memory.weights(shape, way)
    if name == "sample":
        prompts, n = s["prompts"], s["n"]
        ids = {
            f"{e.student_prompt[0]}": e.student_prompt for e in examples(prompts, s["length"], 0)
        }
        jobs = [Job(prompt, prompt) for prompt in ids]
        how = Sampling(n, 1.0 if n > 1 else 0.0, 1.0, s["new"])
        list(complete(model, jobs, how, ids))
        parts = memory.sampling(shape, of_weights, n, prompts, s["length"], s["new"], way)
    elif name == "fill":
        some = examples(2 * s["micro"], s["length"], s["new"])
        fill(Path(folder) / "cache", model, some, Kind("topk", 64, (2.0,), 1000), s["micro"])
        more = memory.filling(shape, s["micro"], s["length"], s["new"], way)
        parts = {"weights": of_weights, **more}
    else:
        student = for_training(model, lora)
        some = examples(2 * s["batch"], s["length"], s["new"])
        teacher = load(folder, backend, "teacher") if s.get("online") else None
        trainer = train.DistillationTrainer(
            student, teacher, some, "kd", config, Path(folder) / "student"
        )
        trainer.train()
        parts = memory.training(shape, config, way, s["new"], shape if teacher else None)
        parts = {**parts, "teacher": of_weights if teacher else 0}
    return peak_bytes() - before, parts


def main(name: str, folder: str, settings: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    peak, parts = work(name, folder, json.loads(settings))
    print(json.dumps({"peak": peak, "predicted": sum(parts.values()), "parts": dict(parts)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
