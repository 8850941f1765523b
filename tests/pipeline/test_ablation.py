"""A student without the filter: what it is shown, and that the run's own students stay."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from distill_lab.pipeline import ablation, runner
from distill_lab.run import settings
from distill_lab.run.records import Example, LabError, Trace, Verdict, read_records


def rows(*ems: float) -> tuple[list[Trace], list[Verdict]]:
    traces = [Trace("q", s, f"t{s}", 3, "stop", "m", "p") for s in range(len(ems))]
    return traces, [Verdict("q", s, "duplicate", {"em": em}) for s, em in enumerate(ems)]


def test_unfiltered_looks_at_no_verdict_and_draws_none_twice():
    traces, verdicts = rows(100, 0, 100, 0, 0)
    chosen = ablation.draw(traces, verdicts, 5, "unfiltered", 0)
    assert sorted(trace.sample for trace in chosen) == [0, 1, 2, 3, 4]
    assert len(ablation.draw(traces, verdicts, 3, "unfiltered", 0)) == 3


def test_wrong_only_has_no_right_duplicate_and_repeats_until_there_are_enough():
    traces, verdicts = rows(100, 0, 100, 0, 0)
    chosen = [trace.sample for trace in ablation.draw(traces, verdicts, 7, "wrong-only", 0)]
    assert len(chosen) == 7
    assert {chosen.count(sample) for sample in (1, 3, 4)} <= {2, 3}


def test_right_only_is_as_few_as_wrong_only():
    """Its control: as many traces, of as many questions, and none of them wrong or a duplicate."""
    ems = {"a": (0, 0, 0), "b": (0, 100, 100), "c": (100, 100, 100), "d": (100, 100, 100)}
    ems |= {"e": (100, 100, 0)}
    traces = [Trace(q, s, q, 3, "stop", "m", "p") for q in ems for s in range(3)]
    verdicts = [
        Verdict(q, s, "wrong_answer" if em < 100 else "duplicate" if q == "d" else "ok", {"em": em})
        for q, found in ems.items()
        for s, em in enumerate(found)
    ]
    wrong = ablation.draw(traces, verdicts, 5, "wrong-only", 0)
    right = ablation.draw(traces, verdicts[::-1], 5, "right-only", 0)
    assert sorted(Counter(t.question_id for t in wrong).values()) == [1, 1, 3]
    assert Counter(t.question_id for t in right) == {"c": 3, "b": 1, "e": 1}
    twice = Counter((t.question_id, t.sample) for t in ablation.draw(
        traces, verdicts, 10, "right-only", 0))  # fmt: skip
    assert set(twice.values()) == {2}


def test_the_order_of_the_file_plays_no_part():
    traces, verdicts = rows(100, 0, 100, 0, 0)
    one = ablation.draw(traces, verdicts, 3, "unfiltered", 0)
    assert one == ablation.draw(traces[::-1], verdicts[::-1], 3, "unfiltered", 0)
    assert one != ablation.draw(traces, verdicts, 3, "unfiltered", 1)


def test_no_wrong_trace_is_a_mistake_that_says_what_to_do():
    with pytest.raises(LabError, match=r"raise --generate\.temperature"):
        ablation.draw(*rows(100, 100), 2, "wrong-only", 0)


def test_a_student_is_trained_beside_the_runs_own(tmp_path, capsys):
    tiny = settings.profile("tiny")
    small = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, n_train=6, n_eval=3),
        generate=dataclasses.replace(tiny.generate, n_samples=2, temperature=1.2),
        train=dataclasses.replace(tiny.train, epochs=1, batch_size=8),
    )
    for stage in ("data", "generate", "reject"):
        runner.run_stage(stage, small, tmp_path)
    found = ablation.student_of("unfiltered", small, tmp_path)
    folder = tmp_path / "no_filter" / "unfiltered"
    kept = read_records(tmp_path / "examples.jsonl", Example)
    assert len(found) == 3
    assert len(read_records(folder / "examples.jsonl", Example)) == len(kept)
    assert not (tmp_path / "students").exists()
    assert not (folder / "students" / "kd").exists()
    made = (folder / "students" / "sft" / "log.jsonl").stat().st_mtime_ns
    assert ablation.student_of("unfiltered", small, tmp_path) == found
    assert (folder / "students" / "sft" / "log.jsonl").stat().st_mtime_ns == made
