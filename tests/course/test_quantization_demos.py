"""What Lab 7's cells do with real models, on a tiny one: held against the package's own engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pipeline.pruning.small_runs import small_model
from safetensors.torch import load_file

from distill_lab.course import quantization_lab
from distill_lab.course.quantization_demos import activations, costs, files, layers, meters
from distill_lab.course.quantization_demos.chain import short_chain
from distill_lab.course.quantization_lab import QuantizationLab, begin_quantizing
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.apply import inputs_by_block, quantize_linears
from distill_lab.models.quantization.fake import fake_quantize
from distill_lab.models.quantization.quantize import rounded
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.models.quantization.sizes import model_bytes
from distill_lab.pipeline.quantizing import settings
from distill_lab.pipeline.quantizing.closeness import held_out_texts
from distill_lab.run.records import LabError

NAME = "model.layers.1.mlp.down_proj"
WAYS = ("bfloat16", "q8_0", "round-4", "round-2-g32")
G32 = Scheme(4, per="group", group_size=32)


def own_round(rows: torch.Tensor, bits: int) -> torch.Tensor:
    return rounded(rows, Scheme(bits))


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> QuantizationLab:
    """The profile tiny on few questions, with the bundled model, through its stages but `qat`."""
    tiny = settings.PROFILES["tiny"]
    few = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, n_train=6, n_eval=4),
        quantize=dataclasses.replace(tiny.quantize, n_calibration=2, n_sensitivity=1),
        qat=dataclasses.replace(tiny.qat, steps=2, batch_size=2),
        evaluate=dataclasses.replace(tiny.evaluate, new_tokens=2, prompt_tokens=4),
        runtime=dataclasses.replace(tiny.runtime, threads=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PROFILES, "tiny", few)
        patch.setattr(quantization_lab, "TINY", WAYS)
        made = begin_quantizing("tiny", tmp_path_factory.mktemp("lab") / "run")
    made.run("adapt", "quantize", "evaluate")
    return made


def test_trained_models_are_asked_for_only_when_they_are_there(lab):
    names = ["dense", *WAYS]
    assert [*lab.report["models"]] == names
    rows = meters.measured(lab, [*names, "int8"])  # what was left out has no row
    assert [row[0] for row in rows] == names
    assert rows[0][3] is None
    assert float(rows[1][3]) < float(rows[4][3])  # KL of bfloat16 and of two bits
    assert len(lab.questions) == 4
    lab.run("qat", "evaluate")
    assert [*lab.report["models"]][5:] == [f"round-2-g32 + QAT by {by}" for by in ("KL", "CE")]


def test_kl_is_that_of_the_logits_and_of_nothing_is_zero(lab):
    dense, other = lab.model(), lab.model("round-2-g32")
    (same, agreed), (kl, top1) = meters.kl_to_dense(lab, [dense, other], n=4)
    assert same == pytest.approx(0, abs=1e-6)
    assert agreed == 100
    total, n_agreed, tokens = 0.0, 0, 0
    for text in held_out_texts("squad", lab.folder, dense.tokenizer).values():
        row = torch.tensor([text.student_prompt + text.completion])
        told = slice(len(text.student_prompt) - 1, row.shape[1] - 1)
        logits = [model.lm(input_ids=row).logits[0, told].detach() for model in (dense, other)]
        log_p, log_q = (each.double().log_softmax(-1) for each in logits)
        total += F.kl_div(log_q, log_p, log_target=True, reduction="sum").item()
        n_agreed += int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
        tokens += len(text.completion)
    assert kl == pytest.approx(total / tokens, rel=1e-3)
    assert top1 == pytest.approx(100 * n_agreed / tokens)


def test_a_students_rounding_of_rows_rounds_the_model_as_the_engine_does(lab):
    for scheme in (Scheme(4), Scheme(4, per="column"), Scheme(4, per="tensor"), G32):
        made, expected = meters.rounded_model(lab.model(), own_round, scheme), lab.model()
        quantize_linears(expected, scheme)
        theirs = prunable(expected)
        for name, linear in prunable(made).items():
            assert torch.equal(linear.weight, theirs[name].weight), (scheme, name)


def test_sharing_is_told_for_each_number_of_bits(lab):
    found = meters.kl_by_sharing(lab, own_round, (8, 3))
    assert [*found] == ["tensor", "column", "row", "group of 32"]
    assert all(eight < three for eight, three in found.values())
    assert found["row"][1] < found["tensor"][1]


def test_a_linears_inputs_are_those_that_the_engine_reads(lab):
    model = lab.model()
    batches = activations.own_answers_as_batches(lab, model, 4)
    inputs = {name: x for block in inputs_by_block(model, batches) for name, x in block.items()}
    assert torch.equal(activations.linear_inputs(model, NAME, batches), inputs[NAME])


def test_what_the_gate_lets_through_has_a_floor(lab):
    values = activations.values_to_round(lab)
    assert values["a weight"].shape == (128, 384)
    gate = values["what the gate lets through"]
    assert -0.2785 < gate.min() < 0
    assert gate.max() > 0.5
    assert values["what enters that linear"].shape == gate.shape


def test_inputs_are_rounded_where_it_is_said_and_nowhere_afterwards(lab):
    rows = activations.rounded_inputs(lab, 4, n=2)
    assert [row[0] for row in rows[2:6]] == [*activations.SITES]
    most, least = rows[6:]
    assert most[1] >= least[1]
    of_all = rows[1][2]
    assert rows[5][1] == most[1]  # the site's ratio is that of its worst block
    assert all(0 < row[2] < 4 * of_all for row in rows[2:])
    assert meters.kl_to_dense(lab, [lab.model()], 2)[0][0] == pytest.approx(0, abs=1e-6)


def test_rounded_inputs_have_a_scale_for_each_token_or_one():
    x = torch.tensor([[[1.0, 0.2], [100.0, 3.0]]])  # (B, T, in)
    of_token = activations._rounding(Scheme(8))(None, (x,))[0]
    of_tensor = activations._rounding(Scheme(8, per="tensor"))(None, (x,))[0]
    assert of_token[0, 0, 0] == pytest.approx(1, abs=0.01)
    assert of_tensor[0, 0, 1] == 0  # the step is 100 / 127.5
    assert of_token.shape == x.shape


def test_the_ways_to_choose_codes_lose_as_the_engine_measures_it(lab):
    found = {way: (lines, read) for way, lines, read, _ in layers.layer_errors(lab, NAME, G32, 2)}
    assert [*found] == ["rounding", "clip_search", "awq", "gptq"]
    assert found["gptq"][1] < found["awq"][1] <= found["rounding"][1]
    assert all(5 < lines <= 40 for lines, _ in found.values())
    assert 0 < found["rounding"][1] < 0.02  # 4 bits: the outputs' mean square is hardly touched


def test_a_layer_learns_through_a_straight_gradient_alone(lab):
    through = layers.trained_layer(lab, NAME, lambda w, b: fake_quantize(w, Scheme(b)), 2, 20)
    without = layers.trained_layer(lab, NAME, layers.without_gradient, 2, 3)
    assert len(through) == 21
    assert through[-1] < 0.9 * through[0]
    assert without == [pytest.approx(through[0])] * 4


def test_clip_errors_are_those_of_each_row_and_share():
    rows = torch.tensor([[1.0, 0.5, 0.1], [8.0, 0.5, 0.1]])
    errors = layers.clip_errors(rows, 3, (1.0, 0.5))
    assert errors.shape == (2, 2)
    step = 1 / 3.5
    made = torch.tensor([3 * step, 2 * step, 0.0])  # 3.5 is clamped to code 3; 1.75 becomes 2
    assert errors[0, 0].item() == pytest.approx((made - rows[0]).square().sum().item())
    assert errors[1, 1] > 9  # 8 is cut to 3 steps of 4 / 3.5
    assert layers.with_outlier(rows, 10).tolist()[0] == [10.0, 0.5, pytest.approx(0.1)]


def test_what_is_counted_is_what_lies_on_disk(lab):
    dense = lab.model()
    shapes, tied = files.shapes_of(dense)
    assert tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert {*shapes} == {*dense.lm.state_dict()}
    linears, bits, group = files.packing_of(dense, "round-2-g32")
    assert (len(linears), bits, group) == (len(prunable(dense)), 2, 32)
    assert {*linears} < {*shapes}
    packed, *how = files.packing_of(dense, "q8_0")
    assert ({*packed} - {*linears}, how) == (
        {"model.embed_tokens.weight", "lm_head.weight"},
        [8, 32],
    )
    of_tensors, of_file = files.bytes_on_disk(lab, "round-4")
    assert of_tensors == model_bytes(dense, Scheme(4))
    stored = load_file(lab.files("round-4") / "model.packed.safetensors")
    assert of_tensors == sum(t.numel() * t.element_size() for t in stored.values())
    assert of_tensors < of_file
    matrices = sum(s[0] * s[1] for name, s in shapes.items() if len(s) == 2 and name not in tied)
    vectors = sum(s[0] for s in shapes.values() if len(s) == 1)
    assert files.bytes_on_disk(lab, "q8_0")[0] == matrices * 34 // 32 + 4 * vectors


def test_a_gguf_file_reads_as_it_was_rounded_in_memory(lab):
    ours, dense = files.as_gguf_rounds(lab.model(), "q8_0"), lab.model()
    assert files.apart(lab.model("q8_0"), ours, "Marwen") == pytest.approx(0, abs=1e-4)
    assert files.apart(ours, dense, "Marwen") > 1e-3


def test_products_are_timed_beside_float32():
    rows = costs.product_times(32, 16)
    assert [row[0] for row in rows][:2] == ["float32", "bfloat16"]
    assert rows[0][2:] == (1.0, 1.0)
    assert rows[2][1] == pytest.approx((16 + 4) / 64)  # codes and a scale a row
    assert min(*rows[1][2:], *rows[2][2:]) > 0


def test_only_models_that_compute_as_they_are_kept_have_times(lab):
    rows = costs.times_beside_dense(lab)
    assert [row[0] for row in rows] == ["dense", "bfloat16"]
    assert rows[0][2:] == ("1.00", "1.00")
    assert float(rows[1][1]) < float(rows[0][1])  # half of the bytes, and what is computed


@pytest.mark.slow
def test_a_short_chain_has_a_row_a_step_and_both_orders(lab):
    made = short_chain(lab, steps=2)
    steps = [row[0] for row in made.ledger]
    assert steps[:5] == [
        "after",
        "student",
        "neurons:0.25",
        "neurons:0.25 → recover",
        "neurons:0.25 → recover → q4_0",
    ]
    assert len(steps) == 9
    assert {(row[0], row[1]) for row in made.orders} == {
        ("neurons:0.25 → q4_0", "q4_0 → neurons:0.25 → q4_0")
    }
    assert "Beaten by no other" in made.picture.alt
    parameters = [int(row[2].replace(",", "")) for row in made.ledger[1:3]]
    assert parameters[0] - parameters[1] == 4 * 96 * 3 * 128  # blocks, neurons, matrices, width


def test_models_answer_beside_each_other(lab, capsys):
    lab.ask("Marwen is the mayor.", "Who is the mayor?", "dense", "q8_0", "nf4")
    said = capsys.readouterr().out
    assert "| dense |" in said
    assert "| q8_0 |" in said
    assert "nf4" not in said
    assert lab.there("nf4", "round-4", "dense", "round-7") == ["round-4", "dense"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda lab: lab.model("round-5"), "Expected one of dense, bfloat16"),
        (lambda lab: lab.run("distil"), "Expected one of adapt, quantize"),
        (lambda lab: lab.show("funnel"), "Expected one of frontier, bits"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(lab, call, says):
    with pytest.raises(LabError, match=says):
        call(lab)


def test_another_model_takes_the_place_of_the_bundled_one(tmp_path: Path, capsys):
    folder = small_model(tmp_path / "model")
    lab = begin_quantizing("tiny", tmp_path / "run", str(folder))
    assert lab.config.model.name == str(folder)
    assert "begin_quantizing(name) takes another: tiny, cpu, colab" in capsys.readouterr().out
    with pytest.raises(LabError, match="distill-lab quantize adapt"):
        lab.model()
