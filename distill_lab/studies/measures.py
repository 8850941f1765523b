"""What is measured of a model on a half: one number a question, whatever the measure.

Scores of greedy answers and pass@k are 0 to 100, and so is the confidence; NLL and KL are nats a
token of the teacher's held-out traces, at temperature 1 and over the whole vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distill_lab.losses.distillation import Objective, divergence, soften
from distill_lab.losses.fused import chunks
from distill_lab.models.loading import LanguageModel, head
from distill_lab.reporting.stats import pass_at_k
from distill_lab.run.records import Example
from distill_lab.run.settings import Config
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import Completion, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.studies.halves import Half
from distill_lab.studies.held_out import NO_LIMIT, HeldOut
from distill_lab.studies.measure_names import CONFIDENCE, KL, NLL, OF_TRACES, needed, pass_size
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import answer_span, answer_text
from distill_lab.training.batches import Encoded, encode_examples
from distill_lab.training.teacher_cache.forward import NO_PREFIX, teacher_states

SAMPLES = 4  # a question, for pass@k; more where a k is larger

# A number for each of C completion tokens, from the model's logits (C, V) there; the slice says
# which of all tokens they are.
OfTokens = Callable[[Tensor, slice], Tensor]


def measure(
    model: LanguageModel,
    half: Half,
    names: Sequence[str],
    config: Config,
    held_out: HeldOut | None = None,
    shots: int = 0,
) -> dict[str, list[float]]:
    """The measures that `names` need, one number a question in the half's order; the score that
    decides comes first. `shots` are worked examples in the model's prompt, as a teacher has them.

    `held_out` are the half's traces of the teacher, without which there is neither NLL nor KL.
    """
    wanted = needed(names, task_of(config))
    greedy = Sampling(max_new_tokens=config.evaluate.max_new_tokens)
    answers = _completions(model, half, config, greedy, shots)
    texts = [made[0].text for made in answers]
    scores = _graded(texts, half, config)
    values = {name: scores[name] for name in wanted if name in scores}
    sizes = {name: k for name in wanted if (k := pass_size(name))}
    if sizes:
        n = max(SAMPLES, *sizes.values())
        right = _n_right(model, half, config, n, shots)
        values |= {name: [100 * pass_at_k(n, c, k) for c in right] for name, k in sizes.items()}
    if CONFIDENCE in wanted:
        values[CONFIDENCE] = confidence(model, half, texts, config, shots)
    of_traces = [name for name in OF_TRACES if name in wanted]
    if of_traces:
        assert held_out is not None, "nll and kl need the teacher's held-out traces"
        values |= on_traces(model, held_out, of_traces, config.runtime.sample_batch)
    return {name: values[name] for name in wanted}


def _completions(
    model: LanguageModel, half: Half, config: Config, sampling: Sampling, shots: int
) -> list[list[Completion]]:
    """The completions of each question, in the half's order."""
    jobs = jobs_for(half.questions, model.tokenizer, shots, task_of(config))
    rows = config.runtime.sample_batch
    title = f"measure {'greedy answers' if sampling.temperature == 0 else 'samples'}"
    batches = complete_all(model, jobs, sampling, rows, set(), title)
    made = {job.question_id: completions for batch in batches for job, completions in batch}
    return [made[id] for id in half.ids]


def _graded(texts: Sequence[str], half: Half, config: Config) -> dict[str, list[float]]:
    """The task's scores of one completion a question, by name."""
    task = task_of(config)
    pairs = zip(texts, half.questions, strict=True)
    graded = [task.grade(answer_text(text), question) for text, question in pairs]
    return {name: [scores[name] for scores in graded] for name in task.score_names}


def _n_right(model: LanguageModel, half: Half, config: Config, n: int, shots: int) -> list[int]:
    """Of n samples a question how many are right."""
    settings, task = config.generate, task_of(config)
    sampling = Sampling(
        n=n,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        max_new_tokens=config.evaluate.max_new_tokens,
        seed=settings.seed,
    )
    name = task.score_names[0]
    return [
        sum(task.grade(answer_text(each.text), question)[name] == 100 for each in completions)
        for question, completions in zip(
            half.questions, _completions(model, half, config, sampling, shots), strict=True
        )
    ]


def confidence(
    model: LanguageModel, half: Half, texts: Sequence[str], config: Config, shots: int = 0
) -> list[float]:
    """The probability (0 to 100) that the model gives to the tokens of its answer, the text between
    the tags, after its own reasoning; 0 where there is no answer."""
    task, tokenizer = task_of(config), model.tokenizer
    examples = [
        Example(question.id, 0, task.user_text(question), text)
        for question, text in zip(half.questions, texts, strict=True)
    ]
    encoded = encode_examples(examples, tokenizer, NO_LIMIT, tokenizer, shots, task)
    own = [dataclasses.replace(each, student_prompt=each.teacher_prompt) for each in encoded]
    nll = _of_examples(model, own, [_nll(own)], config.runtime.sample_batch)
    at = [answer_tokens(text, tokenizer) for text in texts]
    return [
        100 * math.exp(-float(values[tokens, 0].sum())) if tokens else 0.0
        for values, tokens in zip(nll, at, strict=True)
    ]


def answer_tokens(completion: str, tokenizer: object) -> list[int]:
    """Which tokens of a completion hold a character of its answer."""
    start, end = answer_span(completion)
    offsets = tokenizer(  # type: ignore[operator]
        completion, add_special_tokens=False, return_offsets_mapping=True
    ).offset_mapping
    return [n for n, (first, last) in enumerate(offsets) if first < end and last > start]


def on_traces(
    model: LanguageModel, held_out: HeldOut, names: Sequence[str], rows: int
) -> dict[str, list[float]]:
    """NLL and KL(teacher || model) of each held-out trace, nats a token."""
    of_tokens = {NLL: _nll(held_out.examples), KL: _kl(held_out, model.lm.device)}
    wanted = [of_tokens[name] for name in names]
    means = [values.mean(0) for values in _of_examples(model, held_out.examples, wanted, rows)]
    return {name: [float(mean[n]) for mean in means] for n, name in enumerate(names)}


def _nll(examples: Sequence[Encoded]) -> OfTokens:
    targets = torch.tensor([token for example in examples for token in example.completion])  # (N)

    def of_tokens(logits: Tensor, which: slice) -> Tensor:
        chosen = targets[which].to(logits.device)[:, None]  # (C, 1)
        return -soften(logits, 1.0).gather(1, chosen)[:, 0]  # (C)

    return of_tokens


def _kl(held_out: HeldOut, device: torch.device) -> OfTokens:
    teacher = held_out.on(device)

    def of_tokens(logits: Tensor, which: slice) -> Tensor:
        return divergence(*teacher[which].outcomes(logits, 1.0), Objective())  # (C)

    return of_tokens


@torch.no_grad()
def _of_examples(
    model: LanguageModel, examples: Sequence[Encoded], wanted: Sequence[OfTokens], rows: int
) -> list[Tensor]:
    """For each example its completion tokens' numbers, a column for each that is wanted, from
    forward passes over `rows` examples. Logits are built a chunk of tokens at a time."""
    to_logits, done = head(model.lm), 0
    columns: list[Tensor] = []
    for start in range(0, len(examples), rows):
        batch = [
            dataclasses.replace(each, teacher_prompt=each.student_prompt)
            for each in examples[start : start + rows]
        ]
        states = teacher_states(model.lm, batch, NO_PREFIX)  # (N of the batch, H)
        for part in chunks(len(states), model.vocab_size, both=True):
            logits = to_logits(states[part]).float()  # (C, V)
            which = slice(done + part.start, done + part.stop)
            columns.append(torch.stack([of(logits, which) for of in wanted], -1).cpu())
        done += len(states)
    return list(torch.cat(columns).split([len(each.completion) for each in examples]))
