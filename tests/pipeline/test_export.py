"""Export: what is written elsewhere says what the student said; nothing half-made is left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from gguf import GGUFReader
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_lab.cli.main import main
from distill_lab.models.backend import Backend
from distill_lab.models.loading import (
    for_training,
    load,
    load_model,
    load_student,
    save_student,
)
from distill_lab.run import saved_settings
from distill_lab.run.settings import Config, ModelSettings, data_folder
from distill_lab.tasks.prompts import encode, render
from distill_lab.tasks.squad.task import user_text

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")
RANK = 4
FACTS = "Anna has lived in Rome for 4 years."
QUESTIONS = ("Where does Anna live?", "Who lives in Rome?", "How long has Anna lived in Rome?")


def save_run(out: Path, base: Path, lora_rank: int, learnt: float = 0.5, scale: float = 1) -> Path:
    """The folder of a run whose `kd` student is `base` and something learnt: random numbers."""
    config = Config(models=ModelSettings(str(base), str(base), lora_rank=lora_rank))
    saved_settings.claim_run_folder(config, out)
    torch.manual_seed(1)
    student: Any = for_training(load_model("base", config.models, CPU), lora_rank)
    with torch.no_grad():
        for name, parameter in student.lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=learnt)
            elif not lora_rank and parameter.dim() > 1:
                parameter.mul_(scale * (1 + learnt * torch.randn_like(parameter)))
    save_student(student, out / "students" / "kd" / "model")
    return out


@pytest.fixture(params=[RANK, 0], ids=["lora", "whole"])
def run(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return save_run(tmp_path / "r", tiny_model("llama"), request.param)


@pytest.fixture
def lora_run(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return save_run(tmp_path / "r", tiny_model("llama"), RANK)


def export(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["export", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def answers(lm: Any, tokenizer: Any) -> list[list[int]]:
    made = []
    for question in QUESTIONS:
        prompt = render(user_text(FACTS, question), tokenizer)
        ids = torch.tensor([encode(tokenizer, prompt)])
        made.append(lm.generate(ids, max_new_tokens=12, do_sample=False)[0].tolist())
    return made


def student_of(run: Path) -> Any:
    config = saved_settings.saved(run)
    assert config
    return load_student(run / "students" / "kd" / "model", config.models, CPU)


def merged_by_hand(run: Path) -> dict[str, Tensor]:
    """The base's weights with B A alpha / r added, in float64, where there is an adapter."""
    config = saved_settings.saved(run)
    assert config
    folder = run / "students" / "kd" / "model"
    if not (folder / "adapter_model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    made = load_file(Path(config.models.student) / "model.safetensors")
    added = load_file(folder / "adapter_model.safetensors")
    for name in [n for n in added if n.endswith("lora_A.weight")]:
        a, b = added[name].double(), added[name.replace("lora_A", "lora_B")].double()
        weight = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        made[weight] = made[weight].double() + 2 * b @ a  # alpha is twice the rank
    return made


@pytest.mark.parametrize("rank", [RANK, 0], ids=["lora", "whole"])
def test_merged_is_loaded_by_plain_transformers_and_says_the_same(rank, tmp_path, capsys):
    """A student that has learnt to speak, so that no two tokens are equally likely."""
    base = data_folder() / "tiny_models" / "teacher"
    run = save_run(tmp_path / "r", base, rank, learnt=0.2)
    assert export("--out", run, "--arm", "kd", "--to", "merged") == 0
    dest = run / "exports" / "kd-merged"
    assert str(dest) in capsys.readouterr().out
    assert not list(dest.glob("adapter*"))
    lm = AutoModelForCausalLM.from_pretrained(dest, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(dest)
    assert lm.dtype == torch.float16
    student = student_of(run)
    assert tokenizer.get_vocab() == student.tokenizer.get_vocab()
    said = answers(student.lm, student.tokenizer)
    assert said != answers(AutoModelForCausalLM.from_pretrained(base), tokenizer)
    assert answers(lm, tokenizer) == said


def test_merged_weights_are_rounded_once(run):
    """Not the base to 16 bits and then the sum, which loses most of what LoRA added."""
    assert export("--out", run, "--to", "merged") == 0
    made = load_file(run / "exports" / "kd-merged" / "model.safetensors")
    expected = merged_by_hand(run)
    assert made.keys() == expected.keys()
    for name, weight in made.items():
        assert weight.dtype == torch.float16
        error = (weight.double() - expected[name].double()).abs()
        assert (error <= 2**-11 * 1.01 * expected[name].double().abs() + 2**-24).all(), name


def test_weights_beyond_the_range_of_float16_are_bfloat16(tiny_model, tmp_path):
    run = save_run(tmp_path / "r", tiny_model("llama"), 0, scale=3e6)
    assert export("--out", run, "--to", "merged") == 0
    made = load_file(run / "exports" / "kd-merged" / "model.safetensors")
    assert {weight.dtype for weight in made.values()} == {torch.bfloat16}
    assert all(weight.isfinite().all() for weight in made.values())


def test_the_adapter_is_the_saved_one_and_peft_loads_it(lora_run, tmp_path):
    dest = tmp_path / "elsewhere" / "adapter"
    assert export("--out", lora_run, "--arm", "kd", "--to", "adapter", "--dest", dest) == 0
    saved = lora_run / "students" / "kd" / "model"
    assert {p.name: p.read_bytes() for p in dest.iterdir()} == {
        p.name: p.read_bytes() for p in saved.iterdir()
    }
    config = saved_settings.saved(lora_run)
    assert config
    base: Any = AutoModelForCausalLM.from_pretrained(config.models.student)
    student = student_of(lora_run)
    adapted = PeftModel.from_pretrained(base, str(dest))
    assert answers(adapted, student.tokenizer) == answers(student.lm, student.tokenizer)


# --- GGUF, with a script in the place of llama.cpp's ----------------------------------------------

STAND_IN = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--outfile")
parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0", "auto"])
given = parser.parse_args()
files = sorted(p.name for p in pathlib.Path(given.model).iterdir())
{fate}
pathlib.Path(given.outfile).write_text(json.dumps([files, given.outtype]))
"""


def converter(folder: Path, fate: str = "") -> Path:
    path = folder / "convert_hf_to_gguf.py"
    path.write_text(STAND_IN.format(fate=fate))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("file_type", "asked"), [("f16", "auto"), ("q8_0", "q8_0")])
def test_a_converter_that_is_named_makes_gguf_of_the_merged_weights(
    run, file_type, asked, tmp_path
):
    script = converter(tmp_path)
    more = ["--type", file_type, "--converter", script]
    assert export("--out", run, "--to", "gguf", *more) == 0
    dest = run / "exports" / "kd-gguf"
    assert [p.name for p in dest.iterdir()] == ["kd.gguf"]
    files, kind = json.loads((dest / "kd.gguf").read_text())
    assert kind == asked
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert "adapter_model.safetensors" not in files
    assert [p.name for p in dest.parent.iterdir()] == ["kd-gguf"]


def test_a_converter_on_the_path_is_taken_for_a_layout_that_is_not_known_here(
    tiny_model, tmp_path, monkeypatch, capsys
):
    run = save_run(tmp_path / "r", tiny_model("qwen2"), 0)
    script = converter(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert export("--out", run, "--to", "gguf") == 0
    assert f"written by {script}: expected Llama's layout, found qwen2" in capsys.readouterr().out
    assert json.loads((run / "exports" / "kd-gguf" / "kd.gguf").read_text())[1] == "auto"


# --- GGUF, written here ---------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [RANK, 0], ids=["lora", "whole"])
def test_gguf_is_written_without_llama_cpp_and_says_the_same(rank, tmp_path, monkeypatch, capsys):
    """Loaded by its name as any model is; its tokenizer beside it, as the bundled one needs."""
    run = save_run(tmp_path / "r", data_folder() / "tiny_models" / "teacher", rank, learnt=0.2)
    converter(tmp_path)  # on the PATH, and not needed
    monkeypatch.setenv("PATH", str(tmp_path))
    assert export("--out", run, "--to", "gguf") == 0
    printed = capsys.readouterr().out
    assert "f16 written here" in printed
    assert "tokenizer.json lies beside it" in printed
    assert "matrices" not in printed  # 32 divides all
    dest = run / "exports" / "kd-gguf"
    beside = {"kd.gguf", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {p.name for p in dest.iterdir()} == beside
    assert GGUFReader(dest / "kd.gguf").fields["general.name"].contents() == "kd student of teacher"
    student, exported = student_of(run), load(str(dest / "kd.gguf"), CPU, "base")
    assert exported.tokenizer.eos_token == student.tokenizer.eos_token
    said = answers(student.lm, student.tokenizer)
    assert answers(exported.lm, exported.tokenizer) == said


def test_four_bits_are_smaller_and_what_stays_float16_is_said(tmp_path, capsys):
    sizes = {}
    for name in ("base", "sst2"):
        run = save_run(tmp_path / name, data_folder() / "tiny_models" / name, 0)
        for file_type in ("f16", "q4_0"):
            dest = tmp_path / name / file_type
            more = ("--type", file_type, "--dest", dest)
            assert export("--out", run, "--to", "gguf", *more) == 0
            sizes[name, file_type] = (dest / "kd.gguf").stat().st_size
        printed = capsys.readouterr().out
        assert ("37 matrices stay float16: 32 does not divide" in printed) == (name == "sst2")
    assert sizes["base", "q4_0"] < 0.35 * sizes["base", "f16"]
    assert sizes["sst2", "q4_0"] < sizes["sst2", "f16"]


def test_no_four_bits_from_llama_cpps_converter(lora_run, tmp_path, capsys):
    more = ["--type", "q4_0", "--converter", converter(tmp_path)]
    assert export("--out", lora_run, "--to", "gguf", *more) == 2
    assert "--type: expected f16 or q8_0 with llama.cpp's converter" in one_line(capsys)


def test_without_converter_another_layout_is_refused_and_leaves_nothing(
    tiny_model, tmp_path, monkeypatch, capsys
):
    run = save_run(tmp_path / "r", tiny_model("qwen2"), 0)
    monkeypatch.setenv("PATH", "")
    assert export("--out", run, "--to", "gguf") == 2
    said = one_line(capsys)
    assert "--to gguf: expected Llama's layout, found qwen2; for others llama.cpp's" in said
    assert "convert_hf_to_gguf.py is needed, on the PATH or in --converter" in said
    assert not (run / "exports").exists()


def test_weights_that_float16_does_not_have_leave_nothing(tiny_model, tmp_path, capsys):
    run = save_run(tmp_path / "r", tiny_model("llama"), 0, scale=3e6)
    assert export("--out", run, "--to", "gguf", "--type", "q8_0") == 2
    assert "expected finite weights of at most 65,504" in one_line(capsys)
    assert list((run / "exports").iterdir()) == []


FATES = (
    ("sys.exit('no such architecture')", "ended with 1 and said: no such architecture"),
    ("sys.exit(0)", "ended with 0 and said: nothing"),
)


@pytest.mark.parametrize(("fate", "said"), FATES)
def test_a_converter_that_fails_is_said_and_leaves_nothing(fate, said, lora_run, tmp_path, capsys):
    script = converter(tmp_path, fate)
    assert export("--out", lora_run, "--to", "gguf", "--converter", script) == 2
    assert said in one_line(capsys)
    assert not list((lora_run / "exports").iterdir())


# --- mistakes -------------------------------------------------------------------------------------


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert re.fullmatch(r"distill-lab: .*\n", error)
    return error


MISTAKES = (
    ("--out nowhere", "--out nowhere: expected the folder of a run"),
    ("--out r --arm sft", "Run `distill-lab train` first"),
    ("--out r --to gguf --type q5", "--type: expected one of 'f16', 'q8_0', 'q4_0'; found 'q5'"),
    ("--out r --to gguf --converter no.py", "--converter: expected a file, found none at no.py"),
    ("--out r --to merge", "--to: expected one of 'adapter', 'merged', 'gguf'; found 'merge'"),
    ("--out r --arms kd", "Unknown flag --arms; did you mean --arm?"),
    ("--out r --dest r", "expected a folder that is not there yet"),
)


@pytest.mark.parametrize(("line", "said"), MISTAKES)
def test_a_mistake_is_one_line(line, said, lora_run, monkeypatch, capsys):
    monkeypatch.chdir(lora_run.parent)
    monkeypatch.setenv("PATH", "")
    before = sorted(lora_run.rglob("*"))
    assert export(*line.split()) == 2
    assert said in one_line(capsys)
    assert [p for p in sorted(lora_run.rglob("*")) if p.name != "exports"] == before


def test_a_student_trained_whole_has_no_adapter(tiny_model, tmp_path, capsys):
    run = save_run(tmp_path / "r", tiny_model("llama"), 0)
    assert export("--out", run, "--to", "adapter") == 2
    assert "--to adapter: expected a student with LoRA" in one_line(capsys)


def test_what_is_there_is_not_overwritten_and_what_a_kill_left_is(lora_run, capsys):
    dest = lora_run / "exports" / "kd-merged"
    torn = dest.with_name("kd-merged.partial")
    torn.mkdir(parents=True)
    (torn / "rubbish").write_text("half a file")
    assert export("--out", lora_run) == 0
    assert not torn.exists()
    assert not (dest / "rubbish").exists()
    before = {p: p.stat().st_mtime_ns for p in dest.iterdir()}
    capsys.readouterr()
    assert export("--out", lora_run) == 2
    assert str(dest) in one_line(capsys)
    assert {p: p.stat().st_mtime_ns for p in dest.iterdir()} == before


def test_the_help_names_every_setting_and_loads_no_torch():
    code = (
        "import sys\nfrom distill_lab.cli.main import main\n"
        "try: main(['export', '--help'])\nexcept SystemExit: pass\n"
        "print('loaded:', *{'torch', 'transformers', 'unsloth'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    for flag in ("--out", "--arm", "--to", "--type", "--dest", "--converter"):
        assert flag in done.stdout
