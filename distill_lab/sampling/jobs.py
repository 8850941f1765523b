"""What every sampler is given and gives: prompts in batches, and the completions of each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from distill_lab.run.distributed import shared
from distill_lab.run.records import LabError, Question
from distill_lab.sampling.shared_prefix import alike_beyond, common_prefix_length
from distill_lab.tasks.prompts import BEGUN, STOP, encode, render
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task

_BUCKET = 16  # prompts whose lengths in tokens fall into one such interval count as equally long


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to complete."""

    question_id: str
    prompt: str

    @property
    def begun(self) -> str:
        """What of the completion stands in the prompt already: `<think>`, or nothing."""
        return BEGUN if self.prompt.endswith(BEGUN) else ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What was sampled; `n_tokens` counts the end token too."""

    text: str
    n_tokens: int
    finish: Literal["stop", "length"]


Ids = Mapping[str, list[int]]  # the token ids of each prompt
Batch = list[tuple[Job, list[Completion]]]  # the jobs of a batch, each with its n completions
Existing = set[tuple[str, int]]  # (question id, sample) of the completions that are there already


def jobs_for(
    questions: Iterable[Question],
    tokenizer: PreTrainedTokenizerBase,
    n_shots: int = 0,
    task: Task = SQUAD,
) -> list[Job]:
    """A job for each question, with the task's prompt and `n_shots` worked examples in it."""
    return [Job(q.id, render(task.user_text(q), tokenizer, n_shots, task)) for q in questions]


def encoded(jobs: Sequence[Job], tokenizer: PreTrainedTokenizerBase) -> Ids:
    """The token ids of each prompt."""
    return {job.prompt: encode(tokenizer, job.prompt) for job in jobs}


def batches(jobs: Sequence[Job], ids: Ids, rows: int, n: int) -> list[list[Job]]:
    """Jobs in batches of `rows` sequences: those on one paragraph side by side, paragraphs of
    similar length together, the longest first.

    Depends on all the jobs and not on what is done already, so that a resumed run computes what the
    whole one would have.
    """
    prompts = [ids[job.prompt] for job in jobs]

    def longest_first(group: list[int]) -> tuple[int, str]:
        return -(max(len(prompts[i]) for i in group) // _BUCKET), jobs[group[0]].prompt

    groups = sorted(alike_beyond(prompts, common_prefix_length(prompts)), key=longest_first)
    ordered = [jobs[i] for group in groups for i in group]
    size = max(1, rows // n)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def complete_batches(
    jobs: Sequence[Job],
    ids: Ids,
    rows: int,
    n: int,
    have: Existing,
    title: str,
    complete: Callable[[list[Job]], Batch],
) -> Generator[Batch]:
    """Calls `complete` on each batch of which something is not in `have`, with a progress bar; the
    processes share the batches."""
    todo = [
        batch
        for batch in batches(jobs, ids, rows, n)
        if not have.issuperset((job.question_id, sample) for job in batch for sample in range(n))
    ]
    done = len(jobs) - sum(map(len, todo))
    with tqdm(total=len(jobs), initial=done, desc=title, unit="question") as bar:
        for completed in shared(todo, complete):
            yield completed
            bar.update(len(completed))


def require_room(
    positions: int | None, name: str, jobs: Sequence[Job], ids: Ids, max_new_tokens: int
) -> int:
    """Tokens of the longest prompt. LabError unless it and its completion fit into the model's
    positions: with learnt ones (GPT-2) it would fail in the middle of the work."""
    longest = max(jobs, key=lambda job: len(ids[job.prompt]))
    length = len(ids[longest.prompt])
    if positions and length + max_new_tokens > positions:
        raise LabError(
            f"Question {longest.question_id}: expected a prompt that leaves room for "
            f"{max_new_tokens} new tokens in the {positions} positions of {name}, found "
            f"one of {length} tokens. Lower max-new-tokens, show fewer worked examples or take "
            "another model."
        )
    return length


def end_ids(own: int | list[int] | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a completion: those of a model's own settings, and its tokenizer's."""
    ids = own if isinstance(own, list) else [own]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def is_finished(ids: Sequence[int], ends: frozenset[int], tokenizer: Any) -> bool:
    """Whether a row is over: an end token, or `</answer>` in the text of its last tokens."""
    return ids[-1] in ends or STOP in tokenizer.decode(ids[-len(STOP) - 2 :])


def completion_of(
    begun: str, ids: Sequence[int], tokenizer: Any, ends: frozenset[int]
) -> Completion:
    """The completion that token ids, the one that ended it included, stand for. Its text begins
    with `begun` and is cut after the answer's closing tag."""
    text = begun + tokenizer.decode(ids, skip_special_tokens=True)
    if STOP in text:
        return Completion(text[: text.index(STOP) + len(STOP)], len(ids), "stop")
    return Completion(text, len(ids), "stop" if is_finished(ids, ends, tokenizer) else "length")
