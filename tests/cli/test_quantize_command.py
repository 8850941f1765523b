"""`distill-lab quantize` and `chain`: each mistake in one line with exit 2, what help loads, the
profiles, and runs that are killed and go on."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pipeline.quantizing.small_forms import small_forms
from safetensors.torch import load_file

from distill_lab.cli.main import main
from distill_lab.pipeline.chain import settings as chain_settings
from distill_lab.pipeline.quantizing import settings as quantizing_settings
from distill_lab.pipeline.quantizing.records import require_possible
from distill_lab.pipeline.quantizing.runner import STAGES
from distill_lab.pipeline.quantizing.settings import PROFILES, QuantizationConfig
from distill_lab.run.saved_settings import flag, from_json, settings, write_config
from distill_lab.run.settings import Config, DataSettings, data_folder

MISTAKES = (
    ("quantize run --quantize.ways round-1", "--quantize.ways: expected 2 to 16 bits, found 1"),
    ("quantize run --quantize.ways round-17", "--quantize.ways: expected 2 to 16 bits, found 17"),
    ("quantize run --quantize.ways q3_k", "--quantize.ways: expected one of float32, bfloat16"),
    ("quantize run --qat.ways gptq-4-g32", "--qat.ways: expected ways that round"),
    ("quantize run --qat.ways round-2", "--qat.ways: expected ways that round and that --quant"),
    ("quantize run --quantize.sensitivity int8", "--quantize.sensitivity: expected codes of ours"),
    ("quantize qat --qat.steps 0", "--qat.steps: expected 1 or more, found 0."),
    ("quantize run --profile tinny", "--profile: expected one of tiny, cpu, colab; found 'tinny'."),
    ("quantize run --runtime.micro-batch 3", "--runtime.micro-batch: expected a divisor of"),
    ("quantize quantize", "Run `distill-lab quantize adapt` first"),
    ("quantize evaluate", "Run `distill-lab quantize adapt` first"),
    ("quantize report", "Run `distill-lab quantize adapt` first"),
    ("chain nowhere", "RUN nowhere: expected the folder of a run of Lab 5, found none."),
    ("chain lab5 --arm sft", "expected what the stage train makes, found none"),
    ("chain lab5 --chain.prune wanda:2", "expected a share above 0 and below 1"),
    ("chain lab5 --chain.quantize round-0", "expected 2 to 16 bits, found 0"),
    ("chain other", "RUN other: expected a run on squad, found one on gsm8k."),
)


def lab5(folder: Path) -> Path:
    """What a run of Lab 5 leaves that a chain begins with, on a few of the bundled questions."""
    data = DataSettings(n_train=6, n_eval=4)
    write_config(Config(data=data), folder / "config.json")
    model = data_folder() / "tiny_models" / "teacher"
    shutil.copytree(model, folder / "students" / "kd" / "model")
    return folder


@pytest.mark.parametrize(("line", "says"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if "lab5" in line:
        lab5(tmp_path / "lab5")
    write_config(Config(data=DataSettings(task="gsm8k")), tmp_path / "other" / "config.json")
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    stderr = capfd.readouterr().err
    assert ended.value.code == 2
    assert says in stderr
    assert stderr.count("\n") == 1


def test_mistakes_and_help_load_neither_torch_nor_transformers(tmp_path):
    code = (
        "import sys\nfrom distill_lab.cli.main import main\n"
        "for words in ('quantize --help', 'quantize run --help', 'chain --help', 'chain nowhere',"
        " 'quantize run --quantize.ways round-1'):\n"
        "    try: main(words.split())\n    except SystemExit: pass\n"
        "print('loaded:', *{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    for stage in STAGES:
        assert re.search(rf"• {stage} +[A-Z]", done.stdout)


@pytest.mark.parametrize("module", [quantizing_settings, chain_settings])
def test_every_setting_has_a_help_text(module):
    kinds = [k for k in ast.parse(inspect.getsource(module)).body if isinstance(k, ast.ClassDef)]
    for kind in kinds:
        for line, after in itertools.pairwise(kind.body):
            if isinstance(line, ast.AnnAssign) and not kind.name.endswith("Config"):
                assert isinstance(after, ast.Expr), ast.unparse(line)
                assert ast.literal_eval(after.value).endswith(".")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_possible_and_is_saved_whole(name):
    config = PROFILES[name]
    require_possible(config)
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_json(saved, QuantizationConfig) == config


def flags_of(config: QuantizationConfig) -> list[str]:
    """The settings that are not `tiny`'s, as flags."""
    usual, words = dict(settings(PROFILES["tiny"])), list[str]()
    for name, value in settings(config):
        if value != usual[name]:
            words += [flag(name), *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def left(out: Path) -> dict[str, Any]:
    """What a run leaves: weights and codes byte for byte, records in any order."""
    files = [*out.rglob("*.safetensors"), *out.rglob("*.gguf"), *out.glob("scores/*"),
             *out.glob("closeness/*"), *out.glob("sensitivity.json")]  # fmt: skip
    return {str(f.relative_to(out)): _content(f) for f in files if "checkpoint" not in str(f)}


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":  # the order of a file's metadata is not the same each time
        return {name: t.numpy().tobytes() for name, t in sorted(load_file(path).items())}
    if path.suffix == ".jsonl":
        return sorted(path.read_bytes().splitlines())
    return path.read_bytes()


def killed_and_gone_on_with(command: list[str], out: Path, kills: int) -> None:
    """The command leaves the same whether it was killed on the way or not."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, killed = out / "whole", out / "killed"
    start = time.monotonic()
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True,
                   env=environment)  # fmt: skip
    took, nowhere = time.monotonic() - start, subprocess.DEVNULL
    for n in range(kills):
        with subprocess.Popen(
            [*command, "--out", str(killed)], stdout=nowhere, stderr=nowhere, env=environment
        ) as process:
            time.sleep((0.3 + 0.2 * n) * took)
            process.kill()
    done = subprocess.run([*command, "--out", str(killed)], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert left(killed) == left(whole)
    assert "partial" not in " ".join(left(whole))
    assert (
        json.loads((killed / "report.json").read_text())["models"].keys()
        == json.loads((whole / "report.json").read_text())["models"].keys()
    )


@pytest.mark.slow
def test_a_run_that_is_killed_twice_leaves_what_a_whole_one_does(tmp_path):
    config = small_forms(tmp_path, ("q4_0", "round-4-g8", "gptq-4-g8"), {"steps": 6})
    command = [sys.executable, "-m", "distill_lab", "quantize", "run", *flags_of(config)]
    killed_and_gone_on_with(command, tmp_path, 2)
    assert len(left(tmp_path / "whole")) == 1 + 3 + 2 + 6 + 5 + 1


def test_a_chain_names_its_run_first(capfd):
    """Its defaults are that run's: how long an answer may be, for one."""
    with pytest.raises(SystemExit) as end:
        main(["chain", "--arm", "sft", "runs/x"])
    assert end.value.code == 2
    stderr = capfd.readouterr().err
    assert stderr.startswith("distill-lab: chain: expected RUN first")
    assert stderr.count("\n") == 1


@pytest.mark.slow
def test_a_chain_that_is_killed_twice_leaves_what_a_whole_one_does(tmp_path):
    quick = "--chain.steps 6 --chain.n-calibration 4 --chain.batch-size 4 --runtime.micro-batch 4"
    quick += " --runtime.save-every 2 --runtime.threads 1 --evaluate.max-new-tokens 60"
    quick += " --evaluate.repeats 1 --evaluate.new-tokens 2 --evaluate.prompt-tokens 8"
    run = lab5(tmp_path / "lab5")
    command = [sys.executable, "-m", "distill_lab", "chain", str(run), *quick.split()]
    killed_and_gone_on_with(command, tmp_path, 2)
    made = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert len(made["models"]) == 13
    assert {f["minus"] for f in made["orders"]} == {
        "q8_0 → neurons:0.25 → q8_0", "q4_0 → neurons:0.25 → q4_0",
    }  # fmt: skip
    sizes = {name: m["costs"]["bytes"] for name, m in made["models"].items()}
    whole = "neurons:0.25 → recover → q4_0"
    assert sizes[whole] == min(sizes.values())
    assert sizes[whole] == pytest.approx(sizes["q4_0 → neurons:0.25 → q4_0"], abs=64)
