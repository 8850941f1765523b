"""A study's definition: each mistake in it is one sentence, and the grid is what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_lab.run.records import LabError
from distill_lab.studies.definition import Contrast, Definition, Side
from distill_lab.studies.running.cell_configs import cells_of
from distill_lab.studies.running.definition_file import (
    read_definition,
    toml_text,
    write_definition,
)
from distill_lab.studies.running.parse_definition import definition_from

GOOD = """
name = "examples"
question = "How many examples is the softened distribution worth?"
seeds = 5
students = ["sft", "kd", "sft:unfiltered"]
measures = ["em", "f1", "pass@4", "em:two-fact"]

[settings]
"generate.temperature" = 1
"train.steps" = 280

[[axes]]
"data.n_train" = [25, 50]
"train.epochs" = [8, 4]

[[axes]]
"train.alpha" = [0.0, 0.5, 1]

[[findings]]
id = "examples-25"
contrast = "kd minus sft at 25 questions"
measure = "em"
plus = {student = "kd", "data.n_train" = 25, "train.alpha" = 0.5}
minus = {student = "sft"}

[[findings]]
id = "kd-best"
measure = "em"
plus = {student = "kd"}
minus = {student = "kd", "train.alpha" = 0.0}
"""


def read(tmp_path: Path, text: str) -> Definition:
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return read_definition(path)


def test_a_definition_is_read_as_it_stands(tmp_path):
    definition = read(tmp_path, GOOD)
    assert definition.profile == "tiny"
    assert definition.settings == {"generate.temperature": 1.0, "train.steps": 280}
    assert definition.axes == (
        {"data.n_train": (25, 50), "train.epochs": (8, 4)},
        {"train.alpha": (0.0, 0.5, 1.0)},
    )
    at = {"data.n_train": 25, "train.alpha": 0.5}
    text = "kd minus sft at 25 questions"
    assert definition.findings[0] == Contrast(
        "examples-25", text, "em", Side("kd", at), Side("sft")
    )
    assert definition.findings[1].contrast == "kd minus kd"


def test_values_of_a_table_vary_together_and_tables_are_crossed(tmp_path):
    points = read(tmp_path, GOOD).points()
    assert [tuple(point.values()) for point in points] == [
        (25, 8, 0.0), (25, 8, 0.5), (25, 8, 1.0), (50, 4, 0.0), (50, 4, 0.5), (50, 4, 1.0),
    ]  # fmt: skip


def test_without_axes_there_is_one_point():
    assert Definition("n", "q").points() == [{}]


def test_what_a_finding_leaves_open_is_the_same_on_both_sides_but_for_what_minus_names(tmp_path):
    definition = read(tmp_path, GOOD)
    fixed, best = (definition.pairs(each) for each in definition.findings)
    assert fixed == [({"data.n_train": 25, "train.epochs": 8, "train.alpha": 0.5},) * 2]
    found = [
        (plus["data.n_train"], plus["train.alpha"], minus["data.n_train"], minus["train.alpha"])
        for plus, minus in best
    ]
    assert found == [(n, alpha, n, 0.0) for n in (25, 50) for alpha in (0.0, 0.5, 1.0)]


def test_its_toml_is_the_same_definition_again(tmp_path):
    definition = read(tmp_path, GOOD)
    assert read(tmp_path, toml_text(definition)) == definition
    odd = definition_from({"name": 'a "b" \\ é', "question": "", "choose": "", "axes": []})
    assert read(tmp_path, toml_text(odd)) == odd


def test_a_file_that_says_the_same_keeps_its_comments(tmp_path):
    definition = read(tmp_path, "# why\n" + GOOD)
    write_definition(tmp_path / "study.toml", definition)
    assert (tmp_path / "study.toml").read_text().startswith("# why")
    write_definition(tmp_path / "study.toml", replace(definition, seeds=2))
    assert read_definition(tmp_path / "study.toml").seeds == 2


def test_a_study_without_a_name_is_called_after_its_file_or_its_folder(tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("")
    assert read_definition(other).name == "other"
    assert read(tmp_path, "").name == tmp_path.name


# fmt: off
MISTAKES: tuple[tuple[str, str, str], ...] = (
    ("name = ", "nme = ", "Unknown key 'nme'; did you mean name?"),
    ('name = "examples"', "name = 3", "name: expected a text, found 3."),
    ("seeds = 5", "seeds = 0", "seeds: expected 1 or more, found 0."),
    ("seeds = 5", "seeds = 2.5", "seeds: expected a whole number, found 2.5."),
    ("seeds = 5", "seeds = true", "seeds: expected a whole number, found True."),
    ('"kd", "sft:unfiltered"', '"dk"', "Unknown student 'dk'; expected one of sft"),
    ('"sft:unfiltered"', '"sft:unfilterd"', "did you mean sft:unfiltered?"),
    ('"kd", "sft:unfiltered"', '"kd", "kd"', "students: expected each once, found kd twice."),
    ('"em", "f1", "pass@4"', '"f2"', "Unknown measure 'f2'; expected one of em, f1"),
    ("generate.temperature", "generate.temprature", "did you mean generate.temperature?"),
    ("data.n_train", "data.n_trian", "Unknown setting 'data.n_trian'; did you mean data.n_train?"),
    ("[25, 50]", "[25, -1]", "data.n_train: expected 0 or more, found -1."),
    ("[25, 50]", '[25, "many"]', "data.n_train: expected a whole number, found 'many'."),
    ("[25, 50]", "[25, 0.5]", "data.n_train: expected a whole number, found 0.5."),
    ("[25, 50]", "[25]", "found data.n_train 1, train.epochs 2. Values of one table vary together"),
    ("[25, 50]", "[]", "data.n_train: expected at least one value, found an empty grid."),
    ("[25, 50]", "25", "data.n_train: expected a list, found 25."),
    ("[0.0, 0.5, 1]", "[0.0, 0.5, 1, 1.5]", "train.alpha: expected 0 to 1, found 1.5."),
    ('"train.alpha" = [', '"train.seed" = [', "train.seed: expected another setting, as seeds"),
    ('"train.steps" = 280', '"data.eval" = "x"', "data.eval: expected another setting, as choose"),
    ('"train.steps" = 280', '"train.alpha" = 0.5', "train.alpha: expected it in one place, found"),
    ('"train.epochs" = [8, 4]', '"runtime.micro_batch" = [8, 4]', "an axis that changes the"),
    ('"train.epochs" = [8, 4]', '"train.divergence" = ["kl", "jsd"]', "one of 'forward-kl'"),
    ('id = "kd-best"', "", "findings: expected id in each, found none in one."),
    ('id = "kd-best"', 'id = "examples-25"', "found examples-25 twice. Rename one."),
    ('id = "kd-best"', 'id = "kd-best"\nids = 1', "Unknown key of a finding 'ids'; did you mean"),
    ('plus = {student = "kd"}', 'plus = {"train.alpha" = 1.0}', "plus: expected a student, found"),
    ('plus = {student = "kd"}', 'plus = {student = "rft"}', "one of the study's students (sft, kd"),
    ('"train.alpha" = 0.0}', '"train.alpha" = 0.3}', "Finding kd-best: expected values that are"),
    ('"train.alpha" = 0.0}', '"train.temperature" = 2.0}', "one of the study's axes (data.n_train"),
    ("seeds = 5", 'choose = ""', "Finding kd-best: expected all axes fixed, as the study has no"),
    ("seeds = 5", 'report = ""', "report: expected at least one, found an empty grid."),
    ("seeds = 5", 'profile = "tinny"', "expected one of tiny, cpu, colab, cluster"),
    ("seeds = 5", "seeds = ", "expected a TOML file, found another: Invalid value"),
)
# fmt: on


@pytest.mark.parametrize(("good", "bad", "says"), MISTAKES)
def test_each_mistake_is_one_sentence_with_the_file(good, bad, says, tmp_path):
    assert good in GOOD
    with pytest.raises(LabError) as caught:
        read(tmp_path, GOOD.replace(good, bad))
    assert says in str(caught.value)
    assert str(tmp_path / "study.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_minus_that_names_half_of_a_table_needs_one_partner():
    axis = {"data.n_train": [25, 50, 25], "train.epochs": [8, 4, 4]}
    finding: dict[str, Any] = {"id": "a", "measure": "em", "plus": {"student": "kd"}}
    finding["minus"] = {"student": "sft", "data.n_train": 25}
    with pytest.raises(LabError, match="Fix all the names of that axis"):
        definition_from({"name": "", "question": "", "axes": [axis], "findings": [finding]})


# -- cells, and what they share

SHARED = {
    "name": "s", "question": "", "seeds": 2, "students": ["sft", "kd", "kd:unfiltered"],
    "axes": [{"data.n_train": [8, 16]}, {"generate.n_samples": [2, 4]}, {"train.alpha": [0, 0.5]}],
}  # fmt: skip


def n_keys(name: str) -> int:
    cells = [cell for cell in cells_of(definition_from(SHARED)) if not cell.is_reference]
    assert len({cell.id for cell in cells}) == len(cells) == 2 * 2 * 2 * 2 * 3
    return len({getattr(cell, name) for cell in cells})


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("traces_key", 2),  # one a seed, whatever the number of questions and samples
        ("examples_key", 2 * 4),  # a seed, a number of questions, a number of samples
        ("cache_key", 1),
        # sft is kd with alpha 0, and has no alpha: three or four students a point of the others
        ("student_key", 2 * 4 * 4),
    ],
)
def test_cells_share_all_that_they_agree_on(name, n):
    assert n_keys(name) == n


def test_seeds_are_those_of_draw_samples_and_training_and_not_of_the_references():
    cells = cells_of(definition_from(SHARED))
    references = [cell for cell in cells if cell.is_reference]
    assert [(cell.student, dict(cell.point)) for cell in references] == [
        ("base", {}),
        ("teacher", {}),
    ]
    for cell in cells:
        config = cell.config
        seeds = {config.data.seed, config.generate.seed, config.train.seed}
        assert seeds == {cell.seed or 0}


def test_a_reference_is_measured_for_each_value_of_what_it_depends_on():
    axes = [{"models.teacher": ["bundled", "x"]}, {"train.alpha": [0.1, 0.5]}]
    cells = cells_of(definition_from({"name": "", "question": "", "axes": axes}))
    found = [(cell.student, dict(cell.point)) for cell in cells if cell.is_reference]
    assert found == [
        ("base", {}),
        ("teacher", {"models.teacher": "bundled"}),
        ("teacher", {"models.teacher": "x"}),
    ]
