"""What notebooks call: where a run begins and goes on, what it says, and its copy in Drive."""

from __future__ import annotations

import os
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from distill_lab.course import drive
from distill_lab.course.display import show, slider, small_multiples, table
from distill_lab.course.lab import Lab, begin
from distill_lab.reporting.figures import SHOWN, Plot
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import (
    Example,
    LabError,
    Trace,
    Verdict,
    write_records,
    write_text,
)
from distill_lab.run.settings import Config

REASONS = ("ok", "ok", "wrong_answer", "malformed")
FIRST_WORDS = (
    "Of 4 traces 2 (50 %) were accepted and 2 became examples.",
    "Questions with no accepted trace: 0 of 1.",
)


@pytest.fixture
def shown(monkeypatch) -> list[Any]:
    """What a notebook would display."""
    pictures: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda shown, **_: pictures.append(shown))
    return pictures


@pytest.fixture
def lab(tmp_path) -> Lab:
    """A run up to reject: one question, four traces, of which two were accepted."""
    run = tmp_path / "run"
    scores = [100.0 if reason == "ok" else 0.0 for reason in REASONS]
    write_records(
        run / "traces.jsonl", [Trace("q", n, "text", 9, "stop", "t", "p") for n in range(4)]
    )
    write_records(
        run / "verdicts.jsonl",
        [Verdict("q", n, reason, {"em": scores[n]}) for n, reason in enumerate(REASONS)],
    )
    write_records(run / "examples.jsonl", [Example("q", n, "prompt", "text") for n in (0, 1)])
    return Lab(Config(), run)


def test_a_file_is_read_once_as_long_as_it_is_the_same(lab):
    """`lab.questions` in a loop over all traces took a minute."""
    first = lab.traces
    assert all(one is again for one, again in zip(first, lab.traces, strict=True))
    first.clear()
    assert len(lab.traces) == 4
    write_records(lab.out / "traces.jsonl", [Trace("q", 0, "other", 9, "stop", "t", "p")])
    assert [trace.completion for trace in lab.traces] == ["other"]


def test_traces_and_verdicts_are_joined_by_key(lab):
    """Traces stand in the order in which batches ended; the n-th verdict is another trace's."""
    write_records(lab.out / "traces.jsonl", lab.traces[::-1])
    found = {trace.sample: verdict.reason for trace, verdict in lab.judged}
    assert found == dict(enumerate(REASONS))


def test_begin_says_profile_place_time_and_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISTILL_LAB_RUNS", str(tmp_path / "elsewhere"))
    lab = begin("tiny")
    assert lab.out == tmp_path / "elsewhere" / "tiny"
    assert (lab.out / "config.json").exists()
    said = capsys.readouterr().out
    assert said.startswith("Profile tiny: you asked for it. begin(name) takes another: tiny, cpu,")
    assert f"is in elsewhere{os.sep}tiny; finished stages: none yet." in said
    assert "GB of memory" in said
    assert "for what is left (generate " in said
    assert str(tmp_path) not in said  # outputs are stored in notebooks, which travel


def test_begin_goes_on_with_what_is_there(tmp_path, capsys):
    begin("tiny", tmp_path / "run").run("data")
    RunFolder(tmp_path / "run").write_note("seconds", {"data": 1, "generate": 2})
    again = begin("tiny", tmp_path / "run")
    said = capsys.readouterr().out
    assert "finished stages: data, generate." in said
    assert "for what is left (train " in said
    assert len(again.questions) == 300


def test_begin_predicts_nothing_of_a_run_that_is_finished(tmp_path, capsys):
    begin("tiny", tmp_path)
    seconds = dict.fromkeys("data generate reject train evaluate report".split(), 1)
    RunFolder(tmp_path).write_note("seconds", seconds)
    begin("tiny", tmp_path)
    assert capsys.readouterr().out.endswith(
        "No model has to be run any more: what is left takes a moment.\n"
    )


def test_begin_refuses_another_profile_over_a_runs_records(tmp_path):
    write_text(tmp_path / "traces.jsonl", "{}\n")
    begin("tiny", tmp_path)
    with pytest.raises(LabError, match=r"traces.jsonl was made with --data.train bundled"):
        begin("cpu", tmp_path)


def test_a_stage_that_has_not_run_is_named(lab):
    with pytest.raises(LabError, match=r'run the cells above, or lab.run\("train"\)'):
        lab.show("curves")
    with pytest.raises(LabError, match=r'or lab.run\("report"\)'):
        lab.show("scores")
    with pytest.raises(LabError, match=r'or lab.run\("data"\)'):
        _ = lab.questions
    with pytest.raises(LabError, match=r'or lab.run\("train"\)'):
        lab.model("kd")


def test_unknown_names_say_what_there_is(lab):
    with pytest.raises(LabError, match=r"one of funnel, yield, .*; found 'funel'"):
        lab.show("funel")
    for ask in (lab.predictions, lab.model):
        with pytest.raises(LabError, match=r"one of base, sft, kd, teacher; found 'student'"):
            ask("student")
    with pytest.raises(LabError, match=r"one of sft, kd; found 'teacher'"):
        lab.log("teacher")


def test_the_funnel_is_there_before_any_training(lab, shown):
    lab.show("funnel")
    lab.show("yield")
    for picture, words, begins in zip(shown[::2], shown[1::2], FIRST_WORDS, strict=True):
        assert picture.data.startswith(b"\x89PNG")
        assert picture.alt.startswith(begins)
        assert words["text/plain"] == picture.alt
        assert f"</summary>{picture.alt}</details>" in words["text/html"]


def test_what_a_picture_does_not_say_itself_stands_above_and_below_it(shown):
    drawn = Plot("x", "One < two.", b"\x89PNG", title="It rises & falls", caption="Bars: <95 %>")
    show(drawn)
    above, picture, below, words = shown
    assert above == {"text/html": "<b>It rises &amp; falls</b>", "text/plain": "It rises & falls"}
    assert picture.width == SHOWN
    assert below["text/html"] == "<small>Bars: &lt;95 %&gt;</small>"
    assert words["text/plain"] == "One < two."


def test_a_picture_that_was_not_drawn_says_why(capsys):
    show(Plot("scores", "Nothing to draw: no scores."))
    assert capsys.readouterr().out == "Nothing to draw: no scores.\n"


def test_a_table_is_html_and_markdown_and_escapes_what_models_wrote(monkeypatch):
    made = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: made.append(data))
    table([["<think>", 1], [None, 2]], ["text", "n"])
    assert "<td style=text-align:left>&lt;think&gt;</td>" in made[0]["text/html"]
    assert made[0]["text/plain"] == "| text | n |\n| --- | --- |\n| <think> | 1 |\n| – | 2 |"


# -- the copy in Drive


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def copies(tmp_path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


def test_a_run_comes_back_as_it_was(lab, copies, tmp_path):
    write_text(lab.out / "config.json", "{}\n")
    write_text(lab.out / "students" / "sft" / "log.jsonl", "{}\n")
    assert drive.save(lab.out, copies)
    assert [path.name for path in copies.iterdir()] == ["run.zip"]
    back = tmp_path / "another" / "run"
    assert drive.restore(copies, back)
    assert contents(back) == contents(lab.out)


def test_a_run_that_is_here_is_not_overwritten(lab, copies):
    write_text(lab.out / "config.json", "old")
    drive.save(lab.out, copies)
    write_text(lab.out / "config.json", "new")
    assert not drive.restore(copies, lab.out)
    assert (lab.out / "config.json").read_text() == "new"
    assert not drive.restore(copies, lab.out.parent / "never-saved")


def test_a_restore_that_was_cut_short_is_done_again(lab, copies, tmp_path):
    write_text(lab.out / "config.json", "{}")
    drive.save(lab.out, copies)
    half = tmp_path / "half" / "run"
    write_text(half / "traces.jsonl", "half a fi")
    assert drive.restore(copies, half)
    assert contents(half) == contents(lab.out)


def test_a_drive_that_is_gone_stops_nothing(lab, copies, capsys):
    write_text(lab.out / "config.json", "{}")
    drive.save(lab.out, copies)
    whole = (copies / "run.zip").read_bytes()
    assert not drive.save(lab.out, copies / "gone")
    assert "The copy to Drive failed (No such file or directory)" in capsys.readouterr().out
    assert (copies / "run.zip").read_bytes() == whole


def test_each_finished_stage_is_copied(tmp_path, copies):
    lab = Lab(Config(), tmp_path / "run", copies)
    lab.run("data")
    with zipfile.ZipFile(copies / "run.zip") as archive:
        assert {"questions.train.jsonl", "questions.eval.jsonl"} <= set(archive.namelist())


def test_outside_colab_drive_does_nothing(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("COLAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "mount")
    assert begin("tiny", tmp_path / "run", drive=True).copies is None
    assert not (tmp_path / "mount").exists()


def test_in_colab_a_fresh_machine_goes_on_where_the_old_one_stopped(tmp_path, monkeypatch, capsys):
    module = types.ModuleType("google.colab.drive")
    module.mount = lambda place: Path(place).mkdir(exist_ok=True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab.drive", module)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "mount")
    begin("tiny", tmp_path / "one" / "tiny", drive=True).run("data")
    capsys.readouterr()
    lab = begin("tiny", tmp_path / "two" / "tiny", drive=True)
    assert f"two{os.sep}tiny, restored from Drive; finished stages: data." in (
        capsys.readouterr().out
    )
    assert len(lab.questions) == 300


# --- sliders --------------------------------------------------------------------------------------


def _draw(ax: Any, value: float) -> str:
    ax.bar([0], [value])
    return f"twice is {2 * value:g}"


def test_without_widgets_a_picture_has_at_most_four_values_from_the_first_to_the_last(
    shown, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    slider(_draw, "T", [1, 2, 3, 4, 5, 6, 7])
    picture, words = shown
    assert picture.data.startswith(b"\x89PNG")
    said = "T = 1: twice is 2; T = 3: twice is 6; T = 5: twice is 10; T = 7: twice is 14."
    assert picture.alt == words["text/plain"] == said
    assert small_multiples(_draw, "T", [3]).alt == "T = 3: twice is 6."


class _Widget:
    """A stand-in for those of ipywidgets that are used: what they are given, and `observe`."""

    def __init__(self, children: Any = (), **given: Any) -> None:
        self.children, self.value = children, given.get("value", "")
        self.options, self.seen = given.get("options", ()), []

    def observe(self, call: Any, name: str) -> None:
        assert name == "value"
        self.seen.append(call)

    def move(self, value: float) -> None:
        self.value = value
        for call in self.seen:
            call({"new": value})


def test_with_widgets_the_slider_draws_what_it_is_moved_to(shown, monkeypatch):
    widgets = types.ModuleType("ipywidgets")
    for name in ("Image", "HTML", "SelectionSlider", "VBox"):
        setattr(widgets, name, _Widget)
    widgets.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    slider(_draw, "T", [1, 2, 3])
    *_, box = shown
    chosen, picture, words = box.children
    assert chosen.options == [("1", 1), ("2", 2), ("3", 3)]
    assert words.value == "twice is 2"
    before = picture.value
    chosen.move(3)
    assert words.value == "twice is 6"
    assert picture.value.startswith(b"\x89PNG")
    assert picture.value != before


def test_a_slider_of_ipywidgets_does_so_too(shown):
    pytest.importorskip("ipywidgets", reason="the extra `widgets` is not installed")
    slider(_draw, "T", [1, 2, 3])
    *_, box = shown
    chosen, picture, words = box.children
    before = picture.value
    chosen.value = 3
    assert words.value == "twice is 6"
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert picture.value != before
