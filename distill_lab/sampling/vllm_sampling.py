"""N samples a prompt through vLLM, where it is installed: the same jobs, batches, stop rules and
completions, from another engine.

Its random numbers are its own: its traces are as good as ours but not the same, and a run never
mixes the two (`sampler`). What is passed to vLLM is worked out in plain functions, which are
tested; the names are those of vLLM 0.31 to 0.33.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from distill_lab.models.backend import Backend
from distill_lab.models.loading import load_tokenizer_only
from distill_lab.run.records import LabError
from distill_lab.run.settings import ModelSettings
from distill_lab.sampling.jobs import (
    Batch,
    Completion,
    Existing,
    Job,
    complete_batches,
    completion_of,
    encoded,
    end_ids,
    require_room,
)
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import STOP

_SHARE = 0.9  # of the GPU's memory, weights and cache: nothing else of ours is on it meanwhile
# it wants the torch that constraints.txt pins, and is the last that TRL 1.15 knows
RELEASE = "0.31.0"
_HOTTEST = 2.0  # vLLM's own bound on the temperature


@dataclass(frozen=True, slots=True)
class VllmSampler:
    """A model that vLLM loads when `complete_all` begins. `location`: a folder or hub name; `ends`:
    the tokens that end a completion; `positions`: how many tokens it can look at."""

    name: str
    location: str
    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    positions: int | None
    dtype: str
    gpus: int

    def complete_all(
        self, jobs: Sequence[Job], sampling: Sampling, rows: int, have: Existing, title: str
    ) -> Generator[Batch]:
        """As `decode.complete_all`. vLLM and its memory are gone when it ends. LabError for a
        temperature above vLLM's bound, too."""
        if sampling.temperature > _HOTTEST:
            raise LabError(
                f"--generate.temperature: expected at most {_HOTTEST:g} with vLLM, found "
                f"{sampling.temperature:g}. Lower it, or take --runtime.sampler own."
            )
        ids, new = encoded(jobs, self.tokenizer), sampling.max_new_tokens
        longest = require_room(self.positions, self.name, jobs, ids, new) + new
        import vllm  # pyright: ignore[reportMissingImports]

        llm: Any = vllm.LLM(**engine_arguments(self, longest, sampling.seed))

        def complete(batch: list[Job]) -> Batch:
            settings = [sampling_arguments(job, sampling, self.ends) for job in batch]
            outputs = llm.generate(  # in the order of the prompts
                [{"prompt_token_ids": ids[job.prompt]} for job in batch],
                sampling_params=[vllm.SamplingParams(**each) for each in settings],
                use_tqdm=False,
            )
            return [
                (job, completions(job, output.outputs, sampling.n, self.tokenizer, self.ends))
                for job, output in zip(batch, outputs, strict=True)
            ]

        try:
            yield from complete_batches(jobs, ids, rows, sampling.n, have, title, complete)
        finally:
            llm.llm_engine.engine_core.shutdown()
            llm = None  # `complete` holds it too
            gc.collect()
            torch.cuda.empty_cache()


def open_teacher(models: ModelSettings, backend: Backend) -> VllmSampler:
    """The teacher, not loaded yet; LabError where it cannot be reached."""
    known = load_tokenizer_only("teacher", models)
    try:
        own = GenerationConfig.from_pretrained(known.location).eos_token_id
    except OSError:  # without a generation_config.json the config's end tokens hold
        own = known.config.eos_token_id
    return VllmSampler(
        known.name,
        known.location,
        known.tokenizer,
        end_ids(own, known.tokenizer),
        getattr(known.config, "max_position_embeddings", None),
        backend.dtype,
        # the largest number of these GPUs that share the heads of a layer evenly
        math.gcd(max(1, torch.cuda.device_count()), known.config.num_key_value_heads),
    )


def engine_arguments(teacher: VllmSampler, longest: int, seed: int) -> dict[str, Any]:
    """The arguments of `vllm.LLM` for prompts with completions of at most `longest` tokens."""
    return {
        "model": teacher.location,
        "dtype": teacher.dtype,
        "seed": seed,
        "trust_remote_code": False,
        "tensor_parallel_size": teacher.gpus,
        "gpu_memory_utilization": _SHARE,
        "max_model_len": longest,
        "enable_prefix_caching": True,  # prompts on one paragraph share its keys and values
    }


def sampling_arguments(job: Job, sampling: Sampling, ends: Iterable[int]) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams` for one prompt.

    vLLM adds a sample's number to the seed, so that a sample depends on (seed, question, sample).
    It takes one greedy sample, as all of them are the same.
    """
    digest = hashlib.sha256(f"{sampling.seed} {job.question_id}".encode()).digest()
    return {
        "n": sampling.n if sampling.temperature else 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_new_tokens,
        # 62 bits: torch takes 63, and the samples' numbers are added
        "seed": int.from_bytes(digest[:8], "big") >> 2,
        "stop": [STOP],
        "include_stop_str_in_output": True,
        "stop_token_ids": sorted(ends),
        "skip_special_tokens": True,
    }


def completions(
    job: Job, outputs: Sequence[Any], n: int, tokenizer: Any, ends: frozenset[int]
) -> list[Completion]:
    """The n completions of a job from vLLM's `CompletionOutput`s, decoded as the own sampler does.

    LabError for another finish than `stop` and `length`.
    """
    made = []
    for output in sorted(outputs, key=lambda output: output.index):
        if output.finish_reason not in ("stop", "length"):
            raise LabError(
                f"Question {job.question_id}: expected vLLM to end with stop or length, found "
                f"{output.finish_reason}. Run the same command again."
            )
        completion = completion_of(job.begun, list(output.token_ids), tokenizer, ends)
        # a model may end with a token that only vLLM takes for its end
        made.append(
            replace(completion, finish="stop") if output.finish_reason == "stop" else completion
        )
    return made if len(made) == n else made * n
