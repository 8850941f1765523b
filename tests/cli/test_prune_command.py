"""`distill-lab prune`: its help, each mistake in one line with exit 2, and a run that is killed and
goes on."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline.pruning.small_runs import small_config
from safetensors.torch import load_file

from distill_lab.cli.main import main
from distill_lab.pipeline.pruning import settings as settings_module
from distill_lab.pipeline.pruning.runner import STAGES
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig
from distill_lab.run.saved_settings import (
    bounds_of_settings,
    check,
    flag,
    from_json,
    settings,
)

MISTAKES = (
    ("run --prune.methods wanda:0", "--prune.methods: expected a share above 0 and below 1"),
    ("run --prune.methods wanda:1", "--prune.methods: expected a share above 0 and below 1"),
    ("run --prune.methods wanda:1.5", "--prune.methods: expected a share above 0 and below 1"),
    ("run --prune.methods wanda:nan", "--prune.methods: expected a share above 0 and below 1"),
    ("run --prune.methods magnitude:0.5", "--prune.methods: expected a method and its amount"),
    ("run --recover.methods blocks:3", "--recover.methods: expected methods that --prune.methods"),
    ("recover --recover.seeds 0", "--recover.seeds: expected 1 or more, found 0."),
    ("adapt --adapt.enough nan", "--adapt.enough: expected 0 to 100, found nan."),
    ("run --profile tinny", "--profile: expected one of tiny, cpu, colab; found 'tinny'."),
    ("run --prune.method wanda:0.5", "Unknown flag --prune.method; did you mean --prune.methods?"),
    ("run --runtime.dtype int8", "--runtime.dtype: expected one of"),
    ("distil", "Unknown command distil"),
    ("prune", "Run `distill-lab prune adapt` first"),
    ("report", "Run `distill-lab prune adapt` first"),
)


@pytest.mark.parametrize(("line", "says"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["prune", *line.split()])
    stderr = capfd.readouterr().err
    assert ended.value.code == 2
    assert stderr.startswith("distill-lab: ")
    assert says in stderr
    assert stderr.count("\n") == 1


def test_mistakes_and_help_load_neither_torch_nor_transformers(tmp_path):
    code = (
        "import sys\nfrom distill_lab.cli.main import main\n"
        "for words in (['--help'], ['run', '--help'], ['run', '--prune.methods', 'wanda:2']):\n"
        "    try: main(['prune', *words])\n    except SystemExit: pass\n"
        "print('loaded:', *{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    for stage in STAGES:
        assert re.search(rf"• {stage} +[A-Z]", done.stdout)


def test_the_help_names_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["prune", "prune", "--help"])
    stdout = re.sub(r"[\s│]+", "", capsys.readouterr().out)
    assert ended.value.code == 0
    bounds = bounds_of_settings(PruningConfig)
    for name, default in settings(PruningConfig()):
        shown = " ".join(default) if isinstance(default, tuple) else default
        shown = f"{shown}; {bounds[name]}" if name in bounds else shown
        assert flag(name) in stdout
        assert re.sub(r"\s+", "", f"(default: {shown})") in stdout, name


def test_every_setting_has_a_help_text():
    classes = [k for k in ast.parse(inspect.getsource(settings_module)).body
               if isinstance(k, ast.ClassDef)]  # fmt: skip
    for kind in classes:
        for line, after in itertools.pairwise(kind.body):
            if isinstance(line, ast.AnnAssign) and kind.name not in ("TaskConfig", "PruningConfig"):
                assert isinstance(after, ast.Expr), ast.unparse(line)
                assert ast.literal_eval(after.value).endswith(".")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_possible_and_is_saved_whole(name):
    config = PROFILES[name]
    check(config)
    settings_module.profile(name)
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_json(saved, PruningConfig) == config
    assert {*config.recover.methods} <= {*config.prune.methods}
    assert config.adapt.batch_size % config.runtime.micro_batch == 0
    assert config.recover.batch_size % config.runtime.micro_batch == 0


def test_a_folder_of_another_command_is_refused(tmp_path, capfd):
    from distill_lab.run.saved_settings import write_config
    from distill_lab.run.settings import Config

    write_config(Config(), tmp_path / "config.json")
    with pytest.raises(SystemExit) as ended:
        main(["prune", "run", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "expected the settings of a run, found another file" in capfd.readouterr().err


def flags_of(config: PruningConfig) -> list[str]:
    """The settings that are not `tiny`'s, as flags."""
    usual, words = dict(settings(PruningConfig())), list[str]()
    for name, value in settings(config):
        if value != usual[name]:
            values = value if isinstance(value, tuple) else (value,)
            words += [flag(name), *map(str, values)]
    return words


def left(out: Path) -> dict[str, bytes]:
    """What a run leaves: weights and masks byte for byte, scores in any order."""
    files = [*out.rglob("*.safetensors"), *out.glob("reviews.*"), *out.glob("scores/*")]
    return {
        str(path.relative_to(out)): _content(path)
        for path in files
        if "checkpoint" not in str(path) and "partial" not in str(path)
    }


def _content(path: Path) -> bytes:
    if path.suffix != ".safetensors":
        return b"\n".join(sorted(path.read_bytes().splitlines()))
    tensors = load_file(path)  # the order of a file's metadata is not the same each time
    return b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))


@pytest.mark.slow
def test_four_kills_change_nothing(tmp_path):
    config = small_config(tmp_path, ("wanda:0.5", "blocks:1", "magnitude-row:0.5"), steps=6)
    command = [sys.executable, "-m", "distill_lab", "prune", "run", *flags_of(config), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(out: str) -> list[str]:
        return [*command, str(tmp_path / out)]

    start = time.monotonic()
    subprocess.run(run("whole"), check=True, capture_output=True, env=environment)
    took, chance = time.monotonic() - start, random.Random()
    moments = [chance.uniform(0.15, 0.7) * took for _ in range(4)]
    print("killed after", [f"{moment:.1f}" for moment in moments])  # shown if the test fails
    for moment in moments:
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(
            run("killed"), stdout=nowhere, stderr=nowhere, env=environment
        ) as process:
            time.sleep(moment)
            process.kill()
    subprocess.run(run("killed"), check=True, capture_output=True, env=environment)
    assert left(tmp_path / "killed") == left(tmp_path / "whole")
    assert len(left(tmp_path / "whole")) == 2 + (1 + 3 + 4) * 2 + 2
