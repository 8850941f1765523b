"""The studies that come with the course, as notebooks show them."""

from __future__ import annotations

import csv
import html
from statistics import fmean

import pytest
from PIL import Image

from distill_lab.course.plots.shipped import studies_folder, study_means, study_pictures
from distill_lab.reporting.figures import WIDTH
from distill_lab.run.records import LabError
from distill_lab.studies.results import read

STUDIES = sorted(path.parent for path in studies_folder().glob("*/study.json"))
REQUIRED = {
    "filter-tiny", "filter-right-only", "kd-best", "kd-unfiltered", "budget-800", "reverse-kl",
    *(f"compare-{arm}-start" for arm in ("sft", "kd", "rft", "grpo", "on-policy")),
    "compare-sft-grpo", "cpu-sft-base", "cpu-kd-sft", "cpu-filter",
    *(f"examples-{n}" for n in (50, 100, 200, 400, 800)),
}  # fmt: skip


def test_what_the_course_promises_was_found():
    ids = {finding.id for folder in STUDIES for finding in read(folder).findings}
    assert ids >= REQUIRED


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_each_picture_can_be_shown_and_is_told_in_words(folder):
    files = {path.stem for path in (folder / "plots").glob("*.png")}
    assert "findings" in files
    [default] = study_pictures(folder.name)
    assert default.name == "findings"
    for picture in study_pictures(folder.name, *sorted(files)):
        assert picture.png == (folder / "plots" / f"{picture.name}.png").read_bytes()
        page = html.unescape((folder / "page.html").read_text(encoding="utf-8"))
        for before, said in (("<h3>", "title"), ('alt="', "alt"), ("<figcaption>", "caption")):
            assert getattr(picture, said)
            assert before + getattr(picture, said) in page


def test_a_picture_is_as_wide_as_all_others():
    pictures = [*studies_folder().glob("*/plots/*.png")]
    sizes = {path: Image.open(path).width for path in pictures}
    assert {path for path, width in sizes.items() if width != WIDTH} == set()


def test_a_study_of_an_earlier_version_is_to_be_run_again(tmp_path):
    (tmp_path / "study.json").write_text('{"pictures": {"findings": "kd minus sft: +5"}}')
    with pytest.raises(LabError, match=r"earlier version wrote\. Run the study again"):
        study_pictures(tmp_path)


def test_means_are_those_of_the_table():
    """Of the kd student, by the study's own table, over all its cells on the reported half."""
    with (studies_folder() / "divergence" / "study.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["half"] == "report"]
    means = study_means("divergence")
    assert {"base", "teacher", "kd"} <= means.keys() == {row["student"] for row in rows}
    for student, mean in means.items():
        expected = fmean(float(row["em"]) for row in rows if row["student"] == student)
        assert mean["em"] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(LabError, match="one of the studies"):
        study_means("x")


def test_a_study_of_ones_own_is_shown_by_its_folder():
    folder = studies_folder() / "filter"
    assert study_pictures(folder) == study_pictures("filter")
    with pytest.raises(LabError, match=r"pictures of filter: .*findings.*; found 'x'"):
        study_pictures(folder, "x")


def test_names_that_there_are_not():
    with pytest.raises(LabError, match=r"one of the studies .*filter.*; found 'x'"):
        study_pictures("x")
    with pytest.raises(LabError, match=r"pictures of filter: .*findings.*; found 'x'"):
        study_pictures("filter", "findings", "x")
