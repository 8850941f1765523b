"""A student of Lab 5 is pruned on questions: a small run of all stages, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import generated

from distill_lab.cli.main import main
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, load, save_student
from distill_lab.models.pruning.masks import Masks
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.pipeline.pruning import adapt, evaluate, prune, recover
from distill_lab.pipeline.pruning.methods import parse
from distill_lab.pipeline.pruning.reading.answers import answer_nlls, own_answers
from distill_lab.pipeline.pruning.records import (
    DENSE,
    AnswerScore,
    PruningFolder,
    Variant,
    claim_pruning_folder,
)
from distill_lab.pipeline.pruning.results.measures import means
from distill_lab.pipeline.pruning.results.readings import AnswerReadings
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import (
    MeasureSettings,
    PrunedModelSettings,
    PruneSettings,
    PruningConfig,
    PruningDataSettings,
    PruningRuntime,
    RecoverSettings,
)
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import RuntimeSettings
from distill_lab.tasks.prompts import render
from distill_lab.tasks.squad.scores import score
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.training.batches import Encoded, encode_examples

BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
METHODS = ("magnitude-row:0.5", "wanda:0.5", "blocks:1")
LONGEST_ANSWER = 40  # tokens: the bundled model's answers to two-fact questions have more


def student_of_a_run(folder: Path) -> Path:
    """What `train` leaves of a student that it trained with LoRA: an adapter, here of the bundled
    teacher, whose layers say little."""
    student = for_training(load("bundled", BACKEND, "teacher"), 2)
    torch.manual_seed(0)
    lm: Any = student.lm
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=1e-3)
    save_student(student, folder / "students" / "kd" / "model")
    return folder / "students" / "kd" / "model"


def small_run(model: str) -> PruningConfig:
    """Settings of a run that takes seconds, on a few of the bundled questions."""
    return PruningConfig(
        data=PruningDataSettings(task="squad", n_train=10, n_eval=8),
        model=PrunedModelSettings(model),
        prune=PruneSettings(METHODS, n_calibration=3),
        recover=RecoverSettings(("wanda:0.5",), seeds=1, steps=2, batch_size=4),
        evaluate=MeasureSettings(
            max_new_tokens=LONGEST_ANSWER, prompt_tokens=8, new_tokens=2, repeats=1, bootstrap=100
        ),
        runtime=PruningRuntime(device="cpu", threads=1, batch=4, micro_batch=4),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[PruningConfig, Path]:
    """Settings and the folder of a run that went through all stages."""
    folder = tmp_path_factory.mktemp("squad")
    config = small_run(str(student_of_a_run(folder)))
    claim_pruning_folder(config, folder / "run")
    for stage in STAGES:
        run_stage(stage, config, folder / "run")
    return config, folder / "run"


def model_of(folder: PruningFolder, variant: Variant) -> LanguageModel:
    return load(str(folder.model(variant)), BACKEND, "student")


@pytest.mark.slow
def test_the_texts_are_the_students_own_answers_and_those_that_were_cut_are_left_out(whole):
    _, out = whole
    folder = PruningFolder(out)
    model, questions = model_of(folder, DENSE), folder.train_questions.read()
    prompts = [render(SQUAD.user_text(question), model.tokenizer) for question in questions]
    oracle = [generated(model, prompt, LONGEST_ANSWER) for prompt in prompts]
    ended = [n for n, completion in enumerate(oracle) if completion.finish == "stop"]
    assert 0 < len(ended) < len(oracle)
    texts = own_answers(folder, model.tokenizer)
    decode: Any = model.tokenizer.decode
    assert [decode(text.student_prompt) for text in texts] == [prompts[n] for n in ended]
    end = str(model.tokenizer.eos_token)
    assert [decode(text.completion) for text in texts] == [oracle[n].text + end for n in ended]
    note = folder.run.read_notes()["adapt"]
    assert note["cut"] == len(oracle) - len(ended)
    assert "taken as it is" in note["reason"]


@pytest.mark.slow
def test_wanda_is_calibrated_on_prompts_and_own_answers(whole):
    config, out = whole
    folder = PruningFolder(out)
    model = model_of(folder, DENSE)
    texts = own_answers(folder, model.tokenizer)
    assert len(texts) > config.prune.n_calibration
    drawn = {n for n, text in enumerate(texts) if text in prune.draw(texts, 3, config.data.seed)}
    # a batch for each text: without padding, none can be counted
    batches = [
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        for n in sorted(drawn)
        for ids in [torch.tensor([texts[n].student_prompt + texts[n].completion])]
    ]
    expected = prune_weights(model, "wanda", 0.5, batches).kept
    found = Masks.load(folder.masks(Variant(parse("wanda:0.5")))).kept
    agree = [float((found[name] == mask).float().mean()) for name, mask in expected.items()]
    assert min(agree) > 0.999  # not 1: sums in another order decide between nearly equal scores


@pytest.mark.slow
def test_recovery_is_on_the_answers_alone_with_the_dense_model_as_teacher(whole):
    config, out = whole
    folder, method = PruningFolder(out), parse("wanda:0.5")
    kl, ce = (folder.read_training_log(Variant(method, by, 0)) for by in ("kl", "ce"))
    assert len(kl) == len(ce) == config.recover.steps
    assert all(row["kl"] > 0 for row in kl)
    assert kl[0]["ce"] == pytest.approx(ce[0]["ce"], rel=1e-5)
    # before the first step both are the pruned model: CE is its NLL on some of the texts, a token
    model = model_of(folder, Variant(method))
    texts = own_answers(folder, model.tokenizer)
    each = [nll / tokens for nll, tokens in answer_nlls(model, texts)]
    assert min(each) * 0.9 < ce[0]["ce"] < max(each) * 1.1  # prompts alone would cost far more
    after = model_of(folder, Variant(method, "kl", 0))
    assert Masks.load(folder.masks(Variant(method))).violations(after) == 0


@pytest.mark.slow
def test_scores_are_the_official_ones_and_nlls_are_of_the_dense_models_answers(whole):
    _, out = whole
    folder, variant = PruningFolder(out), Variant(parse("wanda:0.5"))
    questions = folder.eval_questions.read()
    found = {s.question_id: s for s in folder.answers(variant).read()}
    dense = {s.question_id: s.completion for s in folder.answers(DENSE).read()}
    qas = [{"id": q.id, "answers": [{"text": a} for a in q.answers]} for q in questions]
    dataset = {"version": "1.1", "data": [{"paragraphs": [{"qas": qas}]}]}
    official = score(dataset, {id: s.answer for id, s in found.items()})
    made = json.loads((out / "report.json").read_text())["models"]["wanda:0.5"]
    assert (made["em"], made["f1"]) == pytest.approx(
        (official["exact_match"], official["f1"]), abs=0.01
    )
    model = model_of(folder, variant)
    tokenizer: Any = model.tokenizer
    for question in questions:
        prompt = tokenizer(
            render(SQUAD.user_text(question), tokenizer), add_special_tokens=False
        ).input_ids
        answer = tokenizer(dense[question.id], add_special_tokens=False).input_ids
        with torch.inference_mode():
            log_p = model.lm(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        nll = -sum(float(log_p[len(prompt) + n - 1, token]) for n, token in enumerate(answer))
        assert found[question.id].answer_tokens == len(answer)
        assert found[question.id].answer_nll == pytest.approx(nll, rel=1e-3)


@pytest.mark.slow
def test_a_text_without_a_token_has_no_nll(whole):
    _, out = whole
    model = model_of(PruningFolder(out), DENSE)
    answers = [Example("1", 0, "Passage: a", ""), Example("2", 0, "Passage: a", "<think>")]
    encoded: list[Encoded] = encode_examples(answers, model.tokenizer, 512)
    (none, one) = answer_nlls(model, encoded)
    assert none == (0, 0)
    assert one[1] == 1
    assert math.isfinite(one[0])


def scores(answers: list[str], ems: list[float], f1s: list[float], nlls: list[float]) -> Any:
    rows = zip(answers, ems, f1s, nlls, strict=True)
    tokens = (2, 6)
    return [
        AnswerScore(str(n), text, text, em, f1, nll, tokens[n])
        for n, (text, em, f1, nll) in enumerate(rows)
    ]


def test_means_by_hand():
    dense = AnswerReadings([scores(["Rome", "Oslo"], [100, 0], [100, 50], [1, 1])])
    seeds = [
        scores(["the  rome.", "Bern"], [100, 100], [100, 100], [2, 6]),
        scores(["Bern", "Bern"], [0, 100], [50, 100], [6, 2]),
    ]
    found = means(AnswerReadings(seeds), dense, MeasureSettings(bootstrap=100))
    assert (found["em"], found["f1"]) == (75, 87.5)
    assert found["by_seed"]["em"] == [100, 50]
    assert found["agreement"] == 25  # of four answers one is dense's, as SQuAD normalises it
    assert found["answer_nll"] == 1  # 8 nats over 8 tokens, for both seeds
    assert found["perplexity"] == pytest.approx(math.e, rel=1e-3)
    assert found["minus_dense"]["em"]["by_seed"] == (50, 0)
    assert (found["n"], found["seeds"]) == (2, 2)
    assert not {"auc", "share_positive", "accuracy"} & found.keys()


@pytest.mark.slow
def test_the_report_speaks_of_questions(whole):
    _, out = whole
    made = json.loads((out / "report.json").read_text())
    assert made["task"] == "squad"
    assert made["data"]["train"] == {"source": "bundled", "n": 10}
    assert made["models"]["dense"]["agreement"] == 100
    assert {finding["measure"] for finding in made["findings"]} == {"em", "f1", "answer_nll"}
    html, markdown = ((out / f"report.{ending}").read_text() for ending in ("html", "md"))
    table = markdown[markdown.index("| model") :].splitlines()[0]
    assert re.split(r" *\| *", table.strip("| ")) == [
        "model", "zeros", "parameters", "EM (95 % CI)", "F1", "perplexity", "agrees", "MB",
        "decode",
    ]  # fmt: skip
    assert "<h1>Pruning on SQuAD" in html
    assert html.count("<img src") == 4
    for word in ("review", "label", "accuracy", "SST-2", "AUC", "undefined"):
        for text in (re.sub(r"data:image[^\"]*|data-label|aria-label", "", html), markdown):
            shown = text.partition("Every setting")[0]
            assert word not in shown, word


@pytest.mark.slow
def test_what_is_there_is_not_made_again_and_what_was_lost_is(whole):
    config, out = whole
    for stage in (adapt, prune, recover, evaluate):
        assert stage.run(config, out) is False
    folder = PruningFolder(out)
    files = [folder.traces.path, folder.answers(Variant(parse("blocks:1"))).path]
    before = [path.read_text() for path in files]
    for path, text in zip(files, before, strict=True):
        path.write_text("".join(text.splitlines(keepends=True)[:3]))
    student = Path(config.model.name)
    moved = student.rename(student.with_name("moved"))  # the run has its own copy by now
    assert adapt.run(config, out)
    assert evaluate.run(config, out)
    moved.rename(student)
    assert [sorted(p.read_text().splitlines()) for p in files] == [
        sorted(text.splitlines()) for text in before
    ]


@pytest.mark.slow
def test_longer_answers_or_another_task_are_refused_in_the_same_folder(whole):
    config, out = whole
    longer = dataclasses.replace(config.evaluate, max_new_tokens=50)
    with pytest.raises(LabError, match=r"made with --evaluate.max-new-tokens 40, now 50"):
        claim_pruning_folder(dataclasses.replace(config, evaluate=longer), out)
    reviews = dataclasses.replace(config.data, task="sst2")
    with pytest.raises(LabError, match=r"made with --data.task squad, now sst2"):
        claim_pruning_folder(dataclasses.replace(config, data=reviews), out)


FLAGS = "--data.n-train 2 --data.n-eval 2 --evaluate.max-new-tokens 3 --runtime.device cpu --out r"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--data.task squad", "expected answers that come to an end, found none among 2"),
        (
            "--data.task squad --model.name r2",
            "Model folder r2: expected a config.json or one",
        ),
        ("--data.task squad --data.train train.tsv", "expected a SQuAD 1.1 or 2.0 JSON file"),
        ("--data.task squat", "--data.task: expected one of 'sst2', 'squad'; found 'squat'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r2" / "students").mkdir(parents=True)  # a run's folder is not its student's
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nfine\t1\n")
    with pytest.raises(SystemExit) as ended:
        main(["prune", "adapt", *line.split(), *FLAGS.split()])
    captured = capfd.readouterr()
    said = [text for text in captured.err.splitlines() if text.startswith("distill-lab: ")]
    assert ended.value.code == 2
    assert len(said) == 1
    assert says in said[0]
    assert "Traceback" not in captured.err
