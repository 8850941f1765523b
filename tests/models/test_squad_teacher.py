"""The recipe of the teacher of SQuAD: quotes, packed paragraphs, training in parts, what ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.squad_teacher import make, packing
from data.squad_teacher.packing import batch, quoting, rows
from data.squad_teacher.quotes import quoted
from data.squad_teacher.training import PackedTrainer, train
from distill_lab.models.adapters import adapter_of
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.sources import SMOLLM2
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, LabError, Question, write_records
from distill_lab.run.settings import data_folder
from distill_lab.tasks.prompts import encode, render
from distill_lab.tasks.squad.task import user_text

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")

# --- quotes ---------------------------------------------------------------------------------------

LONG = (
    "In the early summer of that year, when the harvest had been brought in and stored, the three "
    "brothers from the village by the lake set out for Prague, which was then the largest town of "
    "the land, to sell what they had, as their father had done before them."
)
QUOTES = [  # paragraph, answer, quote
    ("It opened in 1889. It is 300 m tall. It rusts.", "300 m", "It is 300 m tall."),
    ("He met J. Smith in Paris. They talked.", "Paris", "He met J. Smith in Paris."),
    ("Dr. Ames and Mr. Bell came. Mrs. Cole left.", "Bell", "Dr. Ames and Mr. Bell came."),
    ("It rained. St. Louis lies on a river.", "river", "St. Louis lies on a river."),
    ("The U.S. Army landed. It left.", "Army", "The U.S. Army landed."),
    ("Prices rose by 3.5 percent. They fell.", "3.5", "Prices rose by 3.5 percent."),
    ("It closed in 1990.[12] Nobody knew why.", "1990", "It closed in 1990.[12]"),
    ("It closed in 1990.[12] Nobody knew why.", "Nobody", "Nobody knew why."),
    ('He said "Stop!" Then he ran.', "Stop", 'He said "Stop!"'),
    ("Is it red? No. It is blue! Good.", "blue", "It is blue!"),
    ("No end here", "end", "No end here"),
    # an answer across a boundary takes both sentences
    ("It rained. He saw Rome. In May he left.", "Rome. In May", "He saw Rome. In May he left."),
    # of a long sentence the parts around the answer stay, at most 30 words
    (LONG, "early summer", LONG[: LONG.index(", which")]),
    (LONG, "Prague", LONG[LONG.index("the three") : LONG.index(", as their")]),
    (LONG, "their father", LONG[LONG.index("which was") :]),
    # one that has no parts is quoted whole
    ("word " * 40 + "end.", "end", "word " * 40 + "end."),
]  # fmt: skip


@pytest.mark.parametrize(("context", "answer", "quote"), QUOTES)
def test_the_quote_is_the_answers_sentence(context, answer, quote):
    start = context.index(answer)
    assert quoted(context, start, start + len(answer)) == quote


def test_a_completion_quotes_and_answers():
    context = "It rained. He lived in Rome. It snowed."
    qa = {"answers": [{"text": "Rome", "answer_start": context.index("Rome")}]}
    assert quoting(context, qa) == "<think>He lived in Rome.</think> <answer>Rome</answer>"


# --- packing --------------------------------------------------------------------------------------

CONTEXT = "Elias plays the harp. Marta lives in Vale. The dyer of Brook sells salt."
ASKED = {
    "a": ("What does Elias play?", "harp"),
    "b": ("Where does Marta live?", "Vale"),
    "c": ("What does the dyer of Brook sell on the market of the town?", "salt"),
}


def article(context: str = CONTEXT, title: str = "t") -> dict[str, Any]:
    qas = [
        {
            "id": id,
            "question": question,
            "answers": [{"text": text, "answer_start": context.index(text)}],
        }
        for id, (question, text) in ASKED.items()
    ]
    return {"title": title, "paragraphs": [{"context": context, "qas": qas}]}


@pytest.fixture(scope="module")
def teacher() -> LanguageModel:
    return load("bundled", CPU, "teacher")


def alone(model: LanguageModel, id: str, completion: str) -> Tensor:
    """The summed loss of a completion, its end token included, after a question's own prompt."""
    tokenizer: Any = model.tokenizer
    prompt = encode(tokenizer, render(user_text(CONTEXT, ASKED[id][0]), tokenizer))
    said = [*tokenizer(completion, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    lm: Any = model.lm
    logits = lm(input_ids=torch.tensor([prompt + said])).logits[0]
    return cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(said), reduction="sum")


def quotes_alone(model: LanguageModel) -> list[Tensor]:
    paragraph = article()["paragraphs"][0]
    return [alone(model, qa["id"], quoting(CONTEXT, qa)) for qa in paragraph["qas"]]


@torch.no_grad()
def test_a_packed_questions_loss_is_its_loss_alone(teacher):
    """Neither the other questions nor their places in the row may be seen."""
    [row], n_too_long = rows([article()], teacher.tokenizer)
    assert n_too_long == 0
    inputs = batch([row])
    labels = inputs.pop("labels")[0]
    logits = teacher.lm(**inputs).logits[0]
    each = cross_entropy(logits, labels, reduction="none")  # (T,), 0 where nothing is learnt
    # a label belongs to the question of the token that it names
    belongs = torch.tensor([*row.question[1:], 0])
    found = torch.stack([each[belongs == n].sum() for n in (1, 2, 3)])
    torch.testing.assert_close(found, torch.stack(quotes_alone(teacher)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_steps_loss_is_the_sum_over_its_learnt_tokens_by_their_number(teacher):
    [row], _ = rows([article()], teacher.tokenizer)
    loss_of: Any = PackedTrainer.compute_loss
    total = torch.stack(quotes_alone(teacher)).sum()
    found = loss_of(None, teacher.lm, batch([row]))
    torch.testing.assert_close(found, total / sum(row.learnt), rtol=1e-4, atol=1e-4)
    of_step = loss_of(None, teacher.lm, batch([row]), num_items_in_batch=torch.tensor(1000))
    torch.testing.assert_close(of_step, total / 1000, rtol=1e-4, atol=1e-4)


def test_the_shared_prompt_stands_once(teacher):
    [row], _ = rows([article()], teacher.tokenizer)
    text = teacher.tokenizer.decode(row.ids)
    assert text.count("Marta lives in Vale. The dyer") == 1
    assert row.question == sorted(row.question)
    starts = [row.position[row.question.index(n)] for n in (1, 2, 3)]
    assert set(starts) == {row.question.count(0)}  # each goes on where the paragraph ends


def learnt_texts(packed: list[packing.Row], tokenizer: Any) -> list[str]:
    """What is learnt, question by question, the end token cut."""
    return [
        tokenizer.decode([
            i for i, m, learnt in zip(row.ids, row.question, row.learnt, strict=True)
            if learnt and m == n
        ]).removesuffix(tokenizer.eos_token)
        for row in packed
        for n in sorted(set(row.question) - {0})
    ]  # fmt: skip


def test_what_does_not_fit_begins_another_row_and_what_never_fits_is_counted(teacher, monkeypatch):
    paragraph = article()["paragraphs"][0]
    expected = [quoting(CONTEXT, qa) for qa in paragraph["qas"]]
    whole = rows([article()], teacher.tokenizer)[0][0]
    monkeypatch.setattr(packing, "LONGEST", len(whole.ids) - 1)
    packed, n_too_long = rows([article()], teacher.tokenizer)
    assert [max(row.question) for row in packed] == [2, 1]
    assert learnt_texts(packed, teacher.tokenizer) == expected
    assert n_too_long == 0
    sizes = [len(r.ids) for r in packed]
    monkeypatch.setattr(packing, "LONGEST", sizes[1] - 1)  # the last question asks at most length
    packed, n_too_long = rows([article()], teacher.tokenizer)
    assert learnt_texts(packed, teacher.tokenizer) == expected[:2]
    assert n_too_long == 1
    assert all(len(row.ids) <= sizes[1] - 1 for row in packed)


def test_given_completions_are_learnt_in_place_of_quotes(teacher):
    """Two of one question, none of another."""
    given = {"a": ["<think> x</think> <answer> harp</answer>", "<answer> y"], "c": ["z"]}
    packed, _ = rows([article()], teacher.tokenizer, given)
    assert learnt_texts(packed, teacher.tokenizer) == [*given["a"], "z"]


# --- training in parts ----------------------------------------------------------------------------


def trained(work: Path, **how: Any) -> dict[str, Tensor]:
    articles = [article(title=f"{n}") for n in range(5)]  # of two a step, so three steps
    for _ in range(9):
        if train(articles, work, base="bundled", **how):
            return load_file(work / "adapter" / "adapter_model.safetensors")
    raise AssertionError("it never ends")


def test_stopped_after_each_step_it_ends_where_one_run_does(tmp_path, capsys):
    whole = trained(tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "whole").glob("checkpoint-*")) == ["checkpoint-3"]
    parts = trained(tmp_path / "parts", minutes=0)
    assert whole.keys() == parts.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=0, msg=name)
    assert any(weight.abs().max() > 0 for name, weight in whole.items() if "lora_B" in name)
    assert "5 rows" in capsys.readouterr().out


def test_a_further_round_begins_with_the_adapter_that_is_named(tmp_path):
    first = trained(tmp_path / "first")
    again = trained(tmp_path / "again", init=str(tmp_path / "first" / "adapter"), learning_rate=0.0)
    for name, weight in first.items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=0, msg=name)


def test_the_examples_of_a_run_are_its_completions_each_once(tmp_path):
    said = [("a", 0, "x"), ("b", 0, "y"), ("a", 1, "x"), ("a", 2, "z")]
    examples = [Example(id, sample, "prompt", text) for id, sample, text in said]
    write_records(RunFolder(tmp_path).examples.path, examples)
    assert make.completions_of(tmp_path) == {"a": ["x", "z"], "b": ["y"]}


# --- the commands ---------------------------------------------------------------------------------


def test_split_keeps_every_article_apart(tmp_path):
    titles = [*make.UNSEEN, "Other", *make.TAUGHT]
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"data": [article(title=title) for title in titles]}))
    make.main(["split", str(file), str(tmp_path / "parts")])
    for name, expected in {"taught": make.TAUGHT, "unseen": make.UNSEEN}.items():
        part = json.loads((tmp_path / "parts" / f"{name}.json").read_text(encoding="utf-8"))
        assert [article["title"] for article in part["data"]] == list(expected)
    assert not set(make.TAUGHT) & set(make.UNSEEN)


def test_a_file_without_these_articles_is_said(tmp_path):
    file = tmp_path / "train.json"
    file.write_text(json.dumps({"data": [article(title=title) for title in make.TAUGHT]}))
    with pytest.raises(LabError, match="found none with the title Buckingham_Palace, John_Kerry"):
        make.split(file, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_no_article_of_dev_is_taught(shared_data):
    dev = json.loads((shared_data / "squad" / "dev-v1.1.half.json").read_text(encoding="utf-8"))
    assert not {article["title"] for article in dev["data"]} & {*make.TAUGHT, *make.UNSEEN}


def test_the_table_by_hand():
    questions = [
        Question("1", "", "", "", ("the Rhine",)),
        Question("2", "", "", "", ("1990", "90")),
    ]
    in_tags = "<think>a</think> <answer>{}</answer>".format
    said = {
        "1": [in_tags("Rhine"), in_tags("the river Rhine")],
        "2": ["<think>a</think> 1990", "1990"],
    }
    assert make.table(questions, said) == (
        "2 questions, 2 samples each: EM 75.0, F1 91.7, malformed 50.0 %, "
        "1.50 different answers of 2"
    )
    greedy = {id: texts[:1] for id, texts in said.items()}
    assert make.table(questions, greedy) == (
        "2 questions, 1 samples each: EM 100.0, F1 100.0, malformed 50.0 %"
    )


def test_scores_are_of_the_models_own_completions(tmp_path, capsys):
    """The bundled teacher answers most of the bundled questions."""
    make.score(data_folder() / "mini_squad" / "dev.json", "bundled", 12, 3)
    greedy, drawn = capsys.readouterr().out.splitlines()
    assert greedy.startswith("12 questions, 1 samples each: EM ")
    assert float(greedy.split("EM ")[1].split(",")[0]) > 50
    assert greedy.endswith("malformed 0.0 %")
    assert drawn.startswith("3 questions, 4 samples each")


def test_what_ships_is_in_bfloat16_on_a_base_that_every_machine_finds(tmp_path):
    weights = trained(tmp_path)
    make.ship(tmp_path / "adapter", tmp_path / "shipped")
    shipped = load_file(tmp_path / "shipped" / "adapter_model.safetensors")
    assert shipped.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(shipped[name], weight.bfloat16()), name
    adapter = adapter_of(str(tmp_path / "shipped"))
    assert adapter
    assert adapter.base == SMOLLM2
    assert str(tmp_path) not in (tmp_path / "shipped" / "adapter_config.json").read_text()
