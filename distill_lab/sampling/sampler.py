"""Which sampler the teacher's traces come from, and why; a run's traces all come from one."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from distill_lab.models.adapters import adapter_of
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load_model
from distill_lab.run.distributed import from_main, is_main, size
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import sampler_of
from distill_lab.run.settings import Config
from distill_lab.sampling import decode, vllm_sampling
from distill_lab.sampling.jobs import Batch, Existing, Job
from distill_lab.sampling.nucleus import Sampling


class Sampler(Protocol):
    """A model and the engine that samples from it."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    def complete_all(
        self, jobs: Sequence[Job], sampling: Sampling, rows: int, have: Existing, title: str
    ) -> Generator[Batch]:
        """N completions of each job, in batches of `rows` sequences, but for the batches of which
        every (question, sample) is in `have`."""
        ...


@dataclass(frozen=True, slots=True)
class OwnSampler:
    """A loaded model, sampled by `decode`."""

    model: LanguageModel

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.model.tokenizer

    def complete_all(
        self, jobs: Sequence[Job], sampling: Sampling, rows: int, have: Existing, title: str
    ) -> Generator[Batch]:
        return decode.complete_all(self.model, jobs, sampling, rows, have, title)


def open_teacher(config: Config, backend: Backend, out: Path) -> Sampler:
    """The teacher in its sampler; the choice is printed and noted in run.json."""
    name, reason = choose(config, backend, from_main(lambda: sampler_of(out)))
    if is_main() and RunFolder(out).read_notes().get("sampler", {}).get("name") != name:
        print(f"generate: sampled by {'vLLM' if name == 'vllm' else 'our own'}, as {reason}")
        RunFolder(out).write_note("sampler", {"name": name, "reason": reason})
    if name == "vllm":
        return vllm_sampling.open_teacher(config.models, backend)
    return OwnSampler(load_model("teacher", config.models, backend))


def choose(config: Config, backend: Backend, before: str | None) -> tuple[str, str]:
    """(`own` or `vllm`, why); `before` made the traces that are there. LabError where vLLM is asked
    for, or made them, and cannot be used."""
    setting = config.runtime.sampler
    missing = _missing(config, backend)
    if setting == "auto" and before:
        name, reason = before, "the traces that are there were made with it"
    elif setting != "auto":
        name, reason = setting, "it was asked for"
    elif config.profile != "cluster":
        name, reason = "own", "vLLM is for the profile cluster, or where it is asked for"
    else:
        name = "own" if missing else "vllm"
        reason = f"vLLM needs {missing[0]}" if missing else "it is installed, and there is CUDA"
    if name == "vllm" and missing:
        expected, found, advice = missing
        raise LabError(
            f"--runtime.sampler vllm: expected {expected}, found {found}. {advice}, or take "
            "--runtime.sampler own in another --out."
        )
    return name, reason


def _missing(config: Config, backend: Backend) -> tuple[str, str, str] | None:
    """The first thing that vLLM lacks here: what was expected, what was found, what to do."""
    if not backend.device.startswith("cuda"):
        return "a CUDA GPU", backend.device, "Run it on one"
    if importlib.util.find_spec("vllm") is None:
        advice = f"Install it: pip install vllm=={vllm_sampling.RELEASE}"
        return "the package vllm", "none", advice
    if config.models.teacher_4bit:
        return "a teacher in 16 bits", "--models.teacher-4bit", "Leave that out"
    if adapter_of(config.models.teacher):
        return "a whole model as the teacher", "an adapter", "Merge it into its base"
    if size() > 1:
        return "one process (it takes all GPUs)", str(size()), "Start it without more"
    return None
