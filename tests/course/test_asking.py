"""`lab.ask`: every model that is there answers, in one table."""

from __future__ import annotations

import nbformat
import pytest
from scripted import save_answering

from distill_lab.chat.speakers import of_run
from distill_lab.course.asking import TRAPS, show_answers
from distill_lab.course.builder import execute
from distill_lab.course.lab import Lab
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import claim_run_folder
from distill_lab.run.settings import Config, ModelSettings
from distill_lab.tasks.squad.scores import em

PASSAGE, QUESTION = "Anna lives in Rome.", "Where does Anna live?"


@pytest.fixture
def lab(tiny_model, tmp_path) -> Lab:
    """A run of which kd is trained and sft not."""
    out = tmp_path / "run"
    folders = {who: tmp_path / who for who in ("teacher", "base")}
    folders["kd"] = out / "students" / "kd" / "model"
    config = Config(models=ModelSettings(str(folders["teacher"]), str(folders["base"])))
    claim_run_folder(config, out)
    for who, answer in (("base", "?"), ("teacher", "Rome"), ("kd", "<|>")):
        save_answering(folders[who], tiny_model("llama"), answer)
    return Lab(config, out)


def test_all_that_are_there_answer_in_one_table(lab, capsys):
    lab.ask(PASSAGE, QUESTION)
    assert capsys.readouterr().out.splitlines() == [
        f"{PASSAGE} {QUESTION}",
        "",
        "| model | thought | answer |",
        "| --- | --- | --- |",
        "| base | A | ? |",
        "| kd | A | <|> |",
        "| teacher | A | Rome |",
    ]


def test_those_that_are_named_answer_and_one_that_is_not_trained_is_named(lab, capsys):
    lab.ask(PASSAGE, QUESTION, "teacher", "kd")
    assert [line[:5] for line in capsys.readouterr().out.splitlines()[4:]] == ["| tea", "| kd "]
    with pytest.raises(LabError, match="the stage train makes"):
        lab.ask(PASSAGE, QUESTION, "sft")
    with pytest.raises(LabError, match="Expected one of base, sft, kd, teacher; found 'me'"):
        lab.ask(PASSAGE, QUESTION, "me")


def test_models_stay_loaded_until_a_stage_runs(lab, tiny_model, capsys):
    lab.ask(PASSAGE, QUESTION, "kd")
    save_answering(lab.out / "students" / "kd" / "model", tiny_model("llama"), "new")
    lab.ask(PASSAGE, QUESTION, "kd")
    assert capsys.readouterr().out.count("| <|> |") == 2
    with pytest.raises(LabError):
        lab.run("report")  # there is nothing to report
    lab.ask(PASSAGE, QUESTION, "kd")
    assert "| new |" in capsys.readouterr().out


def test_a_passage_that_is_too_long_is_one_sentence(lab):
    with pytest.raises(LabError, match="Question of yours: expected a prompt that leaves room"):
        lab.ask("word " * 3000, QUESTION, "kd")


def test_two_of_the_traps_fool_the_bundled_teacher_and_the_third_does_not(tmp_path, capsys):
    """The students' answers depend on the run; the teacher ships."""
    claim_run_folder(Config(), tmp_path / "run")
    speakers, _ = of_run(Config(), tmp_path / "run", ["teacher"])
    said = []
    for trap in TRAPS:
        show_answers(speakers, trap)
        answer = capsys.readouterr().out.splitlines()[4].split("|")[-2].strip()
        said.append((em(answer, trap.answers), answer))
        assert answer in trap.context
    assert said == [(0, "lute"), (100, "Anstad"), (0, "Helden")]


@pytest.mark.notebook
@pytest.mark.enable_socket
def test_a_notebook_keeps_one_output_the_whole_table(tmp_path):
    """It was updated many times while the models wrote."""
    code = (
        "from distill_lab.chat.speakers import of_run\n"
        "from distill_lab.course.asking import TRAPS, show_answers\n"
        "from distill_lab.run.settings import Config\n"
        "from pathlib import Path\n"
        "made, _ = of_run(Config(), Path('.'), ['base', 'teacher'])\n"
        "show_answers(made, TRAPS[0])"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    execute.run(notebook, "asking", tmp_path)
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert output.data["text/plain"].endswith("| lute |")
    assert "…" not in output.data["text/html"]
