"""EM and F1 as a metric of the `evaluate` library: `evaluate.load(str(questions.metric_path()))`.

It needs no network. In- and output are those of the library's own `squad`; a reference without any
text is an unanswerable question, and makes the result that of SQuAD 2.0.
"""

# pyright: basic
from __future__ import annotations

from typing import Any

# The library looks for its imports in the text of a metric's file: each must be a line of its own.
import datasets
import evaluate

from distill_lab.tasks.squad.scores import score


class Squad(evaluate.Metric):
    """`compute(predictions=…, references=…)` gives `exact_match` and `f1`, 0 to 100."""

    def _info(self) -> evaluate.MetricInfo:
        answers = {"text": datasets.Value("string"), "answer_start": datasets.Value("int32")}
        features = {
            "predictions": {
                "id": datasets.Value("string"),
                "prediction_text": datasets.Value("string"),
            },
            "references": {"id": datasets.Value("string"), "answers": datasets.Sequence(answers)},
        }
        return evaluate.MetricInfo(
            description="EM and F1 of the official SQuAD scripts.",
            citation="Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822",
            inputs_description="predictions: id, prediction_text; references: id, answers",
            features=datasets.Features(features),
        )

    def _compute(
        self, *, predictions: Any = None, references: Any = None, **_: Any
    ) -> dict[str, float]:
        questions: list[dict[str, Any]] = [
            {"id": entry["id"], "answers": [{"text": text} for text in entry["answers"]["text"]]}
            for entry in references
        ]
        unanswerable = any(not question["answers"] for question in questions)
        dataset = {
            "version": "v2.0" if unanswerable else "1.1",
            "data": [{"paragraphs": [{"qas": questions}]}],
        }
        return score(dataset, {entry["id"]: entry["prediction_text"] for entry in predictions})
