"""The pictures of Labs 5b and 5d: their sentences are computed from hand-made records."""

from __future__ import annotations

from distill_lab.course.plots.lab5b_5d import (
    bootstrap_means,
    compared,
    in_order,
    retention_by_size,
    size_of,
    yield_against_n,
)
from distill_lab.run.records import Prediction, Question, Verdict

PNG = b"\x89PNG"


def verdict(question: str, sample: int, reason: str) -> Verdict:
    return Verdict(question, sample, reason, {"em": 0.0})


def test_yield_counts_examples_and_questions_of_the_first_n_samples():
    found = [verdict("a", 0, "ok"), verdict("a", 1, "duplicate"), verdict("a", 2, "ok"),
             verdict("b", 0, "wrong_answer"), verdict("b", 1, "ok"), verdict("b", 2, "ok"),
             *(verdict(name, s, "truncated") for name in "cd" for s in range(3))]  # fmt: skip
    plot = yield_against_n(found)
    assert plot.alt == (
        "With one sample a question 1 examples and 25 % of the questions; "
        "with 3 samples 4 examples and 50 %."
    )
    assert plot.png
    assert plot.png.startswith(PNG)
    assert yield_against_n([]).png is None


def test_scores_stand_in_the_order_of_the_questions():
    questions = [Question(name, "", "", "", ()) for name in "ba"]
    predictions = [
        Prediction("a", 0, "", "", {"em": 0, "f1": 10}),
        Prediction("b", 0, "", "", {"em": 100, "f1": 100}),
    ]
    assert in_order(questions, predictions, "em") == [100.0, 0.0]
    assert in_order(questions, predictions, "f1") == [100.0, 10.0]


def test_compared_says_mean_and_interval():
    assert compared({"sft": [50.0] * 4, "unfiltered": [0.0] * 4}, "EM").alt == (
        "EM, mean and 95 % interval: sft 50.0 (50.0 to 50.0), unfiltered 0.0 (0.0 to 0.0)."
    )


def test_bootstrap_draws_where_all_scores_are_equal_and_where_they_differ():
    for scores in ([100.0] * 5, [0.0] * 5, [0.0, 100.0] * 20, [3.1, 40.0, 99.9]):
        plot = bootstrap_means(scores, "EM")
        assert plot.png
        assert f"of {len(scores)} scores" in plot.alt


def test_retention_is_table_5_over_table_4():
    alt = retention_by_size().alt
    assert "AIME 2024 pass@1 36 % at 1.5B, 70 % at 7B, 87 % at 14B, 91 % at 32B" in alt
    assert "LiveCodeBench 26 % at 1.5B" in alt
    assert size_of("R1-Distill-Qwen-1.5B") == 1.5
    assert size_of("R1-Distill-Llama-70B") == 70
