"""The two cards: what a student and its traces are, in huggingface_hub's form.

Every number comes from the run's report and settings; the templates only lay it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from distill_lab.pipeline.publishing.origins import Origin
from distill_lab.reporting import page, templates
from distill_lab.run.arms import ABOUT, ARMS, MODELS
from distill_lab.run.settings import BUNDLED, Config
from distill_lab.tasks.task import Task, score_label

TAGS = ["distillation", "reasoning", "distill-lab"]
_METRICS = {"em": "exact_match"}  # as `evaluate` calls it; the others have their own name there


def model_card(
    name: str,
    arm: str,
    config: Config,
    report: Mapping[str, Any],
    origins: tuple[Origin, Origin | None],
    traces: str,
    library: str,
) -> ModelCard:
    """The card of an arm's student. `origins` are those of the student and of the questions, where
    these are known; `traces` is the name of their data set, or "" """
    student, questions = origins
    task = page.task_of(report)
    data = ModelCardData(
        model_name=name,
        license=student.licence,
        base_model=student.hub or None,
        datasets=[each for each in (questions and questions.hub, traces) if each] or None,
        language=(questions and questions.language) or None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=TAGS,
        metrics=[_METRICS.get(each, each) for each in task.score_names],
        eval_results=_results(arm, config, report, task),
    )
    scores = {who: report["scores"][who] for who in MODELS if report["scores"].get(who)}
    body = _filled(
        "model_card.md", config, report, arm=arm, about=ABOUT, of_arm=ARMS[arm], name=name,
        student=student, questions=questions, traces=traces, scores=scores, task=task,
        never=never_run(report),
    )  # fmt: skip
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _results(arm: str, config: Config, report: Mapping[str, Any], task: Task) -> list[EvalResult]:
    """One result a score; its name in print has the interval, for which the hub has no field."""
    of_arm, source = report["scores"][arm], public(config.data.eval)
    return [
        EvalResult(
            task_type="question-answering",
            task_name=task.subject,
            dataset_type=source,
            dataset_name=f"{_named(config.data.eval)}, {of_arm['n']} held-out questions",
            metric_type=_METRICS.get(each, each),
            metric_name=f"{score_label(each)} (95 % interval)",
            metric_value=of_arm[each],
            metric_args={"ci95": of_arm[f"{each}_ci95"], "n": of_arm["n"]},
        )
        for each in task.score_names
    ]


def dataset_card(
    name: str, config: Config, report: Mapping[str, Any], questions: Origin, model: str
) -> DatasetCard:
    """The card of the traces, kept and refused."""
    task = page.task_of(report)
    data = DatasetCardData(
        license=questions.licence,
        language=questions.language or None,
        pretty_name=f"Traces of a teacher on {task.subject}",
        source_datasets=[questions.hub] if questions.hub else None,
        task_categories=["question-answering", "text-generation"],
        size_categories=_size(report["rejection"]["traces"]),
        tags=TAGS,
        configs=[{"config_name": "default", "data_files": "traces.jsonl"}],
    )
    body = _filled(
        "dataset_card.md", config, report, name=name, questions=questions, model=model, task=task
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _filled(template: str, config: Config, report: Mapping[str, Any], **parts: Any) -> str:
    environment = templates.environment(html=False)
    environment.filters.update(score=page.score, label=score_label, named=_named)
    return environment.get_template(f"{template}.jinja").render(
        config=config, report=report, **parts
    )


def _named(source: str) -> str:
    """How a card's text names a model or a set of questions."""
    ours = "made for distill_lab and bundled with it"
    return ours if source.startswith(BUNDLED) else f"`{public(source)}`"


def never_run(report: Mapping[str, Any]) -> list[str]:
    """What readers might take for granted and nobody has tried."""
    device = str(report["backend"]["device"])
    on_gpu = device.startswith("cuda")
    return [
        f"on {'a CPU' if on_gpu else 'a GPU'}: it was trained and scored on {device}, "
        f"{report['backend']['dtype']}",
        "with a second seed: one run, so that a difference between two students may be chance",
        "on other benchmarks, longer conversations or other languages",
        "through a test of safety, bias or toxicity",
    ]


def public(name: str) -> str:
    """A model's or file's name without the folders of this machine."""
    is_local = name.startswith((".", "/", "~")) or Path(name).exists()
    return Path(name).name if is_local else name


def _size(n: int) -> str:
    """The hub's name for so many rows."""
    bounds = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))
    return next((size for size, most in bounds if n < most), "1M<n<10M")
