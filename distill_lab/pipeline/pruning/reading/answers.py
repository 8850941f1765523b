"""What models answer to questions, greedily: the dense model's own answers, which pruned ones are
calibrated and trained on, and the scores of all models' answers to held-out questions.

A reasoning model that is calibrated on traces of its own loses less than with other texts (RAC,
arXiv 2509.12464).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch

from distill_lab.models.loading import LanguageModel, head
from distill_lab.pipeline.pruning.reading.reviews import nll_of
from distill_lab.pipeline.pruning.records import AnswerScore, ModelsFolder
from distill_lab.pipeline.pruning.settings import TaskConfig
from distill_lab.run.records import Example, LabError, Question, Trace
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import Completion, Job, jobs_for
from distill_lab.sampling.label_logits import prompt_states
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import answer_text, prompt_id
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.training.batches import Encoded, encode_examples

_ANY_LENGTH = 2**31  # tokens: prompt and answer fit the model, which wrote the one after the other


def own_traces(
    model: LanguageModel, questions: Sequence[Question], have: set[str], how: TaskConfig
) -> Generator[list[Trace]]:
    """The model's answers to the questions, a batch at a time, but for the batches of which `have`
    holds every id."""
    for batch in _answered(model, questions, have, how, "adapt: the model's own answers"):
        yield [
            Trace(job.question_id, 0, done.text, done.n_tokens, done.finish, how.model.name,
                  prompt_id(job.prompt))
            for job, done in batch
        ]  # fmt: skip


def own_answers(folder: ModelsFolder, tokenizer: Any) -> list[Encoded]:
    """What pruned models are calibrated and trained on: prompts, and what the dense model answered,
    with the end token, in the order of the questions. What ran out of tokens has no end, and is
    left out; LabError where nothing is left."""
    traces = {trace.question_id: trace for trace in folder.traces.read()}
    questions = [q for q in folder.train_questions.read() if q.id in traces]
    whole = {q: traces[q.id].completion for q in questions if traces[q.id].finish == "stop"}
    if not whole:
        raise LabError(
            f"{folder.traces.path}: expected answers that come to an end, found none among "
            f"{len(traces)}. Take a model that answers, such as a student of `distill-lab run`, "
            "or raise --evaluate.max-new-tokens."
        )
    return answers_as_texts(whole, tokenizer)


def score_answers(
    model: LanguageModel,
    questions: Sequence[Question],
    dense: Mapping[str, str] | None,
    have: set[str],
    how: TaskConfig,
    title: str,
) -> Generator[list[AnswerScore]]:
    """The scores of the model's answers, a batch at a time, but for the batches of which `have`
    holds every id. `dense` are the dense model's answers by question; None: the model is the dense
    one. LabError where a likelihood is not finite."""
    by_id = {question.id: question for question in questions}
    for batch in _answered(model, questions, have, how, title):
        own = {job.question_id: done.text for job, done in batch}
        texts = {by_id[id]: (own if dense is None else dense)[id] for id in own}
        nlls = answer_nlls(model, answers_as_texts(texts, model.tokenizer))
        scores = [
            _score(question, own[question.id], *nll)
            for question, nll in zip(texts, nlls, strict=True)
        ]
        _require_finite(scores, model.name)
        yield scores


def _score(question: Question, completion: str, nll: float, tokens: int) -> AnswerScore:
    answer = answer_text(completion)
    grades = SQUAD.grade(answer, question)
    return AnswerScore(question.id, completion, answer, grades["em"], grades["f1"], nll, tokens)


@torch.inference_mode()
def answer_nlls(model: LanguageModel, answers: Sequence[Encoded]) -> list[tuple[float, int]]:
    """The NLL, in nats, of each answer after its prompt, and its number of tokens. The end token
    is not among them: an answer that ran out of tokens has none."""
    rows = [answer.student_prompt + answer.completion[:-1] for answer in answers]
    states, _ = prompt_states(model, rows)  # (B, T, H)
    made, found = head(model.lm), list[tuple[float, int]]()
    for n, (answer, row) in enumerate(zip(answers, rows, strict=True)):
        before = len(answer.student_prompt)
        counted = [False] * before + [True] * (len(row) - before)
        found.append((nll_of(states[n, : len(row) - 1], row, counted, made), sum(counted)))
    return found


def _answered(
    model: LanguageModel,
    questions: Sequence[Question],
    have: set[str],
    how: TaskConfig,
    title: str,
) -> Generator[list[tuple[Job, Completion]]]:
    """Each question's prompt and its greedy completion."""
    jobs = jobs_for(questions, model.tokenizer, task=SQUAD)
    greedy = Sampling(max_new_tokens=how.evaluate.max_new_tokens)
    existing = {(id, 0) for id in have}
    for batch in complete_all(model, jobs, greedy, how.runtime.batch, existing, title):
        yield [(job, done) for job, (done,) in batch]


def answers_as_texts(answers: Mapping[Question, str], tokenizer: Any) -> list[Encoded]:
    """Questions with their answers as token ids, as a student of Lab 5 learns them."""
    examples = [
        Example(question.id, 0, SQUAD.user_text(question), completion)
        for question, completion in answers.items()
    ]
    return encode_examples(examples, tokenizer, _ANY_LENGTH, task=SQUAD)


def _require_finite(scores: Sequence[AnswerScore], name: str) -> None:
    bad = [score for score in scores if not math.isfinite(score.answer_nll)]
    if bad:
        raise LabError(
            f"Model {name!r}: expected finite logits, found others for {len(bad)} of "
            f"{len(scores)} questions. Take float32 (--runtime.dtype float32), or prune less."
        )
