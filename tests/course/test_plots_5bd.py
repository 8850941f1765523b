"""The pictures of Labs 5b and 5d: their sentences are computed from hand-made records."""

from __future__ import annotations

import numpy as np
import pytest

from distill_lab.course.display import small_multiples
from distill_lab.course.plots.lab5b_5d import (
    _edges,
    bootstrap_means,
    compared,
    in_order,
    kept_by_votes,
    retention_by_size,
    size_of,
    yield_against_n,
)
from distill_lab.run.records import Prediction, Question, Trace, Verdict

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


@pytest.mark.parametrize(("right", "n"), [(105, 240), (70, 160), (12, 30), (500, 1000)])
def test_a_bar_begins_and_one_ends_where_the_interval_does(right, n):
    """No bar is half within, and the bars between the ends cover equally many means."""
    scores, rng, unit = (
        np.array([100.0] * right + [0.0] * (n - right)),
        np.random.default_rng(0),
        100 / n,
    )
    means = [rng.choice(scores, n).mean() for _ in range(1000)]
    low, high = (round(end / unit) * unit for end in np.percentile(means, [2.5, 97.5]))
    edges = _edges(low, high, means, unit)
    for end in (low - unit / 2, high + unit / 2):
        assert np.abs(edges - end).min() < 1e-9 * n
    assert (edges[0] <= min(means), max(means) <= edges[-1]) == (True, True)
    assert np.histogram(means, bins=edges)[0].sum() == 1000
    inside = round((high - low) / unit) + 1
    each = (edges[1] - edges[0]) / unit
    assert 10 <= inside / each <= 40


def test_equal_means_have_one_bar():
    assert len(_edges(50.0, 50.0, [50.0] * 9, 20.0)) == 2


def sampled(question: str, *answers: tuple[str | None, bool]) -> list[tuple[Trace, Verdict]]:
    """The traces of a question with their verdicts; an answer that is None is not well formed."""
    rows: list[tuple[Trace, Verdict]] = []
    for n, (answer, right) in enumerate(answers):
        text = f"<think>a</think><answer>{answer}</answer>" if answer else "<think>a"
        score = {"em": 100.0 if right else 0.0}
        reason = "ok" if right else "wrong_answer"
        rows.append(
            (Trace(question, n, text, 9, "stop", "t", "p"), Verdict(question, n, reason, score))
        )
    return rows


def test_votes_are_counted_by_question_and_as_squad_compares():
    """The answers of q agree but for their spelling; "Oslo" of r is another question's."""
    judged = sampled("q", ("The Nile.", True), ("nile", True), ("Oslo", False), (None, False))
    judged += sampled("r", ("Oslo", False), ("Oslo", False), ("Oslo", False), ("Bern", True))
    said = small_multiples(kept_by_votes(judged), "votes", [1, 2, 3, 4]).alt
    assert "votes = 1: keeps 7 of 8 traces, of which 57 % are wrong" in said  # 4 of 7
    assert "votes = 2: keeps 5 of 8 traces, of which 60 % are wrong" in said
    assert "votes = 3: keeps 3 of 8 traces, of which 100 % are wrong" in said
    assert said.endswith("votes = 4: keeps 0 of 8 traces.")
