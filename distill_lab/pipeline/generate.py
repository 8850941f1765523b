"""Stage 2: the teacher answers each training question N times (paper, section 2.3.3: "we sample
multiple responses").

Traces are appended batch by batch, so a killed run goes on where it stopped and ends with the same
traces.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from distill_lab.models.backend import start
from distill_lab.run.distributed import from_main, is_main
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Trace
from distill_lab.run.settings import Config
from distill_lab.sampling.jobs import Completion, Job, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.sampler import open_teacher
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import prompt_id


def teacher_sampling(config: Config) -> Sampling:
    """How the teacher is sampled, from the settings."""
    s = config.generate
    return Sampling(s.n_samples, s.temperature, s.top_p, s.max_new_tokens, s.seed, s.top_k)


def run(config: Config, out: Path) -> bool:
    """Writes traces.jsonl: n_samples traces for every question of questions.train.jsonl.

    False if all were there.
    """
    folder, task = RunFolder(out), task_of(config)
    questions = folder.train_questions.read()
    with folder.traces.log(is_main()) as log:
        existing = from_main(lambda: {(trace.question_id, trace.sample) for trace in log.records})
        wanted = {(q.id, sample) for q in questions for sample in range(config.generate.n_samples)}
        if wanted <= existing:
            return False
        teacher = open_teacher(config, start(config, out), out)
        jobs = jobs_for(questions, teacher.tokenizer, config.models.teacher_shots, task)
        batches = teacher.complete_all(
            jobs, teacher_sampling(config), config.runtime.sample_batch, existing, "generate"
        )
        with closing(batches):  # ends the progress bar's line, whatever is said after it
            for batch in batches:
                traces = [
                    _trace(job, sample, done, config)
                    for job, done_all in batch
                    for sample, done in enumerate(done_all)
                ]
                log.append(t for t in traces if (t.question_id, t.sample) not in existing)
    return True


def _trace(job: Job, sample: int, done: Completion, config: Config) -> Trace:
    return Trace(
        job.question_id,
        sample,
        done.text,
        done.n_tokens,
        done.finish,
        config.models.teacher,
        prompt_id(job.prompt),
    )
