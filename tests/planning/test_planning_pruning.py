"""What `distill-lab prune doctor` predicts: how it follows from settings, model and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distill_lab.cli.main import main
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig, PruningDataSettings
from distill_lab.planning.memory import Way
from distill_lab.planning.model_runs import longest
from distill_lab.planning.model_shapes import shape_of
from distill_lab.planning.pruning import estimate, predict
from distill_lab.planning.timing import GPUS, of_gpu
from distill_lab.tasks.sst2.reviews import load_reviews

T4, WAY = of_gpu(GPUS["t4"]), Way("float16", True)
COLAB = PROFILES["colab"]


def changed(name: str, value: Any, config: PruningConfig = COLAB) -> PruningConfig:
    section, field = name.split(".")
    part: Any = replace(getattr(config, section), **{field: value})
    return replace(config, **{section: part})


def total(config: PruningConfig, name: str, way: Way = WAY) -> int:
    return next(stage.total for stage in predict(config, way) if stage.name == name)


def test_colab_fits_a_t4_and_the_parts_are_the_models_own():
    shape = shape_of(COLAB.model.name, "base")
    stages = {stage.name: stage.parts for stage in predict(COLAB, WAY)}
    assert [*stages] == ["adapt", "prune", "recover", "evaluate"]
    assert all(sum(parts.values()) < 14.7e9 for parts in stages.values())
    assert stages["prune"]["weights"] == 2 * shape.parameters  # in 16 bit
    assert stages["evaluate"]["teacher"] == stages["evaluate"]["weights"] == 2 * shape.parameters
    assert stages["recover"]["teacher"] == 2 * shape.parameters
    # all weights are trained in float32, with gradients and two moments, and copies in half
    assert stages["recover"]["weights"] == 4 * shape.parameters + 2 * shape.matrices
    assert stages["recover"]["gradients and optimiser"] >= 8 * shape.parameters
    assert stages["recover"]["masks"] == shape.matrices


def test_lora_is_of_adapt_alone():
    """Zeros do not survive a merge, so that `recover` trains all weights whatever the rank."""
    whole = changed("model.lora_rank", 0)
    assert total(whole, "adapt") > 1.5 * total(COLAB, "adapt")
    assert total(whole, "recover") == total(COLAB, "recover")


def test_questions_are_longer_than_reviews_and_adapt_only_answers():
    squad = replace(COLAB, data=PruningDataSettings(task="squad", train="rajpurkar/squad"))
    adapt = next(stage.parts for stage in predict(squad, WAY) if stage.name == "adapt")
    assert "kv cache" in adapt
    assert "gradients and optimiser" not in adapt
    assert total(squad, "recover") > total(COLAB, "recover")
    assert "recover" not in {s.name for s in predict(changed("recover.methods", ()), WAY)}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_no_bundled_review_is_longer_than_is_reckoned_with(split):
    from transformers import AutoTokenizer

    from distill_lab.run.settings import data_folder
    from distill_lab.tasks.sst2.prompt import answered_text

    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "tiny_models" / "sst2")
    texts = [answered_text(review) for review in load_reviews("bundled", split).reviews]
    assert max(map(len, tokenizer(texts).input_ids)) <= longest(PROFILES["tiny"])


MORE = [  # what it changes: the stage, and by about how much
    ("adapt.steps", 1000, {"adapt": 2, "recover": 1}),
    ("recover.steps", 400, {"adapt": 1, "recover": 2, "evaluate": 1}),
    ("recover.seeds", 6, {"adapt": 1, "prune": 1, "recover": 2}),
    ("prune.methods", 2 * COLAB.prune.methods, {"adapt": 1, "prune": 2, "recover": 1}),
]


@pytest.mark.parametrize(("name", "value", "times"), MORE)
def test_twice_the_work_takes_twice_the_time(name, value, times):
    if name == "prune.methods":  # each method once: other shares of zeros
        value = (*COLAB.prune.methods, "magnitude-row:0.4", "wanda:0.1", "wanda:0.4", "wanda:4:8",
                 "blocks:1", "neurons:0.1")  # fmt: skip
    before, after = (estimate(config, WAY, T4) for config in (COLAB, changed(name, value)))
    for stage, factor in times.items():
        for one, other in zip(before[stage], after[stage], strict=True):
            assert other / one == pytest.approx(factor, rel=0.15)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("task", ["sst2", "squad"])
def test_every_profile_has_a_time_on_every_card(name, task):
    config = changed("data.task", task, PROFILES[name])
    for card in GPUS.values():
        for low, high in estimate(config, WAY, of_gpu(card)).values():
            assert 0 < low < high


def doctor(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["prune", "doctor", *line.split()])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_the_command_predicts_for_a_card_that_is_not_here(capsys):
    code, stdout, _ = doctor("--gpu t4", capsys)
    assert code in (0, None)
    assert "memory of prune, colab on one T4, float16" in stdout
    assert "fits       yes: the most is " in stdout
    assert stdout.splitlines()[-1].endswith("prune run --profile colab --out runs/prune-colab")
    for stage in ("adapt", "prune", "recover", "evaluate"):
        assert f"           {stage}" in stdout or f"  {stage} " in stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--data.task squad --runtime.batch 512", "evaluate wants more than 14.7 GB. Lower --runt"),
        ("--data.task squad", "recover wants more than 14.7 GB. Lower --runtime.micro-batch to"),
        ("--model.name Qwen/Qwen2.5-7B-Instruct", "Take a smaller --model.name."),
        ("--model.name some-lab/unheard-of", "nothing: Model 'some-lab/unheard-of'"),
    ],
)
def test_the_command_says_what_to_lower(flags, said, capsys):
    code, stdout, _ = doctor(f"--profile colab --gpu t4 {flags}", capsys)
    assert code in (0, None)
    assert said in stdout


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--gpu abacus", "--gpu: expected one of t4, l4, a100, a100-80, h100; found 'abacus'."),
        ("--recover.seeds 0", "--recover.seeds: expected 1 or more, found 0."),
        ("--prune.methods wanda:2", "--prune.methods: expected a share above 0 and below 1"),
    ],
)
def test_a_mistake_is_one_line(line, says, capsys):
    code, _, stderr = doctor(line, capsys)
    assert code == 2
    assert says in stderr
    assert stderr.count("\n") == 1
