"""How long each stage takes, roughly: arithmetic divided by how fast the machine multiplies and
reads its memory. A range, as what is not known (how long the answers get, how many are kept, how
much of its rate a machine reaches) is taken at both its ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from distill_lab.models.sources import source_of
from distill_lab.planning.memory import SHOT, Way, kv_cache, weights
from distill_lab.planning.model_shapes import shape_of
from distill_lab.run.arms import ARMS
from distill_lab.run.past_times import Range
from distill_lab.run.settings import BUNDLED, Config


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: its memory as PyTorch reports it (GiB, taken as GB: an allocator cannot hand out the
    7 % between them), half-precision operations a second, bytes a second, and whether it has
    bfloat16."""

    title: str
    memory: float
    flops: float
    bandwidth: float
    bfloat16: bool = True


# NVIDIA's data sheets: dense half precision on tensor cores, and the memory's bandwidth
GPUS = {
    "t4": Gpu("T4", 14.7e9, 65e12, 320e9, bfloat16=False),
    "l4": Gpu("L4", 22.0e9, 121e12, 300e9),
    "a100": Gpu("A100 40 GB", 39.4e9, 312e12, 1555e9),
    "a100-80": Gpu("A100 80 GB", 79.1e9, 312e12, 1935e9),
    "h100": Gpu("H100 80 GB", 79.1e9, 989e12, 3350e9),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Operations and bytes a second; the share of them that is reached, at best and at worst; and
    the seconds that a layer takes for a step at least, at best and at worst."""

    flops: float
    bandwidth: float
    share: Range
    step: Range


def of_gpu(gpu: Gpu) -> Speed:
    """From a data sheet, of which a Python program reaches a modest share."""
    return Speed(gpu.flops, gpu.bandwidth, (0.4, 0.1), (0.5e-3, 1.5e-3))


def of_cpu(dtype: str, threads: int, seconds: float = 0.5) -> Speed:
    """Measured in about `seconds`: products of 1,024 x 1,024, copies of 64 MB, and a layer of next
    to no size, which shows what each step takes however little there is to do."""
    torch.set_num_threads(threads)
    a = torch.rand(1024, 1024).to(getattr(torch, dtype))
    product = torch.empty_like(a)
    block, other = torch.zeros(2, 16 * 2**20)
    layer = torch.nn.TransformerEncoderLayer(8, 1, 8, dropout=0.0, norm_first=True)
    token = torch.rand(1, 1, 8)
    products = _a_second(lambda: torch.mm(a, a, out=product), seconds / 3)
    copies = _a_second(lambda: other.copy_(block), seconds / 3)
    step = 1 / _a_second(lambda: layer(token), seconds / 3)
    # a layer of a language model, its cache and sampling, takes 5 to 16 times as long
    steps = 5 * step, 16 * step
    return Speed(2 * 1024**3 * products, 2 * 64 * 2**20 * copies, (0.6, 0.2), steps)


def _a_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` is done in a second; it is done once before, which sets things up."""
    work()
    start, times = perf_counter(), 0
    while perf_counter() - start < seconds:
        work()
        times += 1
    return times / (perf_counter() - start)


# -- how much there is to do

_ALL = {"squad": (87_599, 10_570), "gsm8k": (7_473, 1_319)}  # questions to train on, to score
# tokens of a prompt, measured on SQuAD's questions, and on the bundled ones (True)
PROMPTS = {False: 230, True: 62}
_WRITTEN, _BUNDLED_WRITTEN = (0.3, 1.0), (0.25, 0.4)  # of max-new-tokens, by a trace
# of the traces: a small few-shot teacher has been right in 6 %, the bundled one in 93 %
_KEPT, _BUNDLED_KEPT = (0.05, 0.7), (0.8, 1.0)


def estimate(config: Config, way: Way, speed: Speed) -> dict[str, Range]:
    """Seconds of each stage that runs a model, at best and at worst. LabError where a model's shape
    is not known."""
    return _at_both_ends(config, way, speed, _Work.seconds)


def estimate_own(config: Config, way: Way, speed: Speed) -> dict[str, Range]:
    """The same for one student of each arm that learns from its own samples."""
    return _at_both_ends(config, way, speed, _Work.own_arms)


def _at_both_ends(
    config: Config, way: Way, speed: Speed, seconds: Callable[[_Work], dict[str, float]]
) -> dict[str, Range]:
    # the bundled teacher's traces were counted on the bundled questions
    whose = config.data.task, config.data.train, config.models.teacher
    bundled = whose == ("squad", BUNDLED, BUNDLED)
    written = _BUNDLED_WRITTEN if bundled else _WRITTEN
    kept = _BUNDLED_KEPT if bundled else _KEPT
    best, worst = (
        seconds(_Work(config, way, speed.flops * share, speed.bandwidth * share, step, *shares))
        for share, step, *shares in zip(speed.share, speed.step, written, kept, strict=True)
    )
    return {stage: (best[stage], worst[stage]) for stage in best}


@dataclass(frozen=True, slots=True)
class _Work:
    """The work of a run, and what is reached: operations and bytes a second; seconds that a layer
    takes for a step at least; the share of max-new-tokens that is written, of traces that is kept.
    """

    config: Config
    way: Way
    flops: float
    bandwidth: float
    step: float
    written: float
    kept: float

    def seconds(self) -> dict[str, float]:
        c, rows, n = self.config, self.config.runtime.sample_batch, self.config.generate.n_samples
        n_train, n_eval = self._questions
        new, answer = c.generate.max_new_tokens, c.evaluate.max_new_tokens
        return {
            "generate": self._sampling("teacher", n_train, n, max(1, rows // n), new),
            "train": self._training(n_train),
            "evaluate": self._sampling("teacher", n_eval, 1, rows, answer)
            + (1 + len(ARMS)) * self._sampling("base", n_eval, 1, rows, answer),
        }

    def own_arms(self) -> dict[str, float]:
        """Seconds of each arm: a step draws its samples, and goes through them once."""
        c, s, own = self.config, self.config.train, self.config.own
        teacher, student = shape_of(c.models.teacher, "teacher"), shape_of(c.models.student, "base")
        samples = s.steps * s.batch_size if s.steps else s.epochs * self._questions[0] * own.group
        together = max(1, min(c.runtime.sample_batch, s.batch_size) // own.group)  # prompts
        prompts, new = samples // own.group, own.max_new_tokens
        drawing = self._sampling("base", prompts, own.group, together, new)
        completions = samples * self.written * new  # tokens
        tokens = samples * self._prompt + completions
        learning = tokens * self._each * student.matrices + completions * 4 * student.embedding
        scoring = 2 * (tokens * teacher.matrices + completions * teacher.embedding)
        return {
            "rft": drawing + self.kept * learning / self.flops,
            "grpo": drawing + learning / self.flops,
            "on-policy": drawing + (learning + scoring) / self.flops,
        }

    @property
    def _questions(self) -> tuple[int, int]:
        """Questions to train on, to score."""
        data = self.config.data
        of_all = _ALL[data.task]
        return data.n_train or of_all[0], data.n_eval or of_all[1]

    @property
    def _each(self) -> int:
        """Operations of a trained token and parameter: forward, and back for the states; for the
        weights too; and forward once more."""
        return 4 + (0 if self.config.models.lora_rank else 2) + (2 if self.way.checkpointing else 0)

    @property
    def _prompt(self) -> int:
        """Tokens of a prompt without worked examples."""
        return PROMPTS[self.config.data.train == BUNDLED]

    def _training(self, questions: int) -> float:
        """Seconds to train all students, the teacher's targets included."""
        c, s = self.config, self.config.train
        teacher, student = shape_of(c.models.teacher, "teacher"), shape_of(c.models.student, "base")
        examples = self.kept * questions * c.generate.n_samples
        most = {"first": 1, "shortest": 1, "at-most-k": c.reject.k}.get(c.reject.keep)
        examples = min(examples, questions * most) if most else examples
        completions = examples * self.written * c.generate.max_new_tokens  # tokens
        tokens = examples * self._prompt + completions
        epochs = s.steps * s.batch_size / examples if s.steps else s.epochs
        passes = 0 if s.alpha == 0 else epochs if s.cache == "none" else 1
        operations = len(ARMS) * epochs * tokens * self._each * student.matrices
        operations += passes * tokens * 2 * teacher.matrices
        operations += len(ARMS) * epochs * completions * 4 * student.embedding
        return operations / self.flops

    def _sampling(self, who: str, questions: int, n: int, prompts: int, new: int) -> float:
        """Reading all prompts (worked examples once a batch: not counted), then a step a token, as
        long as its products or as reading weights and cache takes, and never less than the program
        itself."""
        source = source_of(who, self.config.models)
        shape = shape_of(source.name, source.role)
        # at best rows leave a batch as they end, at worst all stay to the end
        stay = (1 + self.written) / 2
        rows = min(prompts, questions) * n * stay
        cached = int(rows * (SHOT * source.shots + self._prompt + new / 2))  # tokens
        of_weights = weights(shape, self.way, source.four_bit, source.name)
        step = max(
            2 * rows * (shape.matrices + shape.embedding) / self.flops,
            (of_weights + kv_cache(shape, cached, self.way)) / self.bandwidth,
            shape.layers * self.step,
        )
        reading = 2 * questions * self._prompt * shape.matrices / self.flops
        return reading + max(1.0, questions / prompts) * new * stay * step
