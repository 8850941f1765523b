"""Samples of several questions on one paragraph: ours against transformers' `generate`.

All get the same prompts, the same settings and as many rows at a time. What counts is useful
tokens a second: up to and with the end token or the one that closes `</answer>`, and nothing after.
`generate_stop` is told to stop there too; `generate` runs until the end token.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any

import torch

from benchmarks.measure import Case, UnavailableError
from benchmarks.worker import Work
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.sources import SMOLLM2
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import BUNDLED
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import Job, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import STOP, encode
from distill_lab.tasks.squad import questions as squad

PAIR = ("ours", "generate")
CONTENDERS = (*PAIR, "generate_stop")


def cases(quick: bool) -> list[Case]:
    """The two real models at N = 8 and N = 1, and growth with N and with the context."""
    base = {"model": BUNDLED, "n": 8, "context": 200, "questions": 6, "new_tokens": 96}
    if quick:
        base |= {"n": 2, "questions": 2, "new_tokens": 8, "context": 60}
    smol = {**base, "model": SMOLLM2, "questions": 4, "new_tokens": 48}
    return [
        _case("sampling", "bundled teacher", base),
        _case("sampling-one", "bundled teacher", {**base, "n": 1}),
        *([] if quick else [
            _case("sampling-smollm2", "SmolLM2-135M", smol),
            _case("sampling-smollm2-one", "SmolLM2-135M", {**smol, "n": 1}),
        ]),
        *growth(base, quick),
    ]  # fmt: skip


def _case(name: str, model: str, settings: dict[str, Any], repeats: int = 3) -> Case:
    title = f"Sampling, N = {settings['n']}, {model}"
    return Case(name, title, "sampling_bench", CONTENDERS, settings, repeats)


def growth(base: dict[str, Any], quick: bool) -> list[Case]:
    """Cost against samples a question, and against tokens of context, with the bundled teacher."""
    samples, contexts = ((1, 2), (30, 60)) if quick else ((1, 2, 4, 8, 16), (50, 100, 200, 350))
    common = {**base, "questions": min(4, base["questions"])}
    return [
        *(Case("sampling-n", "Sampling against N", "sampling_bench", PAIR,
               {**common, "n": n}, repeats=2) for n in samples),
        *(Case("sampling-context", "Sampling against context length", "sampling_bench", PAIR,
               {**common, "context": length}, repeats=2) for length in contexts),
    ]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """The work of one contender, the model loaded and warmed up."""
    model = _model(settings["model"])
    jobs = jobs_for(_questions(model, settings["context"], settings["questions"]), model.tokenizer)
    sampling = Sampling(
        n=settings["n"],
        temperature=0.6,
        top_p=0.95,
        max_new_tokens=settings["new_tokens"],
    )
    function = {"ours": ours, "generate": generate, "generate_stop": generate_stop}[contender]
    function(model, jobs[:1], Sampling(n=1, temperature=0.6, top_p=0.95, max_new_tokens=2))
    return lambda: _counted(function(model, jobs, sampling), jobs, model)


def _counted(useful: int, jobs: list[Job], model: LanguageModel) -> dict[str, float]:
    longest = max(len(encode(model.tokenizer, job.prompt)) for job in jobs)
    return {"tokens": useful, "prompt": longest}


@cache
def _model(name: str) -> LanguageModel:
    backend = Backend("transformers", "cpu", "float32", torch.get_num_threads(), "benchmark")
    try:
        return load(name, backend, "teacher")
    except LabError as error:
        raise UnavailableError(f"the model is not here: {error}") from None


def _questions(model: LanguageModel, length: int, count: int) -> list[Question]:
    """Questions on one paragraph of about `length` tokens, made of bundled ones put together."""
    questions = squad.load(BUNDLED, "train").questions
    paragraphs = list(dict.fromkeys(q.context for q in questions))
    sizes = accumulate(len(encode(model.tokenizer, p)) for p in paragraphs)
    used = paragraphs[: max(1, sum(size <= length for size in sizes))]
    asked = [q for q in questions if q.context in used]
    step = max(1, len(asked) // count)
    return [
        Question(q.id, q.title, " ".join(used), q.question, q.answers)
        for q in asked[::step][:count]
    ]


def ours(model: LanguageModel, jobs: list[Job], sampling: Sampling) -> int:
    """As `distill-lab generate` does it."""
    rows = len(jobs) * sampling.n
    batches = complete_all(model, jobs, sampling, rows, set(), "ours")
    return sum(c.n_tokens for batch in batches for _, made in batch for c in made)


def generate_stop(model: LanguageModel, jobs: list[Job], sampling: Sampling) -> int:
    """`generate` with `stop_strings`."""
    return generate(model, jobs, sampling, stop_strings=[STOP], tokenizer=model.tokenizer)


def generate(model: LanguageModel, jobs: list[Job], sampling: Sampling, **more: Any) -> int:
    """`generate(num_return_sequences=N)` on all prompts in one batch, until every row has ended."""
    tokenizer: Any = model.tokenizer
    tokenizer.padding_side = "left"
    prompts = [job.prompt for job in jobs]
    batch = tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        lm: Any = model.lm
        rows = lm.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            num_return_sequences=sampling.n,
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            **more,
        )
    return sum(_useful(row, tokenizer) for row in rows[:, batch.input_ids.shape[1] :].tolist())


def _useful(ids: list[int], tokenizer: Any) -> int:
    """Tokens up to and with the end token, or the one that closes the answer."""
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id) + 1]
    if STOP not in tokenizer.decode(ids):
        return len(ids)
    return next(n for n in range(1, len(ids) + 1) if STOP in tokenizer.decode(ids[:n]))
