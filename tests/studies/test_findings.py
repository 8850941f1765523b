"""Findings from hand-made cells: what is chosen on one half and reported on the other, pairing by
seed, references; and the check, which has to notice one changed digit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from distill_lab.run.records import LabError, Question
from distill_lab.studies import page, results
from distill_lab.studies.cells import CellScores, cell_id, means_of, rounded, write_cells
from distill_lab.studies.definition import Contrast, Definition, Side
from distill_lab.studies.findings import choose, findings, statistic_of, unanswered
from distill_lab.studies.halves import half_of, write_halves
from distill_lab.studies.statistics import passage_draws

QUESTIONS = [
    Question(f"q{n}", "", f"passage {n // 2}", "?", ("a",), ("one-fact", "two-fact")[n % 2])
    for n in range(8)
]
HALVES = {name: half_of(name, QUESTIONS) for name in ("choose", "report")}


def line(student, settings, seed, half, n_right, **more):
    """A cell of which the first `n_right` of the 8 questions are right."""
    scores = {"em": [100.0] * n_right + [0.0] * (8 - n_right), **more}
    means = means_of(scores, HALVES[half].kinds)
    return CellScores(
        cell_id(settings, seed, student), half, settings, seed, student, 9, means, scores
    )


def definition(*contrasts, **more):
    axes = more.pop("axes", ({"train.alpha": (0.0, 0.1, 0.5)},))
    return Definition("s", "Does it help?", seeds=2, axes=axes, findings=contrasts, **more)


def contrast(plus, minus, measure="em", id="x"):
    return Contrast(id, "plus minus minus", measure, plus, minus)


def lines_of_grid(right, half):
    """`right[student, alpha]`: how many are right with seed 0 and with seed 1."""
    return [
        line(student, {"train.alpha": alpha}, seed, half, n)
        for (student, alpha), counts in right.items()
        for seed, n in enumerate(counts)
    ]


GRID = {("sft", alpha): (2, 4) for alpha in (0.0, 0.1, 0.5)} | {
    ("kd", 0.0): (2, 4),
    ("kd", 0.1): (4, 8),  # the best of `choose`
    ("kd", 0.5): (5, 6),
}
REPORTED = {**GRID, ("kd", 0.1): (3, 6), ("kd", 0.5): (8, 8)}  # and not of `report`
LINES = lines_of_grid(GRID, "choose") + lines_of_grid(REPORTED, "report")


def test_the_setting_is_chosen_on_one_half_and_reported_on_the_other():
    study = definition(contrast(Side("kd"), Side("sft")))
    (made,) = findings(study, LINES, HALVES)
    assert made.chosen == {"train.alpha": 0.1}
    assert (made.settings_tried, made.seeds) == (3, 2)
    assert (made.chosen_on, made.reported_on) == ("bundled-choose", "bundled-report")
    # on `report` 3 - 2 and 6 - 4 of 8 questions: 12.5 and 25 points
    assert made.by_seed == (12.5, 25.0)
    assert made.difference == 18.75
    assert made.seeds_t95 == (18.75 - round(12.706 * 6.25, 2) + 0, 18.75 + round(12.706 * 6.25, 2))
    assert made.ci95[0] <= made.difference <= made.ci95[1]


def test_of_equals_the_first_is_taken():
    lines = [
        each if each.half == "report" else line(each.student, each.settings, each.seed, "choose", 3)
        for each in LINES
    ]
    (made,) = choose(definition(contrast(Side("kd"), Side("sft"))), lines, HALVES)
    assert made.chosen == {"train.alpha": 0.0}


def test_an_axis_that_minus_names_is_fixed_there_and_nothing_is_compared_with_itself():
    study = definition(contrast(Side("kd"), Side("kd", {"train.alpha": 0.0})))
    (made,) = choose(study, LINES, HALVES)
    assert (made.plus, made.minus) == ({"train.alpha": 0.1}, {"train.alpha": 0.0})
    assert made.settings_tried == 2  # alpha 0 minus alpha 0 is no setting


def test_where_all_is_fixed_nothing_is_chosen():
    at = {"train.alpha": 0.5}
    study = definition(contrast(Side("kd", at), Side("sft", at)))
    only_report = [each for each in LINES if each.half == "report"]
    (made,) = findings(study, only_report, {"report": HALVES["report"]})
    assert (made.settings_tried, made.chosen_on, made.chosen) == (1, None, {})
    assert made.difference == fmean([600, 400]) / 8


def test_of_a_distance_the_smallest_is_the_best():
    def of(student, alpha, kl):
        at = {"train.alpha": alpha}
        return [line(student, at, 0, half, 1, kl=[kl] * 8) for half in HALVES]

    study = definition(contrast(Side("kd"), Side("sft"), "kl"))
    grid = [*of("kd", 0.1, 0.5), *of("kd", 0.5, 0.2), *of("sft", 0.1, 0.9), *of("sft", 0.5, 0.9)]
    (made,) = findings(study, grid, HALVES)
    assert made.chosen == {"train.alpha": 0.5}
    assert (made.difference, made.unit, made.settings_tried) == (-0.7, "nats a token", 2)


def test_seeds_are_paired_by_number_and_those_of_one_side_alone_do_not_count():
    shuffled = [each for each in reversed(LINES) if (each.student, each.seed) != ("sft", 0)]
    at = {"train.alpha": 0.1}
    study = definition(contrast(Side("kd", at), Side("sft", at)))
    (made,) = findings(study, shuffled, HALVES)
    assert (made.by_seed, made.seeds, made.seeds_t95) == ((25.0,), 1, None)


def test_one_line_of_a_reference_stands_beside_each_seed():
    lines = [*LINES, line("base", {}, None, "report", 1)]
    at = {"train.alpha": 0.1}
    plus_base = definition(contrast(Side("kd", at), Side("base", at)))
    (made,) = findings(plus_base, lines, HALVES)
    assert made.by_seed == (25.0, 62.5)
    minus_base = definition(contrast(Side("base", at), Side("kd", at)))
    assert findings(minus_base, lines, HALVES)[0].by_seed == (-25.0, -62.5)


def test_a_contrast_whose_cells_failed_is_named_and_the_others_are_answered():
    at = {"train.alpha": 0.1}
    fixed = contrast(Side("kd", at), Side("sft", at), id="fixed")
    open_one = contrast(Side("kd"), Side("sft"), id="open")
    lines = [each for each in LINES if not (each.student == "kd" and each.settings == at)]
    study = definition(fixed, open_one)
    made = findings(study, lines, HALVES)
    assert [each.id for each in made] == ["open"]
    assert made[0].settings_tried == 2
    assert made[0].chosen == {"train.alpha": 0.5}
    assert unanswered(study, made) == ["fixed"]


def test_a_kind_of_question_is_told_alone():
    half, cell = HALVES["report"], LINES[-1]
    scores = {"em": [100.0, 0, 100, 0, 100, 0, 0, 0]}
    odd = CellScores(cell.cell, "report", {}, 0, "kd", 1, {}, scores)
    assert statistic_of(odd, "em:one-fact", half).value == 75
    assert statistic_of(odd, "em:two-fact", half).value == 0
    with pytest.raises(LabError, match=r"two-fact.*three-fact"):
        statistic_of(odd, "em:three-fact", half)
    with pytest.raises(LabError, match=r"em.*nll"):
        statistic_of(odd, "nll", half)


def test_the_calibration_error_is_held_against_the_score_that_decides():
    half = HALVES["report"]
    cell = line("kd", {}, 0, "report", 4, confidence=[95.0] * 4 + [5.0] * 4)
    assert statistic_of(cell, "ece", half).value == pytest.approx(5)
    assert cell.means["ece"] == 5
    assert statistic_of(cell, "ece:one-fact", half).value == pytest.approx(5)


def test_the_interval_is_that_of_the_drawn_passages():
    """By loops: draw passages, average the seeds' differences over all their questions."""
    at = {"train.alpha": 0.5}
    study = definition(contrast(Side("kd", at), Side("sft", at)))
    (made,) = findings(study, LINES, HALVES)
    difference = [
        fmean(
            (kd if n < kd_right else 0) - (100 if n < sft_right else 0)
            for kd, kd_right, sft_right in ((100, 8, 2), (100, 8, 4))
        )
        for n in range(8)
    ]
    means = []
    for counts in passage_draws(4):
        drawn = [p for p, times in enumerate(counts) for _ in range(int(times))]
        means.append(fmean(difference[2 * p + i] for p in drawn for i in (0, 1)))
    assert made.ci95 == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)


def test_the_sentence_says_it_all():
    at = {"train.alpha": 0.1}
    (made,) = findings(definition(contrast(Side("kd", at), Side("sft", at))), LINES, HALVES)
    low, high = (f"{end:+.1f}" for end in made.ci95)
    assert str(made) == (
        f"plus minus minus: +18.8 em (95 % interval {low} to {high}; 2 seeds)".replace("em", "EM")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study's folder with two findings, whole."""
    place = tmp_path_factory.mktemp("studies") / "alpha"
    place.mkdir()
    study = definition(
        contrast(Side("kd"), Side("sft"), id="best"),
        contrast(
            Side("kd", {"train.alpha": 0.5}), Side("sft", {"train.alpha": 0.5}), "nll", "likely"
        ),
        measures=("em", "nll"),
    )
    rng = np.random.default_rng(0)
    lines = [
        line(
            each.student,
            each.settings,
            each.seed,
            each.half,
            int(sum(each.scores["em"])) // 100,
            nll=np.round(rng.random(8), 3).tolist(),
        )
        for each in LINES
    ]
    write_cells(place / "cells.jsonl", lines)
    write_halves(place / "halves.json", HALVES)
    results.write(place, study, {"seconds": 3.5, "versions": {"python": "3"}, "git": None})
    page.write(place)
    return place


def test_a_study_is_what_follows_from_its_cells(folder):
    assert results.check(folder) == []
    assert results.check(folder.parent) == []  # a folder that holds several
    values = json.loads((folder / "study.json").read_text())
    assert {*values} >= set("name question definition seeds cells versions git seconds".split())
    keys = "id contrast unit difference ci95 seeds settings_tried chosen_on reported_on".split()
    assert [{*keys} - {*each} for each in values["findings"]] == [set(), set()]
    rows = (folder / "study.csv").read_text().splitlines()
    assert len(rows) == 1 + len(LINES)
    assert rows[0].startswith("cell,train.alpha,seed,student,half,n_examples,em,nll,em:one-fact")
    assert rows[1].split(",")[1:6] == ["0.0", "0", "sft", "choose", "9"]


def places(text, pattern):
    """Where the digits of each match stand."""
    spans = [match.span(1) for match in re.finditer(pattern, text)]
    return [at for start, end in spans for at in range(start, end) if text[at].isdigit()]


FLIPS = {
    "study.json": [
        r'"difference": (\S+),',
        r'"ci95": \[\s*(\S+?,\s*\S+)\s*\]',
        r'"seeds_t95": \[\s*(\S+?,\s*\S+)\s*\]',
        r'"by_seed": \[\s*(\S+?,\s*\S+)\s*\]',
        r'"settings_tried": (\d+)',
        r'"train.alpha": (0\.\d)\s*\}',
    ],
    "study.csv": [r"(?m)^.*?,(.+)$"],
    "cells.jsonl": [r'"em": ([\d.]+)', r'"nll": ([\d.]+)', r'"em": "(\d+)"', r'"nll": \[(.+?)\]'],
    "page.html": [r"<li>plus minus minus: (\S+) EM", r"interval (\S+ to \S+);"],
}


@pytest.mark.parametrize(("name", "pattern"), [(n, p) for n, ps in FLIPS.items() for p in ps])
def test_one_changed_digit_is_noticed(folder, name, pattern):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    at = places(text, pattern)
    assert at, pattern
    for place in at[:: max(1, len(at) // 5)]:
        digit = str((int(text[place]) + 1) % 10)
        digit = digit if pattern != r'"em": "(\d+)"' else str(1 - int(text[place]))
        path.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")
        try:
            assert results.check(folder), f"{name}: {text[place - 30 : place + 10]!r}"
        finally:
            path.write_text(text, encoding="utf-8")
    assert results.check(folder) == []


def test_means_are_computed_again_even_where_the_digest_was_renewed(folder):
    """Whoever changes a mean and the digest too is still found."""
    path, study = folder / "cells.jsonl", folder / "study.json"
    before = path.read_text(), study.read_text()
    changed = before[0].replace('"em": 25.0', '"em": 26.0', 1)
    assert changed != before[0]
    path.write_text(changed)
    digest = results._digest(path)
    study.write_text(re.sub(r'"cells.jsonl": "\w+"', f'"cells.jsonl": "{digest}"', before[1]))
    try:
        (problem,) = results.check(folder)
        assert "means" in problem
        assert "em" in problem
    finally:
        path.write_text(before[0])
        study.write_text(before[1])


def test_a_finding_that_was_taken_out_or_added_is_noticed(folder):
    path = folder / "study.json"
    text = path.read_text()
    for change in (lambda made: made[:1], lambda made: [*made, {**made[0], "id": "new"}]):
        values = json.loads(text)
        values["findings"] = change(values["findings"])
        path.write_text(json.dumps(values))
        assert any("study.json" in problem for problem in results.check(folder))
    path.write_text(text)


def test_a_folder_keeps_the_scores_of_its_findings_and_stays_small(tmp_path):
    """60 cells of 1,000 questions and all measures; the findings need some of ten cells."""
    rng = np.random.default_rng(0)
    half = half_of("report", [replace(QUESTIONS[n % 8], id=str(n)) for n in range(1000)])

    def cell(student, alpha, seed):
        scores = {"em": (100.0 * (rng.random(1000) < 0.5)).tolist()}
        scores |= {name: (100 * rng.random(1000)).tolist() for name in ("f1", "confidence")}
        scores |= {name: rng.random(1000).tolist() for name in ("nll", "kl")}
        at, kept = {"train.alpha": alpha}, rounded(scores)
        id, means = cell_id(at, seed, student), means_of(kept, half.kinds)
        return CellScores(id, "report", at, seed, student, 9, means, kept)

    alphas = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    lines = [cell(who, a, seed) for a in alphas for seed in range(5) for who in ("sft", "kd")]
    at = {"train.alpha": 0.5}
    study = definition(
        contrast(Side("kd", at), Side("sft", at), "nll:two-fact", "nll"),
        contrast(Side("kd", at), Side("kd", {"train.alpha": 0.0}), "ece", "ece"),
        axes=({"train.alpha": alphas},),
        choose="",
    )
    halves = {"report": half}
    stored = results.stored(study, lines, halves)
    assert findings(study, stored, halves) == findings(study, lines, halves)
    assert {name for line in stored for name in line.scores} == {"em", "nll", "confidence"}
    write_cells(tmp_path / "cells.jsonl", stored)
    write_halves(tmp_path / "halves.json", halves)
    results.write(tmp_path, study, {"seconds": 1, "versions": None, "git": None})
    page.write(tmp_path, lines)
    assert (tmp_path / "cells.jsonl").stat().st_size <= 300_000
    assert results.check(tmp_path) == []
    assert len([*(tmp_path / "plots").glob("train-alpha-*")]) == 6  # all measures, EM by kind too
    page.write(tmp_path)  # from the folder alone: of the score that all cells have
    assert len([*(tmp_path / "plots").glob("train-alpha-*")]) == 2
    assert results.check(tmp_path) == []


def test_a_choice_is_made_from_the_means_alone():
    """Of the half to choose on no scores but those of the score that decides are kept."""
    lines = [line(e.student, e.settings, e.seed, e.half, 1, f1=e.scores["em"]) for e in LINES]
    study = definition(contrast(Side("kd"), Side("sft"), "f1:two-fact"))
    (whole,) = findings(study, lines, HALVES)
    stored = results.stored(study, lines, HALVES)
    assert {name for e in stored if e.half == "choose" for name in e.scores} == {"em"}
    assert findings(study, stored, HALVES) == [whole]
    assert str(whole).startswith("plus minus minus, F1 on two-fact questions: ")


def test_a_seed_of_one_side_alone_keeps_its_scores_for_when_the_other_comes():
    at = {"train.alpha": 0.5}
    kl = {"kl": [0.1] * 8}
    lines = [
        line(who, at, seed, "report", 4, **kl) for who, seed in (("kd", 0), ("sft", 0), ("sft", 1))
    ]
    study = definition(contrast(Side("kd"), Side("sft"), "kl"), axes=({"train.alpha": (0.5,)},))
    stored = results.stored(study, lines, HALVES)
    assert all("kl" in each.scores for each in stored)


def test_what_is_no_study_is_said_in_one_sentence(folder, tmp_path):
    with pytest.raises(LabError, match="a study's folder"):
        results.check(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").write_text("{}")
    (problem,) = results.check(tmp_path)
    assert "study's results" in problem
