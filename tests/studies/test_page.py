"""A study's numbers behind its pictures, against hand computations; titles; and the page itself."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from statistics import fmean

import numpy as np
import pytest

from distill_lab.run.records import Question
from distill_lab.studies import page, results
from distill_lab.studies.cells import CellScores, cell_id, means_of, write_cells
from distill_lab.studies.definition import Contrast, Definition, Side
from distill_lab.studies.halves import half_of, write_halves
from distill_lab.studies.pictures.calibration_plot import calibration
from distill_lab.studies.pictures.findings_plot import forest
from distill_lab.studies.pictures.heat_map import heat_map
from distill_lab.studies.pictures.line_plot import is_geometric, line_plot
from distill_lab.studies.pictures.look import colours
from distill_lab.studies.series import Point, Series, along, calibration_of, fullest_half, map_of
from distill_lab.studies.statistics import mean_of, passage_draws, percentiles

QUESTIONS = [
    Question(f"q{n}", "", f"passage {n // 2}", "?", ("a",), ("one-fact", "two-fact")[n % 2])
    for n in range(8)
]
HALVES = {name: half_of(name, QUESTIONS) for name in ("choose", "report")}
KD_MINUS_SFT = Contrast("kd-best", "kd minus sft <chosen>", "em", Side("kd"), Side("sft"))
FIXED = Contrast("fixed", "kd minus base", "em", Side("kd", {"train.alpha": 0.5}), Side("base"))
STUDY = Definition(
    "map",
    "Which alpha & which T?",
    seeds=2,
    measures=("em", "confidence"),
    axes=({"train.alpha": (0.1, 0.5)}, {"train.temperature": (1.0, 2.0, 4.0)}),
    findings=(KD_MINUS_SFT,),
)


def line(student, point, seed, half, n_right):
    confidence = [90.0] * 4 + [10.0] * 4
    scores = {"em": [100.0] * n_right + [0.0] * (8 - n_right), "confidence": confidence}
    means = means_of(scores, HALVES[half].kinds)
    id = cell_id(point, seed, student)
    return CellScores(id, half, point, seed, student, 9, means, scores)


def n_right(student, point, seed):
    """From 1 to 8; with kd the more, the higher alpha and T are."""
    return (student == "kd") * int(4 * point["train.alpha"] + point["train.temperature"]) + 1 + seed


LINES = [
    line(student, point, seed, half, n_right(student, point, seed))
    for half in HALVES
    for point in STUDY.points()
    for seed in range(2)
    for student in ("sft", "kd")
    if half == "choose" or point == {"train.alpha": 0.5, "train.temperature": 4.0}
] + [line("base", {}, None, "report", 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    write_cells(place / "cells.jsonl", LINES)
    write_halves(place / "halves.json", HALVES)
    results.write(place, STUDY, {"seconds": 61, "versions": {"torch": None}, "git": None})
    (place / "plots").mkdir()
    (place / "plots" / "old.png").write_bytes(b"of an earlier definition")
    page.write(place)
    return place


@pytest.fixture(scope="module")
def study(folder):
    return results.read(folder)


def test_what_is_read_is_what_was_written(study):
    assert study.definition == STUDY
    assert study.lines == LINES
    assert {name: half.passages for name, half in study.halves.items()} == {
        name: half.passages for name, half in HALVES.items()
    }
    assert study.findings[0].chosen == {"train.alpha": 0.5, "train.temperature": 4.0}


def test_a_point_is_the_mean_over_seeds_and_the_other_axes(study):
    assert fullest_half(study) == "choose"
    series = along(study, STUDY.axes[0], "em")
    assert (series.axis, series.half, [*series.students]) == (
        ("train.alpha",),
        "choose",
        ["sft", "kd"],
    )
    for value, point in zip((0.1, 0.5), series.students["kd"], strict=True):
        counts = [
            n_right("kd", {"train.alpha": value, "train.temperature": t}, seed)
            for t in (1.0, 2.0, 4.0)
            for seed in (0, 1)
        ]
        assert (point.value, point.mean) == (value, pytest.approx(100 * fmean(counts) / 8))
        by_question = [100 * fmean(n < count for count in counts) for n in range(8)]
        expected = mean_of(by_question, HALVES["choose"].passages, [True] * 8)
        assert (point.low, point.high) == pytest.approx(percentiles(expected.of(passage_draws(4))))


def test_a_kind_of_question_has_a_line_of_its_own(study):
    one, two = (along(study, STUDY.axes[0], f"em:{kind}") for kind in ("one-fact", "two-fact"))
    both = along(study, STUDY.axes[0], "em")
    for student, points in both.students.items():
        for n, point in enumerate(points):
            halves = one.students[student][n].mean, two.students[student][n].mean
            assert point.mean == pytest.approx(fmean(halves))
            assert halves[0] != halves[1]


def test_the_map_has_rows_and_columns_in_their_places(study):
    made = map_of(study, KD_MINUS_SFT)
    assert made is not None
    assert (made.rows, made.columns) == ("train.alpha", "train.temperature")
    expected = [[int(4 * a + t) * 100 / 8 for t in (1, 2, 4)] for a in (0.1, 0.5)]
    np.testing.assert_allclose(made.differences, expected)
    picture = heat_map(made, study.findings[0])
    assert "best at alpha 0.5, T 4, +75.0 EM where it was chosen and +75.0 on" in picture.title


def test_a_contrast_with_one_open_axis_has_no_map(study):
    assert map_of(study, FIXED) is None


def test_calibration_by_hand(study):
    made = calibration_of(study, "sft")
    assert made is not None
    # sft is right in 1 (seed 0) or 2 (seed 1) of the 4 answers with confidence 90, else never
    assert made.confidence == [10.0, 90.0]
    assert made.right == [0.0, pytest.approx(100 * 1.5 / 4)]
    assert made.counts == [48, 48]  # 6 points, 2 seeds, 4 questions
    assert made.excess == pytest.approx(50 - 100 * 1.5 / 8)
    by_seed = [fmean([10, 90 - 100 * right / 4]) for right in (1, 2)]
    assert made.error == pytest.approx(fmean(by_seed), abs=1e-3)
    picture = calibration({"sft": made})
    assert picture.title == "sft is overconfident by 31.2 points"
    assert calibration_of(study, "teacher") is None


@pytest.mark.parametrize(
    ("values", "geometric"),
    [
        ((25, 50, 100, 200, 400), True),
        ((0.1, 0.3, 1.0), True),
        ((1, 2, 3, 4), False),
        ((0.0, 0.1, 1.0), False),  # a zero has no logarithm
        ((1, 10), False),
        ((400, 100, 25), False),
    ],
)
def test_when_an_axis_is_logarithmic(values, geometric):
    assert is_geometric(values) is geometric


def finding(difference, low, high, measure="em", **more):
    from distill_lab.studies.findings import Finding

    values = {"id": "x", "contrast": "kd minus sft", "unit": "EM", "seeds": 2, "settings_tried": 1}
    values |= {"by_seed": (low, high), "seeds_t95": None, "chosen_on": None}
    values |= {"reported_on": "r", "chosen": {}}
    return Finding(**{**values, **more}, difference=difference, ci95=(low, high), measure=measure)


def test_titles_and_readings_say_what_is_sure():
    better, worse, unsure = finding(3, 1, 5), finding(-3, -5, -1), finding(3, -1, 7)
    nearer = finding(-0.2, -0.3, -0.1, "kl", unit="nats a token")  # a smaller distance is better
    assert [page.reading(f) for f in (better, worse, unsure, nearer)] == [
        "better",
        "worse",
        "may be chance",
        "better",
    ]
    title = forest([better, worse, unsure, nearer]).title
    assert title == "Of 4 differences 2 are better beyond chance, 1 is worse, 1 is undecided"
    assert forest([unsure]).title == "kd minus sft: +3.0 EM, which may be chance"
    assert finding(0, 0, 0).sure is False
    assert finding(3, 3, 3).sure is False  # no width: one passage, say


class Reader(HTMLParser):
    """What a browser would fetch, and the pictures without a text."""

    def __init__(self):
        super().__init__()
        self.fetched, self.alts, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.fetched += [values[key] for key in ("src", "href") if key in values]
        if tag == "img":
            self.alts.append(values.get("alt"))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_with_a_text_for_each_picture(folder, study):
    text = (folder / "page.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert all(place.startswith("data:image/png;base64,") for place in reader.fetched)
    plots = {path.name for path in (folder / "plots").glob("*.png")}
    assert len(reader.alts) == len(reader.fetched) == len(plots)
    assert all(alt and len(alt) > 20 for alt in reader.alts)
    assert plots == {
        "findings.png",
        "map-kd-best.png",
        "calibration.png",
        *(
            f"train-{axis}-{m}.png"
            for axis in ("alpha", "temperature")
            for m in ("em", "em-by-kind", "ece")
        ),
    }


def test_the_page_says_question_findings_and_means(folder, study):
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert "<title>Which alpha &amp; which T?</title>" in text
    assert f"<li>kd minus sft &lt;chosen&gt;: {str(study.findings[0]).split(': ', 1)[1]}" in text
    assert "alpha 0.5, T 4, of 6 settings" in text
    assert "It took 1 min 1 s." in text
    assert "torch</th><td>not installed" in text
    rows = re.findall(r"<tr>(?:<td>.*?</td>)+<th scope=\"row\" class=\"name\">(\w+)</th>", text)
    assert (rows.count("base"), rows.count("sft"), rows.count("kd")) == (1, 7, 7)


def test_of_choosing_speaks_only_the_page_of_a_study_that_chose(folder, tmp_path):
    fixed = {"train.alpha": 0.5, "train.temperature": 4.0}
    contrast = Contrast("kd", "kd minus sft", "em", Side("kd", fixed), Side("sft"))
    write_halves(tmp_path / "halves.json", HALVES)
    write_cells(tmp_path / "cells.jsonl", LINES)
    about = {"seconds": None, "versions": None, "git": None}
    results.write(tmp_path, replace(STUDY, findings=(contrast,)), about)
    page.write(tmp_path)
    texts = [(place / "page.html").read_text(encoding="utf-8") for place in (folder, tmp_path)]
    assert ["The best of several settings" in text for text in texts] == [True, False]
    assert ['data-label="Chosen"' in text for text in texts] == [True, False]


def test_what_failed_is_named_and_a_study_without_findings_has_a_page(tmp_path):
    write_halves(tmp_path / "halves.json", {"choose": HALVES["choose"]})
    write_cells(tmp_path / "cells.jsonl", [each for each in LINES if each.student == "sft"][:12])
    results.write(tmp_path, STUDY, {"seconds": None, "versions": None, "git": None})
    page.write(tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not answered</b>, as cells failed: kd-best." in text
    assert "names no finding" not in text


def test_colours_and_marks_tell_students_apart():
    names = ["sft", "kd", "sft:unfiltered", "sft:wrong-only", "sft:right-only", "kd:unfiltered"]
    assert len(set(colours(names).values())) == len(names)
    more = colours([*names, "teacher"])
    assert len(set(more.values())) == len(names) + 1
    assert all(more[name] == colours([name])[name] for name in ("sft", "kd", "sft:unfiltered"))


def drawn(place, axis):
    """The first picture of a study with this axis alone, whose kd gets 3, 4, … of 8 right and whose
    sft always 1."""
    study = Definition("divergence", "Which?", seeds=1, axes=(axis,))
    lines = [
        line(student, point, 0, "report", right)
        for n, point in enumerate(study.points())
        for student, right in (("sft", 1), ("kd", 3 + n))
    ]
    write_halves(place / "halves.json", {"report": HALVES["report"]})
    write_cells(place / "cells.jsonl", lines)
    results.write(place, study, {"seconds": 1, "versions": None, "git": None})
    return page.draw(results.read(place))[0]


def test_an_axis_of_names_is_drawn_without_lines(tmp_path):
    picture = drawn(tmp_path, {"train.divergence": ("forward-kl", "jsd")})
    assert picture.title == "EM by divergence: sft 12.5; kd 37.5 to 50.0, intervals overlap"


def test_points_that_share_the_first_value_are_named_by_all_that_vary(tmp_path):
    axis = {
        "train.divergence": ("forward-kl", "jsd", "forward-kl"),
        "train.cache": ("topk", "topk", "none"),
        "train.alpha": (0.5, 0.5, 0.5),
    }
    text = drawn(tmp_path, axis).alt
    assert text.startswith("EM along divergence, cache: sft 12.5 at forward-kl, topk, ")
    assert "kd 37.5 at forward-kl, topk, 50.0 at jsd, topk, 62.5 at forward-kl, none" in text


def test_kinds_of_questions_have_a_picture_of_their_own(tmp_path):
    whole = drawn(tmp_path, {"train.alpha": (0.1, 0.5)})
    by_kind = page.draw(results.read(tmp_path))[1]
    assert (whole.name, by_kind.name) == ("train-alpha-em", "train-alpha-em-by-kind")
    assert whole.alt == "EM along alpha: sft 12.5 at 0.1, 12.5 at 0.5; kd 37.5 at 0.1, 50.0 at 0.5."
    one, two = by_kind.alt.removesuffix(".").split(". ")
    along = "questions along alpha: "
    assert one == f"EM on one-fact {along}sft 25.0 at 0.1, 25.0 at 0.5; kd 50.0 at 0.1, 50.0 at 0.5"
    assert two == f"EM on two-fact {along}sft 0.0 at 0.1, 0.0 at 0.5; kd 25.0 at 0.1, 50.0 at 0.5"


@pytest.mark.parametrize(
    ("kd", "said"),
    [
        ((30, 50, 70), "EM at alpha 2: sft 90.0 is ahead, base 10.0 is last"),
        ((60, 80, 100), "EM at alpha 2: sft 90.0 and kd 80.0 are ahead, base 10.0 is last"),
    ],
)
def test_a_title_names_all_whose_intervals_reach_the_best_ones(kd, said):
    ends = {"base": (5, 10, 15), "kd": kd, "sft": (85, 90, 95)}
    students = {
        who: [Point(a, m, low, high) for a in (1, 2)] for who, (low, m, high) in ends.items()
    }
    series = Series(("train.alpha",), (), "em", "report", students)
    picture = line_plot([series])
    assert picture.title == said
    assert picture.caption.endswith("that are reported; bands: 95 % intervals over passages.")
    averaged = replace(series, averaged=("train.temperature",), half="choose")
    assert line_plot([averaged]).caption == (
        "Means over seeds on the questions on which settings are chosen; bands: 95 % intervals "
        "over passages. Each point is the mean over all values of T."
    )


def test_a_study_all_of_whose_students_failed_has_a_page(tmp_path):
    write_cells(tmp_path / "cells.jsonl", [each for each in LINES if each.student == "base"])
    write_halves(tmp_path / "halves.json", HALVES)
    results.write(tmp_path, STUDY, {"seconds": 1, "versions": None, "git": None})
    page.write(tmp_path)
    assert "Not answered" in (tmp_path / "page.html").read_text()
    assert results.check(tmp_path) == []


def test_a_study_of_which_every_own_student_failed_has_a_page(study):
    """Without a student's score there is nothing to hold its budget against."""
    failed = replace(study.definition, students=("grpo",), axes=(), findings=())
    left = replace(
        study,
        definition=failed,
        lines=[line("base", {}, None, "report", 1)],
        values={**study.values, "findings": []},
    )
    assert [picture.name for picture in page.draw(left)] == ["calibration"]
