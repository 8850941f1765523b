"""The same few questions to a student before it learns, while it learns, and after: what it writes,
at steps that lie closer together where it changes most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from distill_lab.models.loading import LanguageModel
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Job
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import parse_unfinished

AT = (0, 20, 60)  # optimiser steps, beside the last
WATCHED = "watched"  # where the completions stand in the trainer's log
_SHOWN = 24  # characters of an answer in a line


class Watch(TrainerCallback):
    """Adds `{"step": …, "watched": {question id: completion}}` to the trainer's log, greedily, and
    prints the answers in a line. The log is part of a checkpoint, so that training which goes on
    from one has what was said up to there. Weights and random numbers stay as they are.
    """

    def __init__(
        self, student: LanguageModel, jobs: Sequence[Job], max_new_tokens: int, title: str
    ) -> None:
        self.student, self.jobs, self.title = student, list(jobs), title
        self.sampling = Sampling(max_new_tokens=max_new_tokens)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._ask(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in AT or state.global_step == state.max_steps:
            self._ask(state)

    def _ask(self, state: Any) -> None:
        lm = self.student.lm
        was_training = lm.training
        lm.eval()
        made = complete(self.student, self.jobs, self.sampling)
        texts = {job.question_id: completions[0].text for job, completions in made}
        lm.train(was_training)
        state.log_history.append({"step": state.global_step, WATCHED: texts})
        answers = [parse_unfinished(text).answer[:_SHOWN] or "–" for text in texts.values()]
        tqdm.write(f"{self.title}, step {state.global_step}: {' | '.join(answers)}")
