"""How much memory each stage takes, by plain arithmetic from the models' shapes and the settings.

All figures are bytes. What is counted is what is alive at a stage's worst moment: the longest
prompts, every sample as long as it may be. Worked out for the code as it is written here and in
transformers (SDPA attention with a mask, so that the key heads of a layer are repeated).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distill_lab.losses.fused import BUDGET, ON_CPU, ON_GPU
from distill_lab.planning.model_shapes import Shape, shape_of
from distill_lab.run.settings import Config

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Python, torch and its libraries; on a GPU the CUDA context, workspaces, an unpacked 4-bit matrix
PROCESS = 500_000_000
_HELD_BACK = 2.15  # glibc keeps so much for activations that come and go; measured when training
_PICK = 56  # bytes a logit: float64, its exponentials, their sum so far, a sort and its indices
_OF_4_BITS = 0.5 + 4 / 64  # a weight in NF4 and its share of a float32 scale for each 64
_OF_4_BITS_TWICE = 0.5 + 1 / 64 + 4 / (64 * 256)  # the scales in 8 bits: the hub's bnb-4bit models

SHOT = 81  # tokens of a worked example in a prompt, measured with SmolLM2's tokenizer

Parts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """The worst moment of a stage: what is alive then, in bytes, by kind."""

    name: str
    parts: Parts

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Way:
    """How models run: the dtype of their weights, on a GPU or not, and whether only each layer's
    input is kept for the backward pass and the rest computed again (as Unsloth does)."""

    dtype: str
    gpu: bool
    checkpointing: bool = False

    @property
    def bytes(self) -> int:
        return BYTES[self.dtype]

    def held(self, activations: int) -> int:
        """Bytes that the process takes from the system for so many bytes of activations. A GPU's
        allocator holds back less: see `timing.Gpu`."""
        return activations if self.gpu else int(_HELD_BACK * activations)


def predict(config: Config, way: Way) -> list[Stage]:
    """The stages that load a model, in their order; `teacher cache` is the teacher's part of
    `train`. LabError where a model's shape is not known."""
    models, s, runtime = config.models, config.train, config.runtime
    teacher, student = shape_of(models.teacher, "teacher"), shape_of(models.student, "base")
    of_teacher = weights(teacher, way, models.teacher_4bit, models.teacher)
    of_student = weights(student, way)
    longest, n, rows = s.max_length, config.generate.n_samples, runtime.sample_batch
    shown = longest + SHOT * models.teacher_shots  # what the teacher reads
    new, answer = config.generate.max_new_tokens, config.evaluate.max_new_tokens
    completion = min(longest, new + 1)
    stages: dict[str, Parts] = {
        "generate": sampling(teacher, of_teacher, n, max(1, rows // n), shown, new, way)
    }
    if s.alpha > 0 and s.cache == "none":
        trained = training(student, config, way, completion, teacher)
        stages["train"] = {"teacher": of_teacher, **trained}
    elif s.alpha > 0:
        cache = filling(teacher, min(runtime.micro_batch, s.batch_size), shown, new + 1, way)
        stages["teacher cache"] = {"weights": of_teacher + of_student, **cache}
    stages.setdefault("train", training(student, config, way, completion, None))
    stages["evaluate"] = max(
        sampling(teacher, of_teacher, 1, rows, shown, answer, way),
        sampling(student, of_student, 1, rows, longest, answer, way),
        key=_sum,
    )
    return [Stage(name, {**parts, "process": PROCESS}) for name, parts in stages.items()]


def _sum(parts: Parts) -> int:
    return sum(parts.values())


def weights(shape: Shape, way: Way, four_bit: bool = False, name: str = "") -> int:
    """Bytes of a model that is not trained; in 4 bits only the layers' matrices are."""
    if not four_bit:
        return shape.parameters * way.bytes
    each = _OF_4_BITS_TWICE if name.endswith("bnb-4bit") else _OF_4_BITS
    return int(shape.matrices * each) + (shape.parameters - shape.matrices) * way.bytes


def kv_cache(shape: Shape, tokens: int, way: Way) -> int:
    """Bytes of the keys and values of so many tokens, all rows together."""
    return 2 * shape.layers * shape.keys * tokens * way.bytes


def sampling(
    shape: Shape, of_weights: int, n: int, prompts: int, length: int, new: int, way: Way
) -> Parts:
    """`decode.complete`: reading `prompts` prompts of `length` tokens, then writing n rows of `new`
    tokens each; the larger of the two. n = 1 is greedy."""
    rows, logit = prompts * n, way.bytes
    reading = {
        "weights": of_weights,
        "kv cache": kv_cache(shape, prompts * length, way),
        "activations": way.held(forward(shape, prompts, length, way)),
        "logits": prompts * shape.vocab_size * logit,
    }
    # one layer's keys and values, repeated for its queries, or laid side by side for a CPU
    copied = _grouped(shape) or not way.gpu
    repeated = 2 * shape.queries * rows * (length + new) * way.bytes if copied else 0
    writing = {
        "weights": of_weights,
        "kv cache": kv_cache(shape, rows * (length + new), way),
        "activations": way.held(repeated),
        "logits": rows * shape.vocab_size * (2 * logit + (_PICK if n > 1 else 0)),
    }
    return max(reading, writing, key=_sum)


def _grouped(shape: Shape) -> bool:
    return shape.heads != shape.kv_heads


def forward(shape: Shape, rows: int, length: int, way: Way) -> int:
    """Bytes alive at the largest moment of a layer in a forward pass that keeps nothing, and of the
    mask."""
    h, q, k, i = shape.hidden, shape.queries, shape.keys, shape.intermediate
    mlp = 2 * h + 3 * i  # the stream, its norm; the gate, what goes up, and their product
    attention = 2 * h + 4 * q + 3 * k + (2 * q if _grouped(shape) else 0)
    masks = rows * length * length * (1 + way.bytes)  # true or false, and as numbers
    return rows * length * max(mlp, attention) * way.bytes + masks


def filling(teacher: Shape, rows: int, length: int, completion: int, way: Way) -> Parts:
    """`teacher_cache.fill` without the weights: `rows` examples a pass."""
    n = rows * min(completion, length)
    chunk = min(n, max(1, BUDGET // 4 // (8 * teacher.vocab_size)))
    alive = forward(teacher, rows, length, way) + n * teacher.hidden * way.bytes
    return {"activations": way.held(alive), "logits": 6 * 4 * chunk * teacher.vocab_size}


def training(
    shape: Shape, config: Config, way: Way, completion: int, teacher: Shape | None
) -> Parts:
    """`train` of one student, examples of max_length tokens with `completion` of them to learn;
    a `teacher` that runs at every step is asked while the student's activations are alive."""
    rank, s = config.models.lora_rank, config.train
    rows = min(config.runtime.micro_batch, s.batch_size)
    tokens, n = rows * s.max_length, rows * completion
    learnt = shape.lora(rank) if rank else shape.parameters
    fixed = weights(shape, way) + 4 * learnt if rank else 4 * learnt
    if way.gpu and not rank:
        fixed += way.bytes * shape.matrices if way.bytes < 4 else 0  # copies for half precision
    head = 0 if rank else 4 * shape.embedding  # its gradient is there before the layers'
    held = 4 * learnt if s.batch_size > rows else 0  # gradients of micro-batches before
    shown = s.max_length + SHOT * config.models.teacher_shots
    theirs = forward(teacher, rows, shown, way) if teacher else 0
    back = tokens * way.bytes * (3 * shape.intermediate + 4 * shape.hidden)
    as_backward_begins = {
        "gradients and optimiser": 8 * learnt + held + head,
        "activations": way.held(kept(shape, rank, tokens, way) + max(theirs, back)),
        "logits": _loss(shape, n, rank, way, teacher),
    }
    as_it_ends = {"gradients and optimiser": 12 * learnt + head, "activations": way.held(back)}
    return {"weights": fixed, **max(as_backward_begins, as_it_ends, key=_sum)}


def kept(shape: Shape, rank: int, tokens: int, way: Way) -> int:
    """Bytes of activations that are kept for the backward pass."""
    a_layer = tokens * _kept_by_a_token(shape, rank, way)
    inputs = tokens * way.bytes * shape.hidden
    ends = 4 * inputs  # embedding, last norm, hidden states and their gradient
    layers = shape.layers * inputs + a_layer if way.checkpointing else shape.layers * a_layer
    return layers + ends


def _kept_by_a_token(shape: Shape, rank: int, way: Way) -> int:
    """Bytes a token and layer, term by term what autograd keeps of a layer of Llama's make."""
    h, q, i = shape.hidden, shape.queries, shape.intermediate
    half, each = way.bytes == 2, way.bytes
    attention = (q + 2 * (q if _grouped(shape) else shape.keys) + q) * each  # in, out; keys, values
    mlp = 3 * i * each  # gate, its SiLU, and what goes up
    norms = 2 * 4 * h  # the stream, in float32, as both norms find it
    if not half:  # one input for several matrices; without LoRA the normed stream beside it
        inputs = (2 * h + i) * 4 + (0 if rank else 2 * 4 * h)
        return norms + attention + mlp + inputs + 7 * 4 * rank
    # a copy for each matrix: of the five that read the stream, the one after attention, the last
    copies = 5 * h + q + i
    if rank:  # LoRA takes its input in float32, autocast (on a GPU) back to half
        return norms + attention + mlp + (2 if way.gpu else 4) * (copies + 7 * rank)
    return 2 * norms + attention + mlp + 2 * (copies - q)


def _loss(shape: Shape, n: int, rank: int, way: Way, teacher: Shape | None) -> int:
    """`losses.fused` over n completion tokens: constant in n once n fills the budget."""
    v = shape.vocab_size
    budget = BUDGET if rank else max(BUDGET, 4 * shape.embedding)
    chunk = min(n, max(1, budget // (4 * v * (2 if teacher else 1))))
    few = min(max(1, (ON_GPU if way.gpu else ON_CPU) // v), chunk)
    logits = 4 * chunk * (v + (teacher.vocab_size if teacher else 0)) + 3 * 4 * few * v
    halves = 2 * way.bytes * chunk * v if way.bytes < 4 else 0
    return logits + halves + n * shape.hidden * (4 + 2 * way.bytes)
