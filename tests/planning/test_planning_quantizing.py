"""What `distill-lab quantize doctor` predicts: how it follows from settings, model and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distill_lab.cli.main import main
from distill_lab.pipeline.quantizing.settings import PROFILES, QuantizationConfig
from distill_lab.planning.memory import Way
from distill_lab.planning.model_shapes import shape_of
from distill_lab.planning.quantizing import estimate, predict
from distill_lab.planning.timing import GPUS, of_gpu

T4, WAY = of_gpu(GPUS["t4"]), Way("float16", True)
COLAB = PROFILES["colab"]


def changed(name: str, value: Any, config: QuantizationConfig = COLAB) -> QuantizationConfig:
    section, field = name.split(".")
    part: Any = replace(getattr(config, section), **{field: value})
    return replace(config, **{section: part})


def parts(config: QuantizationConfig, name: str) -> dict[str, int]:
    return dict(next(stage.parts for stage in predict(config, WAY) if stage.name == name))


def test_colab_fits_a_t4_and_the_parts_are_the_models_own():
    shape = shape_of(COLAB.model.name, "base")
    stages = {stage.name: stage.parts for stage in predict(COLAB, WAY)}
    assert [*stages] == ["adapt", "quantize", "qat", "evaluate"]
    assert all(sum(parts.values()) < 14.7e9 for parts in stages.values())
    assert stages["quantize"]["teacher"] == stages["quantize"]["weights"] == 2 * shape.parameters
    # all weights are trained in float32, and what each linear multiplied with is kept
    assert stages["qat"]["weights"] == 4 * shape.parameters + 2 * shape.matrices
    assert stages["qat"]["rounded weights"] == 4 * shape.matrices


def test_only_who_reads_texts_holds_them_and_only_gptq_has_an_inverse():
    def of(*ways: str) -> dict[str, int]:
        return parts(changed("quantize.ways", ways, changed("qat.ways", ())), "quantize")

    assert not of("round-4", "int8").keys() & {"activations", "in float64"}
    assert "activations" in of("awq-4-g32")
    assert "in float64" not in of("awq-4-g32")
    few, many = (
        parts(changed("quantize.n_calibration", n), "quantize")["activations"] for n in (64, 128)
    )
    assert 1.5 < many / few <= 2
    assert "logits" not in parts(changed("quantize.n_sensitivity", 0), "quantize")
    assert "qat" not in {stage.name for stage in predict(changed("qat.ways", ()), WAY)}


MORE = [  # what it changes: the stage, and by about how much
    ("qat.steps", 400, {"adapt": 1, "quantize": 1, "qat": 2, "evaluate": 1}),
    ("qat.seeds", 2, {"quantize": 1, "qat": 2}),
    ("data.n_eval", 1000, {"adapt": 1, "quantize": 1, "evaluate": 2}),
]


@pytest.mark.parametrize(("name", "value", "times"), MORE)
def test_twice_the_work_takes_twice_the_time(name, value, times):
    before, after = (estimate(config, WAY, T4) for config in (COLAB, changed(name, value)))
    for stage, factor in times.items():
        for one, other in zip(before[stage], after[stage], strict=True):
            assert other / one == pytest.approx(factor, rel=0.15)


def test_a_way_that_searches_takes_longer_than_one_that_rounds():
    def seconds(way: str) -> float:
        config = changed("quantize.ways", (way,), changed("quantize.n_sensitivity", 0))
        return estimate(changed("qat.ways", (), config), WAY, T4)["quantize"][0]

    assert seconds("bfloat16") < seconds("round-4") < seconds("clip-4") < seconds("gptq-4")


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("task", ["sst2", "squad"])
def test_every_profile_has_a_time_on_every_card(name, task):
    config = changed("data.task", task, PROFILES[name])
    for card in GPUS.values():
        for low, high in estimate(config, WAY, of_gpu(card)).values():
            assert 0 < low < high


def doctor(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["quantize", "doctor", *line.split()])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_the_command_predicts_for_a_card_and_says_what_to_lower(capsys):
    code, stdout, _ = doctor("--gpu t4", capsys)
    assert code in (0, None)
    assert "memory of quantize, colab on one T4, float16" in stdout
    assert "fits       yes: the most is " in stdout
    assert stdout.splitlines()[-1].endswith(
        "quantize run --profile colab --out runs/quantize-colab"
    )
    _, stdout, _ = doctor("--gpu t4 --runtime.micro-batch 8", capsys)
    assert "qat wants more than 14.7 GB. Lower --runtime.micro-batch to 1." in stdout
    _, stdout, _ = doctor("--gpu t4 --model.name some-lab/unheard-of", capsys)
    assert "nothing: Model 'some-lab/unheard-of'" in stdout


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--gpu abacus", "--gpu: expected one of t4, l4, a100, a100-80, h100; found 'abacus'."),
        ("--qat.seeds 0", "--qat.seeds: expected 1 or more, found 0."),
        ("--quantize.ways round-1", "--quantize.ways: expected 2 to 16 bits, found 1"),
    ],
)
def test_a_mistake_is_one_line(line, says, capsys):
    code, _, stderr = doctor(line, capsys)
    assert code == 2
    assert says in stderr
    assert stderr.count("\n") == 1
