"""Questions of one's own: what models answer is what the sampler gives; a slip ends nothing."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from rich.console import Console
from scripted import save_answering, scripted
from transformers import AutoTokenizer

from distill_lab.chat import piped
from distill_lab.chat.replies import ask
from distill_lab.chat.speakers import Speaker, of_run
from distill_lab.chat.terminal import Conversation
from distill_lab.cli.main import main
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.run.records import LabError, Question, write_records
from distill_lab.run.saved_settings import claim_run_folder
from distill_lab.run.settings import Config, ModelSettings
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.gsm8k import GSM8K
from distill_lab.tasks.squad.task import SQUAD

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")
CONTEXT, WHERE = "Anna lives in Rome.", "Where does Anna live?"
ANSWERS = {"base": "?", "kd": "Paris", "teacher": "Rome"}


@pytest.fixture(scope="module")
def out(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose models each give an answer of their own, whatever they are asked."""
    out = tmp_path_factory.mktemp("run")
    folders = {who: out.with_name(f"{who}-of-it") for who in ("base", "teacher")}
    models = ModelSettings(*(str(folders[who]) for who in ("teacher", "base")), teacher_shots=1)
    claim_run_folder(Config(models=models), out)
    for who, folder in {**folders, "kd": out / "students" / "kd" / "model"}.items():
        save_answering(folder, tiny_model("llama"), ANSWERS[who])
    questions = [Question("q", "", CONTEXT, WHERE, ("Rome",))]
    write_records(out / "questions.eval.jsonl", questions)
    return out


@pytest.fixture(scope="module")
def speakers(out: Path) -> list[Speaker]:
    config = Config(models=json_models(out))
    return of_run(config, out, ["kd", "base", "teacher"])[0]


def json_models(out: Path) -> ModelSettings:
    return ModelSettings(**json.loads((out / "config.json").read_text())["models"])


def chat(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["chat", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


# -- replies


def test_every_model_is_asked_as_the_run_asks_it_and_says_what_it_would_there(speakers):
    question = Question("q", "", CONTEXT, WHERE, ())
    *_, replies = ask(speakers, question, Sampling())
    for speaker, reply in zip(speakers, replies, strict=True):
        (job,) = jobs_for([question], speaker.model.tokenizer, speaker.shots)
        ((_, (whole,)),) = complete(speaker.model, [job], Sampling())
        assert (reply.completion, reply.text) == (whole, whole.text)
        assert reply.parts.answer == ANSWERS[reply.who]
        assert 0 < reply.first < reply.seconds
    assert [speaker.shots for speaker in speakers] == [0, 0, 1]


def test_models_take_turns_and_those_that_have_ended_wait(speakers):
    lengths = []
    for replies in ask(speakers, Question("q", "", CONTEXT, WHERE, ()), Sampling()):
        lengths.append([len(reply.text) for reply in replies])
    assert all(lengths[0])
    assert lengths[1] > lengths[0]
    grown = [[b > a for a, b in zip(*pair, strict=True)] for pair in pairwise(lengths)]
    assert [True, False, True] in grown  # base has the shortest answer


# -- piped questions


def asked(lines: str, task: Any = SQUAD) -> list[tuple[str, str, str]]:
    found = piped.questions(io.StringIO(lines), task)
    return [(question.id, question.context, question.question) for question in found]


def test_plain_lines_and_json_ask_the_same():
    plain = f"Passage: {CONTEXT}\n\nQuestion: {WHERE}\n  Question: Who?\nPassage: b\nQuestion: c"
    assert asked(plain) == [
        ("on line 3", CONTEXT, WHERE),
        ("on line 4", CONTEXT, "Who?"),
        ("on line 6", "b", "c"),
    ]
    line = json.dumps({"context": CONTEXT, "question": WHERE, "id": 7})
    assert asked(line) == [("on line 1", CONTEXT, WHERE)]


def test_a_task_without_passages_takes_a_question_alone():
    both = asked('{"question": "1 + 1?", "context": "not used"}\nQuestion: 2 + 2?\n', GSM8K)
    assert both == [("on line 1", "", "1 + 1?"), ("on line 2", "", "2 + 2?")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Where?", "found 'Where\\?'"),
        ("Question: Where?", "a question with no passage"),
        ('{"question": "Where?"}', "a question with no passage"),
        ("Question:", "no question"),
        ('{"context": "a"}', "no question"),
        ('{"context": "a", "question": 1}', "another JSON object"),
        ('{"context": "a", "question": "b"', "JSON that breaks"),
        ('{"context": "a", "question": "\\ud800"}', "half a character"),
    ],
)
def test_a_line_that_asks_nothing_is_named(line, found):
    with pytest.raises(LabError, match=rf"line 2: expected .*{found}"):
        asked(f"\n{line}\n")


def test_the_command_prints_a_line_of_json_for_each_question(out, monkeypatch, capfd):
    lines = f"Passage: {CONTEXT}\nQuestion: {WHERE}\nwhat?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert chat(out, "--beside", "teacher,base,kd") == 2
    stdout, stderr = capfd.readouterr()
    (answered,) = map(json.loads, stdout.splitlines())  # before the line that is none
    assert (answered["context"], answered["question"]) == (CONTEXT, WHERE)
    assert {who: said["answer"] for who, said in answered["answers"].items()} == ANSWERS
    kd = answered["answers"]["kd"]
    assert (kd["thought"], kd["finish"]) == ("A", "stop")
    assert kd["completion"].endswith("<answer>Paris</answer>")
    assert list(answered["answers"]) == ["kd", "teacher", "base"]
    assert "line 3" in stderr.splitlines()[-1]


def test_a_model_by_itself_is_asked_and_a_passage_that_is_too_long_is_one_line(
    out, tiny_model, monkeypatch, capfd
):
    folder = json_models(out).teacher
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"question": "1 + 1?"}'))
    assert chat(folder, "--task", "gsm8k", "--max-new-tokens", "5") == 0
    (said,) = json.loads(capfd.readouterr().out)["answers"].values()
    assert (said["n_tokens"], said["finish"]) == (5, "length")
    question = json.dumps({"context": "word " * 2000, "question": WHERE})
    monkeypatch.setattr(sys, "stdin", io.StringIO(question))
    assert chat(tiny_model("llama")) == 2
    assert "Question on line 1: expected a prompt" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("RUN --arm sft", "the stage train makes"),
        ("RUN --beside base,tutor", "--beside: expected of base, sft, kd, teacher, found 'tutor'"),
        ("RUN --shots 3", "--shots: expected a model by itself, found a run"),
        ("RUN --temperature -1", "--temperature: expected 0 or more, found -1"),
        ("MODEL --beside base", "--beside: expected a run, found a model by itself"),
        ("MODEL --arm base", "--arm: expected a run, found a model by itself"),
        ("./nothing", "RUN ./nothing: expected a run or a model, found neither: Model './nothing'"),
        ("RUN --arm tutor", "--arm: expected one of 'base', 'sft', 'kd', 'teacher'"),
    ],
)
def test_a_mistake_is_one_line_and_no_model_is_asked(arguments, message, out, capfd):
    names = {"RUN": out, "MODEL": json_models(out).student}
    assert chat(*(names.get(word, word) for word in arguments.split())) == 2
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert message in stderr.splitlines()[-1]
    assert len(stderr.splitlines()) <= 2  # `Loading …` before it


# -- in a terminal


def talk(
    speakers: list[Speaker], *typed: str | BaseException, examples: tuple[Question, ...] = ()
) -> tuple[int, str]:
    """The exit status, and what a terminal of 120 columns shows."""
    lines: Iterator[str | BaseException] = iter(typed)

    def read(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, BaseException):
            raise line
        return line

    shown = io.StringIO()
    console = Console(file=shown, width=120, force_terminal=False)
    status = Conversation(speakers, Sampling(), examples, console, read).hold("kd of it")
    assert next(lines, None) is None, "it ended before all was typed"
    return status, shown.getvalue()


def test_a_passage_then_questions_on_it(speakers):
    status, shown = talk(speakers, "Anna lives", "in Rome.", "", WHERE, "Who?", "/quit")
    assert status == 0
    assert shown.count("Passage") == 1
    for who, answer in ANSWERS.items():
        assert shown.count(f"─ {who} ") == 2
        assert shown.count(f"Answer: {answer}") == 2
    top = next(line for line in shown.splitlines() if "─ kd " in line)
    assert len(top.rstrip()) == 118  # ^C has its place


def test_what_is_asked_stands_on_the_passage_that_was_typed(tiny_model):
    prompts: list[str] = []

    def user_text(question: Question) -> str:
        prompts.append(SQUAD.user_text(question))
        return prompts[-1]

    model = load(str(tiny_model("llama")), CPU, "base")
    speaker = Speaker("llama", model, replace(SQUAD, user_text=user_text), 0, 4)
    talk([speaker], "a", "b", "", "c", "/passage", "d", "", "e", EOFError())
    assert prompts == ["Passage: a b\n\nQuestion: c", "Passage: d\n\nQuestion: e"]


def test_help_an_example_and_an_unknown_command(speakers):
    example = Question("q", "", CONTEXT, WHERE, ("Rome", "in Rome"))
    status, shown = talk(speakers, "/help", "/example", "/?", EOFError(), examples=(example,))
    assert status == 0
    assert shown.count("another passage") == 2
    assert f"Passage: {CONTEXT}" in shown
    assert "Right: Rome / in Rome" in shown


def test_ctrl_c_at_a_prompt_ends_with_130(speakers):
    assert talk(speakers, KeyboardInterrupt())[0] == 130
    assert talk(speakers, "a", "", KeyboardInterrupt())[0] == 130


def test_ctrl_c_during_an_answer_stops_the_answer_alone(speakers):
    passes: list[int] = []

    def interrupt(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 4:
            raise KeyboardInterrupt

    hook = speakers[0].model.lm.register_forward_hook(interrupt)
    try:
        status, shown = talk(speakers[:1], "a", "", "b", "c", "/quit")
    finally:
        hook.remove()
    assert status == 0
    assert shown.count("Stopped.") == 1
    assert shown.count("Answer: Paris") == 1  # that of the next question


def test_a_passage_that_is_too_long_is_said_and_the_talk_goes_on(tiny_model):
    model = load(str(tiny_model("llama")), CPU, "base")
    speaker = Speaker("llama", model, SQUAD, 0, 4)
    status, shown = talk([speaker], "word " * 2000, "", "b", "/passage", "c", "", "d", "/quit")
    assert status == 0
    assert "expected a prompt that leaves room" in " ".join(shown.split())
    assert shown.count("─ llama ") == 1


def test_what_a_model_writes_moves_no_cursor(tiny_model):
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model("llama"))
    lm = scripted([["Ċ", *tokenizer.tokenize("\x1b[2J"), "<eos>"]], tokenizer)
    speaker = Speaker("odd", LanguageModel(lm, tokenizer, "odd"), SQUAD, 0, 9)
    _, shown = talk([speaker], "a", "", "b", "/quit")
    assert "\x1b" not in shown
    assert "Answer: �[2J" in shown


def test_a_narrow_terminal_has_the_panels_below_each_other(speakers):
    shown = io.StringIO()
    console = Console(file=shown, width=60)
    lines = iter(["a", "", "b", "/quit"])
    Conversation(speakers, Sampling(), (), console, lambda _: next(lines)).hold("kd of it")
    assert not re.search("─ kd .*─ base ", shown.getvalue())
    assert "Answer: Rome" in shown.getvalue()


@pytest.mark.slow
def test_the_command_in_a_real_terminal(out):
    """A pseudo-terminal: an answer, then Ctrl-C at the prompt."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "distill_lab", "chat", str(out)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + 60
        while text not in shown:
            assert time.monotonic() < end, shown
            shown += os.read(ours, 4096).decode(errors="replace")

    until("ends it)")
    os.write(ours, f"{CONTEXT}\n\n{WHERE}\n".encode())
    until("Paris")
    until("tokens,")
    shown = shown.partition("tokens,")[2]
    until("Question: ")  # the next one
    os.write(ours, b"\x03")
    try:
        assert process.wait(30) == 130
    finally:
        process.kill()
    assert "Traceback" not in shown + os.read(ours, 4096).decode(errors="replace")
