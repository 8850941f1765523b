"""A small run of all stages: what each leaves and measures, against torch's own sums, and what it
refuses."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pipeline.quantizing.small_forms import WAYS, small_forms

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.apply import quantize_linears
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.pipeline.pruning.reading.reviews import read_reviews
from distill_lab.pipeline.pruning.training import text_examples
from distill_lab.pipeline.quantizing import evaluate, make, qat, report
from distill_lab.pipeline.quantizing.closeness import compare
from distill_lab.pipeline.quantizing.records import (
    QuantizationFolder,
    QuantizedModel,
    claim_quantization_folder,
    models,
)
from distill_lab.pipeline.quantizing.runner import STAGES, run_stage
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.pipeline.quantizing.ways import parse
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings
from distill_lab.training.batches import Encoded

BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
G8 = Scheme(4, per="group", group_size=8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizationConfig, Path]:
    """Settings and the folder of a run that went through all stages."""
    folder = tmp_path_factory.mktemp("quantizing")
    config = small_forms(folder)
    claim_quantization_folder(config, folder / "run")
    for stage in STAGES:
        run_stage(stage, config, folder / "run")
    return config, folder / "run"


def model_of(out: Path, way: str = "", recovery: Any = None) -> LanguageModel:
    of = QuantizedModel(parse(way), recovery) if way else QuantizedModel()
    return load(str(QuantizationFolder(out).model(of)), BACKEND, "student")


def test_each_stage_says_that_all_is_there(whole):
    config, out = whole
    for stage in (make, qat, evaluate):
        assert stage.run(config, out) is False
    assert [*json.loads((out / "run.json").read_text())["seconds"]] == [*STAGES]


def test_what_is_measured_lies_on_disk_and_scores_as_it_does_in_memory(whole):
    _, out = whole
    folder, dense = QuantizationFolder(out), model_of(out)
    quantize_linears(dense, G8)
    reviews = folder.eval_reviews.read()
    expected = {score.review_id: score for score in read_reviews(dense, reviews)}
    for score in folder.scores(QuantizedModel(parse("round-4-g8"))).read():
        assert score.negative == pytest.approx(expected[score.review_id].negative, abs=2e-3)
        assert score.text_nll == pytest.approx(expected[score.review_id].text_nll, rel=1e-3)
    for model in models(whole[0]):
        file = next(
            f for f in folder.model(model).iterdir() if f.suffix in (".safetensors", ".gguf")
        )
        assert folder.read_ledger(model)["bytes"] == file.stat().st_size
        assert folder.read_ledger(model)["parameters"] == sum(
            p.numel() for p in model_of(out).lm.parameters()
        )
        timed = model.way is None or model.way.text == "bfloat16"
        assert ("speed" in folder.read_ledger(model)) == timed


def test_kl_and_top1_are_those_of_whole_softmaxes(whole):
    _, out = whole
    folder, dense, made = QuantizationFolder(out), model_of(out), model_of(out, "round-4-g8")
    found = {r.entry_id: r for r in folder.closeness(QuantizedModel(parse("round-4-g8"))).read()}
    for review in folder.eval_reviews.read()[:5]:
        (text,) = text_examples([review], dense.tokenizer)
        ids = torch.tensor([text.student_prompt + text.completion])
        with torch.no_grad():
            p, q = (m.lm(ids).logits[0, :-1].log_softmax(-1) for m in (dense, made))
        kl = F.kl_div(q, p, reduction="sum", log_target=True).item()
        record = found[review.id]
        assert record.kl == pytest.approx(kl, rel=1e-3)
        assert record.agreed == int((p.argmax(-1) == q.argmax(-1)).sum())
        assert record.tokens == ids.shape[1] - 1


def test_a_model_is_no_distance_from_itself_and_a_prompt_does_not_count(whole):
    dense = model_of(whole[1])
    text = Encoded([5, 6, 7], [5, 6, 7], [8, 9])
    (found,) = next(compare(dense, dense, {"a": text}, set(), 4, ""))
    assert (found.kl, found.agreed, found.tokens) == (0, 2, 2)


def test_qat_learns_behind_rounded_weights_and_leaves_codes(whole):
    config, out = whole
    folder = QuantizationFolder(out)
    by = {name: QuantizedModel(parse("round-4-g8"), name) for name in ("kl", "ce")}
    logs = {name: folder.read_training_log(model) for name, model in by.items()}
    assert {len(log) for log in logs.values()} == {config.qat.steps}
    assert logs["kl"][0]["kl"] > 1e-5  # before the first step: the student is the rounded teacher
    assert logs["kl"][0]["ce"] == pytest.approx(logs["ce"][0]["ce"], rel=1e-5)
    assert logs["ce"][0]["kl"] == 0
    trained, before = model_of(out, "round-4-g8", "kl"), model_of(out, "round-4-g8")
    for name, linear in prunable(trained).items():
        groups = linear.weight.reshape(-1, 8)
        assert max(len(group.unique()) for group in groups) <= 8
        step = groups.abs().amax(1) / 8
        assert (linear.weight != prunable(before)[name].weight).any()
        assert (step > 0).all()


@pytest.mark.slow
def test_qat_brings_the_four_bit_model_nearer_to_the_dense_one(tmp_path):
    """More steps than the run above has: the loss that is logged is that of rounded weights."""
    config = small_forms(tmp_path, ("round-4-g8",), {"steps": 30, "learning_rate": 1e-3})
    config = dataclasses.replace(
        config, adapt=dataclasses.replace(config.adapt, enough=0),
        quantize=dataclasses.replace(config.quantize, n_sensitivity=0),
    )  # fmt: skip
    out = tmp_path / "run"
    claim_quantization_folder(config, out)
    for stage in STAGES:
        run_stage(stage, config, out)
    made = json.loads((out / "report.json").read_text())["models"]
    assert made["round-4-g8 + QAT by KL"]["kl"] < 0.8 * made["round-4-g8"]["kl"]


def test_the_report_holds_what_the_records_come_to(whole):
    config, out = whole
    made = json.loads((out / "report.json").read_text())
    names = list(dict.fromkeys(model.name for model in models(config)))
    assert [*made["models"]] == names
    dense, codes = made["models"]["dense"], made["models"]["round-4-g8"]
    assert "kl" not in dense
    assert codes["costs"]["bits"] == pytest.approx(
        8 * codes["costs"]["bytes"] / codes["costs"]["parameters"], abs=1e-3
    )
    records = QuantizationFolder(out).closeness(QuantizedModel(parse("round-4-g8"))).read()
    expected = sum(r.kl for r in records) / sum(r.tokens for r in records)
    assert codes["kl"] == pytest.approx(expected, abs=1e-6)
    assert codes["kl_ci95"][0] <= codes["kl"] <= codes["kl_ci95"][1]
    pairs = {(f["plus"], f["minus"]) for f in made["findings"]}
    assert ("gptq-4-g8", "round-4-g8") in pairs
    assert ("round-4-g8 + QAT by KL", "round-4-g8 + QAT by CE") in pairs
    (kl,) = (f for f in made["findings"] if (f["plus"], f["measure"]) == ("gptq-4-g8", "kl"))
    difference = made["models"]["gptq-4-g8"]["kl"] - codes["kl"]
    assert kl["difference"] == pytest.approx(difference, abs=2e-6)
    assert kl["better"] == (difference < 0)
    assert kl["ci95"][0] <= kl["difference"] <= kl["ci95"][1]
    assert len(made["sensitivity"]) == 4 * 7
    html, markdown = ((out / f"report.{ending}").read_text() for ending in ("html", "md"))
    assert html.count("<img src") == 3
    for name in names:
        assert name in html
        assert name in markdown


@pytest.mark.parametrize(("kind", "package"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_a_back_end_that_is_not_here_is_left_out_with_its_reason(
    kind, package, whole, monkeypatch, capsys
):
    config, out = whole
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name)
    )
    more = dataclasses.replace(config.quantize, ways=(*WAYS, kind))
    changed = dataclasses.replace(config, quantize=more)
    claim_quantization_folder(changed, out)
    for stage in ("quantize", "evaluate"):
        run_stage(stage, changed, out)
    made = report.build(changed, out)
    assert f"{kind} is left out: {package} is not installed" in capsys.readouterr().out
    assert [*made["left_out"]] == [kind]
    assert kind not in made["models"]
    assert f"Left out: {kind}: {package} is not installed" in (out / "report.md").read_text()
    claim_quantization_folder(config, out)
    make.run(config, out)


@pytest.mark.parametrize(
    ("section", "name", "value", "says"),
    [
        ("data", "seed", 1, "dense was made with --data.seed 0, now 1 is asked for"),
        ("quantize", "n_calibration", 3, "quantized was made with --quantize.n-calibration 8"),
        ("quantize", "sensitivity", "round-2", "sensitivity.json was made with"),
        ("qat", "temperature", 2.0, "qat was made with --qat.temperature 1.0"),
        ("data", "n_eval", 5, "scores was made with --data.n-eval 0, now 5"),
    ],
)
def test_a_changed_setting_is_refused_by_name(whole, section, name, value, says):
    config, out = whole
    changed = dataclasses.replace(getattr(config, section), **{name: value})
    with pytest.raises(LabError, match="Choose another --out") as raised:
        claim_quantization_folder(dataclasses.replace(config, **{section: changed}), out)
    assert says in str(raised.value)


def stopped_at(config: QuantizationConfig, out: Path) -> str:
    """What `quantize` says, where nothing half-made stays."""
    claim_quantization_folder(config, out)
    run_stage("adapt", config, out)
    with pytest.raises(LabError) as raised:
        run_stage("quantize", config, out)
    assert not [*out.rglob("quantized/*/model")]
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_group_that_does_not_divide_is_refused(tmp_path):
    config = small_forms(tmp_path, ("round-4-g12",), {"ways": ()})
    assert "divides the input's width 32, found 12" in stopped_at(config, tmp_path / "run")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    config = small_forms(tmp_path, ("round-4",), {"ways": ()})
    config = dataclasses.replace(config, adapt=dataclasses.replace(config.adapt, enough=0))
    out = tmp_path / "run"
    claim_quantization_folder(config, out)
    run_stage("adapt", config, out)
    place = str(QuantizationFolder(out).model(QuantizedModel()))
    dense: Any = load(place, BACKEND, "base")
    with torch.no_grad():
        dense.lm.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    dense.lm.save_pretrained(place)
    assert "found NaN or infinity in model.layers.1.mlp.up_proj" in stopped_at(config, out)
