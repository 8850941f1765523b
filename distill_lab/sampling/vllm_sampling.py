"""N samples a prompt through vLLM, where it is installed: the jobs, the batches, the stop rules and
the completions of `sampling`, from another engine.

Its random numbers are its own, so that its traces are others than ours, as good but not the same: a
run never mixes the two (`sampler`). What is passed to vLLM is worked out in plain functions, which
are tested; the names are those of vLLM 0.33.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from distill_lab.models.backend import Backend
from distill_lab.models.loading import load_tokenizer_only
from distill_lab.models.sources import resolve
from distill_lab.run.records import LabError
from distill_lab.run.settings import ModelSettings
from distill_lab.sampling.decode import (
    Completion,
    Job,
    batches,
    encoded,
    end_ids,
    finished,
    lacking,
    require_room,
)
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import BEGUN, STOP

_SHARE = 0.9  # of the GPU's memory, weights and cache: nothing else of ours is on it meanwhile
_HOTTEST = 2.0  # vLLM's own bound on the temperature


@dataclass(frozen=True, slots=True)
class Teacher:
    """What is known of a model before vLLM loads it. `place`: a folder or hub name; `ends`: the
    tokens that end a completion; `positions`: tokens it can look at."""

    name: str
    place: str
    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    positions: int | None
    dtype: str
    gpus: int


def open_teacher(models: ModelSettings, backend: Backend) -> Teacher:
    """The teacher for `complete_all`; LabError where it cannot be reached."""
    side = load_tokenizer_only(models.teacher, "teacher")
    place = resolve(models.teacher, "teacher")
    config = AutoConfig.from_pretrained(place, trust_remote_code=False).get_text_config()
    try:
        own = GenerationConfig.from_pretrained(place).eos_token_id
    except OSError:  # without a generation_config.json the config's end tokens hold
        own = config.eos_token_id
    return Teacher(
        models.teacher,
        place,
        side.tokenizer,
        frozenset(end_ids(own, side.tokenizer)),
        getattr(config, "max_position_embeddings", None),
        backend.dtype,
        # so many GPUs share the heads of a layer evenly
        math.gcd(max(1, torch.cuda.device_count()), config.num_key_value_heads),
    )


def engine_arguments(teacher: Teacher, longest: int, seed: int) -> dict[str, Any]:
    """What `vllm.LLM` is made with, for prompts and completions of at most `longest` tokens."""
    return {
        "model": teacher.place,
        "dtype": teacher.dtype,
        "seed": seed,
        "trust_remote_code": False,
        "tensor_parallel_size": teacher.gpus,
        "gpu_memory_utilization": _SHARE,
        "max_model_len": longest,
        "enable_prefix_caching": True,  # prompts on one paragraph share its keys and values
    }


def sampling_arguments(job: Job, sampling: Sampling, ends: Iterable[int]) -> dict[str, Any]:
    """What `vllm.SamplingParams` is made with, for one prompt.

    vLLM adds a sample's number to the seed, so that a sample hangs on (seed, question, sample). It
    takes one greedy sample, as all of them are the same.
    """
    return {
        "n": sampling.n if sampling.temperature else 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_new_tokens,
        "seed": _seed(sampling.seed, job.question_id),
        "stop": [STOP],
        "include_stop_str_in_output": True,
        "stop_token_ids": sorted(ends),
        "skip_special_tokens": True,
    }


def _seed(seed: int, question_id: str) -> int:
    """Of 62 bits: torch takes 63, and the samples' numbers are added."""
    digest = hashlib.sha256(f"{seed} {question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def completions(
    job: Job,
    outputs: Sequence[tuple[int, Sequence[int], str | None]],
    n: int,
    tokenizer: Any,
    ends: frozenset[int],
) -> list[Completion]:
    """The n completions of a job from what vLLM made: (index, token ids, finish reason) of each.

    The text is decoded from the ids as the own sampler's is. LabError for another finish than
    `stop` and `length`.
    """
    begun = BEGUN if job.prompt.endswith(BEGUN) else ""
    made = []
    for _, ids, reason in sorted(outputs, key=lambda output: output[0]):
        if reason not in ("stop", "length"):
            raise LabError(
                f"Question {job.question_id}: expected vLLM to end with stop or length, found "
                f"{reason}. Run the same command again."
            )
        ours = finished(begun, list(ids), tokenizer, set(ends))
        stop = ours.finish == "stop" or reason == "stop"
        made.append(Completion(ours.text, ours.n_tokens, "stop" if stop else "length"))
    return made if len(made) == n else made * n


def complete_all(
    model: Teacher,
    jobs: Sequence[Job],
    sampling: Sampling,
    rows: int,
    have: set[tuple[str, int]],
    title: str,
) -> Generator[list[tuple[Job, list[Completion]]]]:
    """`sampling.complete_all` through vLLM: the same batches in the same order, and those of which
    all is in `have` are passed over. vLLM and its memory are gone when it ends."""
    if sampling.temperature > _HOTTEST:
        raise LabError(
            f"--generate.temperature: expected at most {_HOTTEST:g} with vLLM, found "
            f"{sampling.temperature:g}. Lower it, or take --runtime.sampler own."
        )
    ids = encoded(jobs, model.tokenizer)
    new = sampling.max_new_tokens
    length = require_room(model.positions, model.name, jobs, ids, new)
    todo = lacking(batches(jobs, ids, rows, sampling.n), sampling.n, have)
    llm = _engine(engine_arguments(model, length + new, sampling.seed))
    try:
        done = len(jobs) - sum(map(len, todo))
        with tqdm(total=len(jobs), initial=done, desc=title, unit="question") as bar:
            for batch in todo:
                yield _complete(llm, model, batch, sampling, ids)
                bar.update(len(batch))
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        torch.cuda.empty_cache()


def _engine(arguments: dict[str, Any]) -> Any:
    import vllm  # pyright: ignore[reportMissingImports]

    return vllm.LLM(**arguments)


def _complete(
    llm: Any, model: Teacher, batch: Sequence[Job], sampling: Sampling, ids: Any
) -> list[tuple[Job, list[Completion]]]:
    """One batch: `generate` gives its outputs in the order of its prompts."""
    import vllm  # pyright: ignore[reportMissingImports]

    made = llm.generate(
        [{"prompt_token_ids": ids[job.prompt]} for job in batch],
        sampling_params=[
            vllm.SamplingParams(**sampling_arguments(job, sampling, model.ends)) for job in batch
        ],
        use_tqdm=False,
    )
    return [
        (job, completions(job, _plain(output), sampling.n, model.tokenizer, model.ends))
        for job, output in zip(batch, made, strict=True)
    ]


def _plain(output: Any) -> list[tuple[int, Sequence[int], str | None]]:
    """vLLM's RequestOutput as tuples."""
    return [(one.index, one.token_ids, one.finish_reason) for one in output.outputs]
