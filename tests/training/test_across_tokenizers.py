"""A teacher with another tokenizer: two tiny models, as `distill-lab train` trains them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from other_tokenizers import byte_level, save_model, sentencepiece

from distill_lab.cli.main import main
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import TokenizerOnly, load_model, load_tokenizer_only
from distill_lab.pipeline import train
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import Config, ModelSettings, RuntimeSettings, TrainSettings
from distill_lab.tasks.squad.task import user_text
from distill_lab.training.across_tokenizers import paired, shared_tokens
from distill_lab.training.batches import Encoded, blank, collate
from distill_lab.training.byte_spans import TheirTokens

EXAMPLES = [
    Example(
        f"q{i}",
        0,
        user_text(f"Ann number {i} lives in Zürich.", f"Where does Ann {i} live?"),
        f"<think>{'The passage says so. ' * (i % 3)}</think><answer>Zürich {i}</answer>",
    )
    for i in range(6)
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Wider than the student, with fewer tokens, some of them the student's under other ids."""
    return save_model(tmp_path_factory.mktemp("teacher"), byte_level(), width=64)


def settings(teacher: Path, student: Path, method: Any = "refuse", **changes: Any) -> Config:
    few = {"epochs": 1, "batch_size": 4, "warmup": 0.0, "cache": "none", "temperature": 1.0}
    micro = changes.pop("micro_batch", 4)
    return Config(
        models=ModelSettings(str(teacher), str(student)),
        train=TrainSettings(**{**few, **changes}, other_tokenizer=method),
        runtime=RuntimeSettings(device="cpu", dtype="float32", threads=1, micro_batch=micro),
    )


def log_of(out: Path, config: Config, arms: Any = ("kd",)) -> list[dict[str, Any]]:
    folder = RunFolder(out)
    folder.examples.write(EXAMPLES)
    train.run(config, out, arms)
    return folder.read_training_log(arms[-1])


@pytest.mark.parametrize(
    ("method", "alpha"), [pytest.param("uld", 0.99, marks=pytest.mark.slow), ("hybrid", 1.0)]
)
def test_a_short_training_brings_the_student_nearer(
    tiny_model, teacher, tmp_path, method, alpha, capsys
):
    """By its distance, nearly alone; and its model is there in the end."""
    config = settings(
        teacher, tiny_model("qwen3"), method, alpha=alpha, steps=12, divergence="jsd",
        learning_rate=1e-2,
    )  # fmt: skip
    rows = log_of(tmp_path, config)
    assert rows[-1]["kl"] < 0.7 * rows[0]["kl"]
    last = rows[-1]
    assert last["loss"] == pytest.approx(alpha * last["kl"] + (1 - alpha) * last["ce"], rel=1e-4)
    assert all(row["scored"] > 0 for row in rows)
    assert load_model("kd", config.models, choose_backend(config.runtime), tmp_path)
    assert "begin where one of the teacher's does" in capsys.readouterr().out


@pytest.mark.slow
def test_micro_batches_change_nothing(tiny_model, teacher, tmp_path):
    """Six examples in steps of four: blank ones fill the second step."""
    whole, parts = (
        log_of(tmp_path / str(micro), settings(teacher, tiny_model("qwen3"), "hybrid",
                                               micro_batch=micro))
        for micro in (4, 1)
    )  # fmt: skip
    assert len(whole) == len(parts) == 2
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
def test_sentencepiece_teaches_too_and_both_methods_see_the_same_ce(
    tiny_model, tmp_path_factory, tmp_path
):
    teacher = save_model(tmp_path_factory.mktemp("sp"), sentencepiece())
    rows = {
        method: log_of(tmp_path / method, settings(teacher, tiny_model("qwen3"), method))
        for method in ("uld", "hybrid")
    }
    assert rows["uld"][0]["ce"] == pytest.approx(rows["hybrid"][0]["ce"])
    assert rows["uld"][0]["kl"] != pytest.approx(rows["hybrid"][0]["kl"], rel=1e-4)


@pytest.mark.slow
def test_where_the_tokenizers_are_the_same_the_setting_changes_nothing(tiny_model, tmp_path):
    pair = tiny_model("llama"), tiny_model("qwen3")
    rows = [log_of(tmp_path / m, settings(*pair, method=m)) for m in ("refuse", "hybrid")]
    assert [r["kl"] for r in rows[0]] == [r["kl"] for r in rows[1]]


# --- refusals -------------------------------------------------------------------------------------


def test_another_tokenizer_and_no_method_is_refused_before_any_student_is_trained(
    tiny_model, teacher, tmp_path
):
    config = settings(teacher, tiny_model("qwen3"))
    with pytest.raises(LabError, match=r"--train.other-tokenizer uld or hybrid .*--train.alpha 0"):
        log_of(tmp_path, config, ("sft", "kd"))
    assert not RunFolder(tmp_path).students.exists()
    text_alone = replace(config, train=replace(config.train, alpha=0.0, steps=1))
    assert log_of(tmp_path, text_alone, ("sft", "kd"))[0]["kl"] == 0


def test_a_cache_has_no_use_for_it(tiny_model, teacher, tmp_path):
    with pytest.raises(LabError, match=r"--train.other-tokenizer uld: expected --train.cache none"):
        log_of(tmp_path, settings(teacher, tiny_model("qwen3"), "uld", cache="topk"))


def test_sorted_probabilities_alone_are_refused(tiny_model, teacher, tmp_path):
    """They say how sure the teacher is, and of nothing what it is sure of."""
    config = settings(teacher, tiny_model("qwen3"), "uld")
    alone = replace(config, train=replace(config.train, alpha=1.0))
    with pytest.raises(LabError, match=r"uld: expected --train.alpha below 1, found 1"):
        log_of(tmp_path, alone)


@pytest.mark.parametrize("more", ["", "--train.other-tokenizer uld"])
def test_on_the_command_line_it_is_one_line(tiny_model, teacher, tmp_path, more, capsys):
    RunFolder(tmp_path).examples.write(EXAMPLES)
    line = f"train --out {tmp_path} --models.teacher {teacher} --models.student "
    line += f"{tiny_model('qwen3')} --runtime.device cpu {more}"
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "--train.cache none" in said


def test_a_whole_run_refuses_it_before_the_teacher_samples(tiny_model, teacher, tmp_path, capsys):
    out = tmp_path / "run"
    line = f"run --profile tiny --out {out} --models.teacher {teacher} --models.student "
    with pytest.raises(SystemExit) as stopped:
        main([*line.split(), str(tiny_model("qwen3")), "--runtime.device", "cpu"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "--train.other-tokenizer uld or hybrid" in said
    assert not RunFolder(out).traces.path.exists()


# --- pairs and shared tokens ----------------------------------------------------------------------


def test_pairs_count_over_the_batch_as_its_hidden_states_do():
    one = Encoded([7], [5, 5], [1, 2, 3], TheirTokens([8, 9], [(0, 0, True), (2, 1, False)]))
    other = Encoded([7, 7], [5], [4, 6], TheirTokens([3, 2, 1], [(1, 2, True)]))
    batch = [one, blank(999), other]
    assert paired(batch).tolist() == [[0, 0, 1], [2, 1, 0], [4, 4, 1]]
    assert paired([blank(999)]).shape == (0, 3)
    tensors = collate(batch, 999)
    assert tensors["teacher_input_ids"].tolist() == [[5, 5, 8, 9], [0] * 4, [5, 3, 2, 1]]
    at_pairs = [tensors[f"{whose}input_ids"][tensors[f"{whose}labels"] != -100][paired(batch)[:, k]]
                for k, whose in enumerate(("", "teacher_"))]  # fmt: skip
    assert torch.stack(at_pairs).tolist() == [[1, 3, 6], [8, 9, 1]]


def test_shared_tokens_are_those_that_spell_the_same_however_they_are_written(tiny_model):
    student = load_tokenizer_only("base", ModelSettings(student=str(tiny_model("qwen3"))))
    marks = sentencepiece()
    other = TokenizerOnly(marks, "sp", "", _Sized(len(marks)))
    shared = shared_tokens(student, other)
    written = [
        (student.tokenizer.convert_ids_to_tokens(i), marks.convert_ids_to_tokens(j))
        for i, j in zip(shared.student.tolist(), shared.teacher.tolist(), strict=True)
    ]
    assert written[0] == ("<eos>", "</s>")
    assert ("Ġ", "▁") in written
    assert ("a", "a") in written
    ids = [(i, j) for i, j in zip(shared.student.tolist(), shared.teacher.tolist(), strict=True)]
    for side in zip(*ids, strict=True):
        assert len(set(side)) == len(side)
    # a byte beyond a character is a token of its own in both
    assert ("Ã", "<0xC3>") in written


class _Sized:
    """A config that has only as many rows as the tokenizer has tokens."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
