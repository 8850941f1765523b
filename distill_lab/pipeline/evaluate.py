"""Stage 5: base, both students and the teacher answer the same held-out questions, greedily, and
are graded by the task.

The paper samples at temperature 0.6 and averages pass@1; greedy answers are what SQuAD's tables
use.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from distill_lab.models.backend import start
from distill_lab.models.loading import LanguageModel, load_model
from distill_lab.models.sources import source_of
from distill_lab.run.arms import ARMS, MODELS
from distill_lab.run.distributed import from_main, is_main
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Prediction, Question, by_id
from distill_lab.run.settings import Config
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.task import Task


def run(config: Config, out: Path, models: Sequence[str] = MODELS) -> bool:
    """Writes predictions/<who>.jsonl for each of these models. False if all were there."""
    folder = RunFolder(out)
    questions = by_id(folder.eval_questions.read())
    for arm in ARMS:  # said before base's minutes, not after them
        if arm in models and not folder.predictions(arm).path.exists():
            folder.require_model(arm)
    return any([_evaluate(who, questions, config, out) for who in models])


def _evaluate(who: str, questions: dict[str, Question], config: Config, out: Path) -> bool:
    task = task_of(config)
    with RunFolder(out).predictions(who).log(is_main()) as log:
        existing = from_main(lambda: {(p.question_id, p.sample) for p in log.records})
        if {(id, 0) for id in questions} <= existing:
            return False
        model = load_model(who, config.models, start(config, out), out)
        batches = _answers(model, who, list(questions.values()), existing, config)
        with closing(batches):  # ends the progress bar's line, whatever is said after it
            for batch in batches:
                log.append(
                    _graded(task, questions[id], completion)
                    for id, completion in batch
                    if (id, 0) not in existing
                )
    return True


def _answers(
    model: LanguageModel,
    who: str,
    questions: list[Question],
    existing: set[tuple[str, int]],
    config: Config,
) -> Generator[list[tuple[str, str]]]:
    """(question id, completion), a batch at a time; the teacher is asked as it was sampled."""
    shots = source_of(who, config.models).shots
    jobs = jobs_for(questions, model.tokenizer, shots, task_of(config))
    greedy = Sampling(max_new_tokens=config.evaluate.max_new_tokens)
    for batch in complete_all(
        model, jobs, greedy, config.runtime.sample_batch, existing, f"evaluate {who}"
    ):
        yield [(job.question_id, completions[0].text) for job, completions in batch]


def _graded(task: Task, question: Question, completion: str) -> Prediction:
    answer = answer_text(completion)
    return Prediction(question.id, 0, completion, answer, task.grade(answer, question))
