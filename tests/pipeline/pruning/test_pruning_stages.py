"""A small run of all stages: what each leaves, that it goes on after a kill, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import reviews_file, small_config, small_model
from transformers import AutoModelForCausalLM

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.masks import Masks
from distill_lab.pipeline.pruning import adapt, evaluate, prune, recover, report
from distill_lab.pipeline.pruning.methods import parse
from distill_lab.pipeline.pruning.reading.reviews import read_reviews
from distill_lab.pipeline.pruning.records import (
    PruningFolder,
    Variant,
    claim_pruning_folder,
    variants,
)
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.pipeline.pruning.training import label_examples, text_examples
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings
from distill_lab.sampling.label_logits import label_logits
from distill_lab.tasks.sst2.prompt import answered_text, label_tokens, user_text
from distill_lab.tasks.sst2.reviews import Review

BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[PruningConfig, Path]:
    """Settings and the folder of a run that went through all stages."""
    folder = tmp_path_factory.mktemp("pruning")
    config = small_config(folder, ("magnitude-row:0.5", "wanda:0.5", "blocks:1"))
    claim_pruning_folder(config, folder / "run")
    for stage in STAGES:
        run_stage(stage, config, folder / "run")
    return config, folder / "run"


def model_of(folder: PruningFolder, variant: Variant) -> LanguageModel:
    return load(str(folder.model(variant)), BACKEND, "student")


def test_each_stage_says_that_all_is_there(whole, capsys):
    config, out = whole
    for stage in (adapt, prune, recover, evaluate):
        assert stage.run(config, out) is False
    seconds = json.loads((out / "run.json").read_text())["seconds"]
    assert [*seconds] == [*STAGES]


def test_a_mask_is_kept_through_recovery_and_other_weights_move(whole):
    _, out = whole
    folder, method = PruningFolder(out), parse("wanda:0.5")
    masks = Masks.load(folder.masks(Variant(method)))
    before = model_of(folder, Variant(method))
    weights = {name: linear.weight for name, linear in prunable(before).items()}
    for recovery in ("kl", "ce"):
        after = model_of(folder, Variant(method, recovery, 1))
        assert masks.violations(after) == 0
        for name, linear in prunable(after).items():
            kept = masks.kept[name]
            assert (linear.weight[kept] != weights[name][kept]).float().mean() > 0.9


def test_a_recovery_has_as_many_steps_by_kl_as_by_ce_and_its_seed(whole):
    config, out = whole
    folder, method = PruningFolder(out), parse("wanda:0.5")
    logs = {
        (recovery, seed): folder.read_training_log(Variant(method, recovery, seed))
        for recovery in ("kl", "ce")
        for seed in (0, 1)
    }
    assert {len(log) for log in logs.values()} == {config.recover.steps}
    assert all(row["kl"] > 0 for row in logs["kl", 0])
    assert all(row["kl"] == 0 for row in logs["ce", 0])
    # the same texts in the same order: before the first step both models are the pruned one
    assert logs["kl", 0][0]["ce"] == pytest.approx(logs["ce", 0][0]["ce"], rel=1e-5)
    assert logs["kl", 0][0]["ce"] != logs["kl", 1][0]["ce"]


def test_scores_are_those_of_the_model_that_was_saved(whole):
    config, out = whole
    folder, variant = PruningFolder(out), Variant(parse("wanda:0.5"), "kl", 1)
    model, reviews = model_of(folder, variant), folder.eval_reviews.read()
    expected = label_logits(model, reviews)
    found = {score.review_id: score for score in folder.scores(variant).read()}
    rows = torch.tensor([(found[r.id].negative, found[r.id].positive) for r in reviews])
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)
    assert config.data.n_eval == 0
    assert len(rows) == 20


def test_the_report_holds_what_the_records_come_to(whole):
    config, out = whole
    made = json.loads((out / "report.json").read_text())
    assert [*made["models"]] == list(dict.fromkeys(v.name for v in variants(config)))
    dense, wanda = made["models"]["dense"], made["models"]["wanda:0.5"]
    assert (dense["agreement"], dense["costs"]["zeros_linears"]) == (100, 0)
    assert wanda["costs"]["zeros_linears"] == 0.5
    assert wanda["costs"]["bytes_dense"] == dense["costs"]["bytes_dense"]
    assert made["models"]["blocks:1"]["costs"]["parameters"] < dense["costs"]["parameters"]
    assert made["models"]["wanda:0.5 + KL"]["costs"]["refilled"] == 0
    pairs = {(f["plus"], f["minus"]) for f in made["findings"]}
    assert ("wanda:0.5", "magnitude-row:0.5") in pairs
    assert ("wanda:0.5 + KL", "wanda:0.5 + CE") in pairs
    assert len(made["blocks"]["blocks:1"]["influence"]) == 4
    html, markdown = ((out / f"report.{ending}").read_text() for ending in ("html", "md"))
    assert html.count("<img src") == 4
    assert {path.stem for path in (out / "plots").glob("*.png")} == {
        "sparsity", "recovery", "costs", "blocks",
    }  # fmt: skip
    for name in made["models"]:
        assert name in html
        assert name in markdown
    assert "undefined" not in html.lower()


def test_a_report_without_recovery_and_without_zeros(whole, tmp_path):
    config, out = whole
    fewer = dataclasses.replace(
        config,
        prune=dataclasses.replace(config.prune, methods=("magnitude-row:0.5",)),
        recover=dataclasses.replace(config.recover, methods=()),
    )
    made = report.build(fewer, out)
    assert [*made["models"]] == ["dense", "magnitude-row:0.5"]
    assert made["findings"] == []
    assert "Nothing to draw: no model recovered." in (out / "report.md").read_text()
    report.build(config, out)


def test_a_model_that_has_learnt_the_task_is_taken_as_it_is(tmp_path, capsys):
    config = small_config(tmp_path)
    config = dataclasses.replace(config, adapt=dataclasses.replace(config.adapt, enough=0))
    adapt.run(config, tmp_path / "run")
    assert "0 % are enough: taken as it is" in capsys.readouterr().out
    assert weights_of(tmp_path / "run" / "dense" / "model") == weights_of(tmp_path / "model")


def test_lora_is_merged_when_the_task_was_learnt(tmp_path, capsys):
    config = small_config(tmp_path)
    config = dataclasses.replace(
        config,
        adapt=dataclasses.replace(config.adapt, enough=100, steps=2),
        model=dataclasses.replace(config.model, lora_rank=2),
    )
    adapt.run(config, tmp_path / "run")
    assert "fine-tuned on the task" in capsys.readouterr().out
    before = weights_of(tmp_path / "model")
    after = weights_of(tmp_path / "run" / "dense" / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert all("proj" in name for name in changed)  # no embedding, no norm


def test_what_was_trained_has_the_format_of_what_it_was_made_from(tmp_path):
    """float32 while it learns; saved so, it would weigh twice as much as the dense model."""
    config = small_config(tmp_path)
    config = dataclasses.replace(
        config,
        runtime=dataclasses.replace(config.runtime, dtype="bfloat16"),
        adapt=dataclasses.replace(config.adapt, enough=100, steps=2),
        prune=dataclasses.replace(config.prune, methods=("wanda:0.5",)),
        recover=dataclasses.replace(config.recover, methods=("wanda:0.5",), seeds=1),
    )
    for stage in (adapt, prune, recover):
        stage.run(config, tmp_path / "run")
    models = list((tmp_path / "run").rglob("model.safetensors"))
    formats = {str(tensor.dtype) for path in models for tensor in load_file(path).values()}
    assert (len(models), formats) == (4, {"torch.bfloat16"})  # dense, pruned, by KL, by CE


def weights_of(folder: Path) -> Mapping[str, bytes]:
    lm: Any = AutoModelForCausalLM.from_pretrained(folder)
    return {name: p.detach().numpy().tobytes() for name, p in lm.named_parameters()}


@pytest.mark.parametrize(
    ("section", "name", "value", "says"),
    [
        ("data", "seed", 1, "dense was made with --data.seed 0, now 1 is asked for"),
        ("adapt", "enough", 50.0, "dense was made with --adapt.enough 90.0"),
        ("prune", "n_calibration", 3, "pruned was made with --prune.n-calibration 16"),
        ("recover", "temperature", 2.0, "recovered was made with --recover.temperature 1.0"),
        ("data", "n_eval", 5, "scores was made with --data.n-eval 0, now 5"),
    ],
)
def test_a_changed_setting_is_refused_by_name(whole, section, name, value, says):
    config, out = whole
    changed = dataclasses.replace(getattr(config, section), **{name: value})
    with pytest.raises(LabError, match="Choose another --out") as raised:
        claim_pruning_folder(dataclasses.replace(config, **{section: changed}), out)
    assert says in str(raised.value)


def test_methods_seeds_and_speeds_may_be_added(whole):
    config, out = whole
    more = dataclasses.replace(
        config,
        prune=dataclasses.replace(config.prune, methods=(*config.prune.methods, "neurons:0.5")),
        recover=dataclasses.replace(config.recover, seeds=3),
        runtime=dataclasses.replace(config.runtime, batch=4),
    )
    claim_pruning_folder(more, out)
    claim_pruning_folder(config, out)


def test_a_recovery_of_what_is_not_pruned_is_refused(tmp_path):
    config = small_config(tmp_path, methods=("blocks:1",))
    with pytest.raises(LabError, match=r"--recover.methods: .* found 'wanda:0.5'"):
        claim_pruning_folder(config, tmp_path / "run")


def test_a_layout_that_cannot_be_pruned_is_named_before_it_is_trained(tmp_path, tiny_model):
    config = small_config(tmp_path)
    model = dataclasses.replace(config.model, name=str(tiny_model("gpt2")))
    with pytest.raises(LabError, match=r"expected the layout of Llama, .* found GPT2LMHeadModel"):
        adapt.run(dataclasses.replace(config, model=model), tmp_path / "run")
    assert not (tmp_path / "run" / "dense").exists()


def test_micro_batches_that_do_not_fill_a_step_are_refused(tmp_path):
    config = small_config(tmp_path)
    runtime = dataclasses.replace(config.runtime, micro_batch=3)
    with pytest.raises(LabError, match=r"expected a divisor of --adapt.batch-size 8, found 3"):
        claim_pruning_folder(dataclasses.replace(config, runtime=runtime), tmp_path / "run")


def test_reviews_that_have_changed_are_refused(tmp_path):
    config = small_config(tmp_path)
    config = dataclasses.replace(config, adapt=dataclasses.replace(config.adapt, enough=0))
    adapt.run(config, tmp_path / "run")
    reviews_file(tmp_path / "train.tsv", 50)
    with pytest.raises(LabError, match="it has changed since"):
        adapt.run(config, tmp_path / "run")


def test_a_stage_says_which_one_comes_before_it(tmp_path):
    config = small_config(tmp_path)
    for stage, before in ((prune, "adapt"), (recover, "prune"), (evaluate, "adapt")):
        with pytest.raises(LabError, match=f"Run `distill-lab prune {before}` first"):
            stage.run(config, tmp_path / "none")
    with pytest.raises(LabError, match="Run `distill-lab prune adapt` first"):
        report.build(config, tmp_path / "none")


def test_what_is_learnt_of_a_review(tmp_path):
    model = load(str(small_model(tmp_path)), BACKEND, "student")
    review = Review("1", "fine and warm", 1)
    (label,), (text,) = (
        make([review], model.tokenizer) for make in (label_examples, text_examples)
    )
    ids = model.tokenizer(answered_text(review)).input_ids
    assert label.student_prompt + label.completion == ids
    assert label.completion == [label_tokens(model.tokenizer)[1]]
    assert text.student_prompt + text.completion == ids
    assert len(text.student_prompt) == 1


def test_the_nll_is_of_the_reviews_own_tokens_and_padding_changes_nothing(tmp_path):
    model = load(str(small_model(tmp_path)), BACKEND, "student")
    reviews = [Review(str(n), "warm and fine " * n + "fun", 1) for n in (1, 6, 3)]
    together = read_reviews(model, reviews)
    for review, score in zip(reviews, together, strict=True):
        ids = model.tokenizer(user_text(review)).input_ids
        before = len(model.tokenizer("Review:").input_ids)
        after = len(model.tokenizer("\nSentiment:").input_ids)
        with torch.inference_mode():
            log_p = model.lm(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own = range(before, len(ids) - after)
        nll = -sum(float(log_p[n - 1, ids[n]]) for n in own)
        assert score.text_tokens == len(own)
        assert score.text_nll == pytest.approx(nll, rel=1e-4)
        assert math.isfinite(score.positive)
