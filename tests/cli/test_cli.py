"""Each mistake of the user's is one line and exit 2, and leaves nothing half written."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_lab.cli.commands import COMMANDS, Run
from distill_lab.cli.main import main
from distill_lab.cli.parsing import read
from distill_lab.pipeline.runner import STAGES
from distill_lab.run import settings as config_module
from distill_lab.run.records import Trace, write_records
from distill_lab.run.saved_settings import bounds_of_settings, flag, settings
from distill_lab.run.settings import PROFILES, Config

Command = Callable[..., tuple[int, str, str]]


def parsed(*arguments: str) -> tuple[Config, Path]:
    """The settings and the folder that a run's arguments come to."""
    settings = read("distill-lab", COMMANDS, ["run", *arguments]).args[0]
    assert isinstance(settings, Run)
    return settings.config, settings.out


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """`command("data --out r")` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(line.split())
        assert isinstance(stopped.value.code, int)
        stdout, stderr = capfd.readouterr()
        return stopped.value.code, stdout, stderr

    return run


def one_line(done: tuple[int, str, str]) -> str:
    """What a user's mistake must come to: exit 2 and one line on stderr."""
    code, _, stderr = done
    assert code == 2
    assert stderr.startswith("distill-lab: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    return stderr


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def squad(answer: str = "Rome", n: int = 3) -> dict[str, Any]:
    """A good SQuAD file of `n` questions."""
    context = "Anna lives in Rome. Her brother lives in Paris."
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    entries = [
        {"id": f"{answer}{k}", "question": "Where?" + "?" * k, "answers": answers} for k in range(n)
    ]
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": entries}]}]}


@pytest.fixture
def good(tmp_path: Path) -> str:
    """The flags of a small run on hand-made questions, in the folder `r`."""
    for name, answer in (("train", "Rome"), ("eval", "Paris")):
        (tmp_path / f"{name}.json").write_text(json.dumps(squad(answer)))
    return "--data.train train.json --data.eval eval.json --out r"


# -- help


@pytest.mark.parametrize("line", ["", "--help", "-h"])
def test_help_lists_every_command_and_profile(line, command):
    code, stdout, stderr = command(line)
    assert (code, stderr) == (0, "")
    for name in ("run", *STAGES, "doctor", "score", "check-data"):
        assert re.search(rf"• {name} +[A-Z]", stdout)
    assert all(name in stdout for name in PROFILES)


def docstrings() -> dict[str, str]:
    """The help of each setting, `section.name`, read from the source."""
    found = {}
    sections = {str(f.type): f.name for f in Config.__dataclass_fields__.values()}
    for kind in ast.parse(inspect.getsource(config_module)).body:
        if isinstance(kind, ast.ClassDef) and kind.name in sections:
            for line, after in zip(kind.body, kind.body[1:], strict=False):
                if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr):
                    name = f"{sections[kind.name]}.{ast.unparse(line.target)}"
                    found[name] = ast.literal_eval(after.value)
    return found


def squeezed(text: str) -> str:
    return re.sub(r"[\s│]+", "", text)


@pytest.mark.parametrize("name", ["run", "generate"])
def test_help_of_a_stage_names_every_setting_with_its_help_and_default(name, command):
    code, stdout, stderr = command(f"{name} --help")
    assert (code, stderr) == (0, "")
    assert f"usage: distill-lab {name} " in stdout
    for flag_of_run in ("--profile", "--out"):
        assert flag_of_run in stdout
    helps, bounds = docstrings(), bounds_of_settings()
    for setting, default in settings(Config()):
        if setting.startswith("own."):  # of studies alone
            assert flag(setting) not in stdout
            continue
        assert f"{flag(setting)}" in stdout
        shown = f"{default}; {bounds[setting]}" if setting in bounds else default
        assert squeezed(f"{helps[setting]} (default: {shown})") in squeezed(stdout)


def test_help_shows_the_profiles_defaults(command):
    _, stdout, _ = command("run --profile cpu --help")
    assert "(default: rajpurkar/squad)" in squeezed(stdout).replace("(default:", "(default: ")


@pytest.mark.parametrize("name", ["doctor", "score", "check-data"])
def test_help_of_a_command_on_files(name, command):
    code, stdout, _ = command(f"{name} --help")
    assert code == 0
    assert stdout.startswith(f"usage: distill-lab {name}")


LIGHT = (
    ["--help"],
    ["run", "--help"],
    ["doctor", "--help"],
    ["grade", "--help"],
    ["notebooks", "figures", "--help"],
    ["run", "--train.alpha", "x"],
    ["check-data", "train.json"],
)


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_help_mistakes_and_files_load_neither_torch_nor_transformers(arguments, good, tmp_path):
    code = (
        "import sys\nfrom distill_lab.cli.main import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "print('loaded:', *{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "loaded:"


# -- settings


PARSED = (
    ("--train.alpha 0.3", "train.alpha", 0.3),
    ("--train.alpha=0.3", "train.alpha", 0.3),
    ("--train.alpha 0.1 --train.alpha=0.3", "train.alpha", 0.3),
    ("--train.learning-rate 1e-4", "train.learning_rate", 1e-4),
    ("--train.learning_rate 1e-4", "train.learning_rate", 1e-4),
    ("--generate.n-samples 8", "generate.n_samples", 8),
    ("--data.strict", "data.strict", True),
    ("--data.no-strict", "data.strict", False),
    ("--data.strict --data.no-strict", "data.strict", False),
    ("--models.teacher-4bit", "models.teacher_4bit", True),
    ("--models.no-teacher-4bit", "models.teacher_4bit", False),
    ("--reject.keep at-most-k", "reject.keep", "at-most-k"),
    ("--models.teacher a/b", "models.teacher", "a/b"),
    ("--profile cpu", "models.lora_rank", 16),
    ("--profile tiny --profile cpu", "models.lora_rank", 16),
    ("--profile=cpu --models.lora-rank 1", "models.lora_rank", 1),
    ("--models.lora-rank 1 --profile cpu", "models.lora_rank", 1),
)


@pytest.mark.parametrize(("line", "name", "value"), PARSED)
def test_a_setting_is_taken_as_it_is_given(line, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, _ = parsed(*line.split())
    assert dict(settings(config))[name] == value


def test_all_that_is_not_given_is_the_profiles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, expected in PROFILES.items():
        assert parsed("--profile", name) == (expected, Path("runs") / name)
    assert parsed() == (PROFILES["tiny"], Path("runs/tiny"))
    assert parsed("--out", "a", "--out=b") == (PROFILES["tiny"], Path("b"))


def test_without_a_profile_the_folders_own_settings_hold(good, command, tmp_path):
    assert command(f"data {good} --data.n-train 2 --generate.seed 7")[0] == 0
    before, _ = parsed("--out", "r")
    assert (before.data.n_train, before.data.train, before.generate.seed) == (2, "train.json", 7)
    changed, _ = parsed("--out", "r", "--generate.seed", "8")
    assert (changed.data.n_train, changed.generate.seed) == (2, 8)
    asked, _ = parsed("--out", "r", "--profile", "tiny")
    assert asked == PROFILES["tiny"]
    assert command("data --out r")[0] == 0
    assert len((tmp_path / "r" / "questions.train.jsonl").read_text().splitlines()) == 2


MISTAKES = (
    ("--train.alpha 1.5", "--train.alpha: expected 0 to 1, found 1.5."),
    ("--train.alpha -0.5", "--train.alpha: expected 0 to 1, found -0.5."),
    ("--train.alpha nan", "--train.alpha: expected 0 to 1, found nan."),
    ("--train.temperature 0", "--train.temperature: expected 0.001 or more, found 0.0."),
    ("--generate.n-samples 0", "--generate.n-samples: expected 1 or more, found 0."),
    ("--generate.n-samples abc", "--generate.n-samples: expected a whole number, found 'abc'."),
    ("--generate.n-samples 1.5", "--generate.n-samples: expected a whole number, found '1.5'."),
    ("--generate.n-samples=", "--generate.n-samples: expected a whole number, found ''."),
    ("--train.alpha half", "--train.alpha: expected a number, found 'half'."),
    ("--train.alpha", "--train.alpha: expected a value, found none."),
    ("--profile", "--profile: expected a value, found none."),
    ("--profile laptop", "one of tiny, cpu, colab, cluster; found 'laptop'."),
    ("--profile=", "one of tiny, cpu, colab, cluster; found ''."),
    ("--reject.keep most", "'all', 'first', 'shortest', 'at-most-k'; found 'most'."),
    ("--trian.alpha 0.3", "Unknown flag --trian.alpha; did you mean --train.alpha?"),
    ("--alpha=0.3", "Unknown flag --alpha=0.3; did you mean --train.alpha?"),
    ("--n-samples 3", "Unknown flag --n-samples; did you mean --generate.n-samples?"),
    ("--zzz", "Unknown flag --zzz; see `distill-lab data --help`."),
    ("--data.no-n-train 3", "Unknown flag --data.no-n-train; did you mean --data.n-train?"),
    ("--data.strict yes", "found yes"),
    ("here", "found here"),
)


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_setting_that_is_none_is_one_line_and_writes_nothing(line, message, command, tmp_path):
    assert message in one_line(command(f"data {line}"))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("genrate", "Unknown command genrate; did you mean generate?"),
        ("notebooks biuld", "Unknown command biuld; did you mean build?"),
        ("notebooks", "Expected one of 'build', 'check', 'figures'; found nothing."),
        ("check", "did you mean check-data?"),
        ("xyzzy", "see `distill-lab --help`"),
        ("check_data some.json", "some.json: expected a SQuAD 1.1 or 2.0 JSON file"),
        ("-- run", "Expected one of 'run', 'data', "),
        ("--version", "see `distill-lab --help`"),
        ("score one.json", "Expected PREDICTIONS, found none; see `distill-lab score --help`"),
        ("check-data", "Expected FILE, found none"),
        ("check-data a b", "found b"),
        ("grade lab5a", "Expected `distill-lab grade LAB SUBMISSIONS --out DIR`"),
        ("grade --self-test", "found neither"),
        ("grade lab5a marks --job 2", "Unknown flag --job; did you mean --jobs?"),
        ("export --arm rft", "--arm: expected one of 'sft', 'kd'; found 'rft'."),
        ("doctor now", "Expected flags and their values, found now"),
    ],
)
def test_a_command_that_is_none_is_one_line(line, message, command, tmp_path):
    assert message in one_line(command(line))
    assert files(tmp_path) == []


# -- data


BAD_FILES = {
    "missing": (None, "no such file"),
    "empty": ("", "an empty file"),
    "truncated": (json.dumps(squad())[:-40], "JSON that breaks at line 1"),
    "of another schema": ('{"rows": []}', 'no list "data"'),
    "a list": ("[]", "a list"),
    "of no questions": ('{"data": []}', "none among 0"),
    "of no answers": (json.dumps(squad()).replace("answers", "replies"), "missing_key 3"),
    "of wrong answers": (json.dumps(squad()).replace('start": 14', 'start": 3'), "wrong_offset 3"),
}


@pytest.mark.parametrize("which", ["train", "eval"])
@pytest.mark.parametrize(("text", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_data_file_is_one_line(text, message, which, command, good, tmp_path):
    (tmp_path / "bad.json").write_text(text) if text is not None else None
    error = one_line(command(f"run {good} --data.{which} bad.json"))
    assert "bad.json" in error
    assert message in error
    assert not (tmp_path / "r" / "questions.train.jsonl").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(("text", "message"), list(BAD_FILES.values())[:5])
def test_check_data_names_a_bad_file_too(text, message, command, tmp_path):
    (tmp_path / "bad.json").write_text(text) if text is not None else None
    assert message in one_line(command("check-data bad.json"))


def test_check_data_prints_json(command, tmp_path):
    data = squad(n=2)
    data["data"][0]["paragraphs"] += squad("Paris", n=1)["data"][0]["paragraphs"]
    data["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] = 1
    (tmp_path / "some.json").write_text(json.dumps(data))
    code, stdout, stderr = command("check-data some.json")
    expected = {"questions": 3, "kept": 2, "problems": {"wrong_offset": ["Paris0"]}}
    assert (code, json.loads(stdout), stderr) == (0, expected, "")


def test_score_prints_json(command, tmp_path):
    (tmp_path / "data.json").write_text(json.dumps(squad(n=2)))
    (tmp_path / "said.json").write_text(json.dumps({"Rome0": "the Rome", "Rome1": "Rome, Italy"}))
    code, stdout, stderr = command("score data.json said.json")
    assert (code, stderr) == (0, "")
    scores = json.loads(stdout)
    assert scores["exact_match"] == 50  # "Rome, Italy" has precision 1/2 and recall 1
    assert scores["f1"] == pytest.approx((100 + 200 / 3) / 2)


# -- the folder


def test_a_stage_whose_input_is_missing_names_the_stage_that_makes_it(good, command, tmp_path):
    one = one_line(command(f"generate {good}"))
    assert "questions.train.jsonl" in one
    assert "`distill-lab data`" in one
    for stage, missing, maker in (
        ("reject", "traces.jsonl", "generate"),
        ("train", "examples.jsonl", "reject"),
        ("evaluate", "questions.eval.jsonl", "data"),
        ("report", "questions.train.jsonl", "data"),
    ):
        error = one_line(command(f"{stage} --out r"))
        assert missing in error
        assert f"`distill-lab {maker}`" in error
    assert command("data --out r")[0] == 0
    assert "students/sft/model" in (error := one_line(command("evaluate --out r")))
    assert "`distill-lab train`" in error
    assert set(files(tmp_path / "r")) == {
        "config.json",
        "run.json",
        "questions.train.jsonl",
        "questions.eval.jsonl",
    }


def test_a_setting_that_would_change_kept_records_is_refused(good, command, tmp_path):
    assert command(f"data {good}")[0] == 0
    trace = Trace("Rome0", 0, "text", 1, "stop", "bundled", "0")
    write_records(tmp_path / "r" / "traces.jsonl", [trace])
    before = {name: (tmp_path / "r" / name).read_bytes() for name in files(tmp_path / "r")}
    for line, old, new in (
        ("--generate.temperature 0.9", "1.0", "0.9"),
        ("--generate.n-samples 2", "4", "2"),
        ("--models.teacher other", "bundled", "other"),
        ("--data.train eval.json", "train.json", "eval.json"),
        ("--profile tiny", "train.json", "bundled"),
    ):
        for stage in ("run", "generate", "data", "report"):
            error = one_line(command(f"{stage} --out r {line}"))
            assert f"{old}, now {new} is asked for" in error
            assert "traces.jsonl" in error
    assert {name: (tmp_path / "r" / name).read_bytes() for name in before} == before
    assert command("data --out r --data.n-eval 2")[0] == 0  # which no trace depends on


@pytest.mark.parametrize(
    "place", ["train.json", "train.json/r", "/proc/r", "/dev/null/r"], ids=lambda place: place
)
def test_a_folder_that_cannot_be_written_is_one_line(place, good, command, tmp_path):
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    before = files(tmp_path)
    error = one_line(command(f"run {good} --out {place}"))
    assert place.split("/r")[0] in error
    assert files(tmp_path) == before


def test_a_read_only_folder_is_one_line(good, command, tmp_path):
    (tmp_path / "r").mkdir(mode=0o500)
    if os.access(tmp_path / "r", os.W_OK):
        pytest.skip("nothing is read-only for this user")
    assert "Permission denied" in one_line(command(f"run {good}"))
    assert files(tmp_path / "r") == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"profile": "ti'])
def test_a_folder_of_something_else_is_left_alone(text, good, command, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_text(text)
    assert "Choose another --out" in one_line(command(f"run {good}"))
    assert (tmp_path / "r" / "config.json").read_text() == text
    assert files(tmp_path / "r") == ["config.json"]


SMALL_DISK = """
import resource, sys
from distill_lab.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # a larger file fails as on a full disk
main(sys.argv[1:])
"""


def test_a_full_disk_is_one_line_and_leaves_the_old_files(good, command, tmp_path):
    pytest.importorskip("resource")
    assert command(f"data {good}")[0] == 0
    before = {name: (tmp_path / "r" / name).read_bytes() for name in files(tmp_path / "r")}
    (tmp_path / "train.json").write_text(json.dumps(squad(n=50)))
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, "data", "--out", "r"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )  # fmt: skip
    assert "too large" in one_line((done.returncode, done.stdout, done.stderr))
    assert {name: (tmp_path / "r" / name).read_bytes() for name in files(tmp_path / "r")} == before


def test_a_disk_that_fills_up_with_traces_is_said_after_the_progress(
    good, command, tiny_model, tmp_path
):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert command(f"data {good} --models.teacher {tiny_model('llama')}")[0] == 0
    (tmp_path / "r" / "traces.jsonl").symlink_to("/dev/full")
    code, _, stderr = command("generate --out r --generate.max-new-tokens 2 --runtime.device cpu")
    assert code == 2
    assert re.fullmatch(
        r"distill-lab: writing: No space left on device\. .*", stderr.splitlines()[-1]
    )
    assert "Traceback" not in stderr
    assert not list(tmp_path.rglob("*.tmp"))


HALF_WRITTEN = """
import resource, torch
from distill_lab.cli.main import why_not_written
from safetensors.torch import save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for save in (save_file, torch.save):
    try:
        save({"weights": torch.zeros(9000)}, "file")
    except Exception as error:
        assert not isinstance(error, OSError)
        print(why_not_written(error))
print(why_not_written(RuntimeError("expected scalar type Half")))
"""


def test_libraries_that_cannot_write_a_file_are_told_from_their_other_errors(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", HALF_WRITTEN],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "File too large",
        "only a part of a file was taken",
        "None",
    ]


@pytest.mark.parametrize("name", ["/no/such/model", "no-such/model", "nowhere", "train.json", "."])
def test_an_unknown_model_is_one_line(name, good, command, tmp_path):
    assert command(f"data {good} --models.teacher {name} --runtime.device cpu")[0] == 0
    error = one_line(command("generate --out r"))
    assert repr(name) in error or f" {name}:" in error
    traces = tmp_path / "r" / "traces.jsonl"
    assert not traces.exists() or traces.read_text() == ""
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_unknown_device_is_one_line(good, command):
    assert command(f"data {good}")[0] == 0
    error = one_line(command("generate --out r --runtime.device abacus"))
    assert "--runtime.device" in error
    assert "'abacus'" in error


def headings(stdout: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in stdout.splitlines() if line[0] != " ")


DOCTORS = {"python", "memory", "gpu", "packages", "backend", "profile", "start"}
PREDICTED = {"predicted", "fits", "time", "own"}


def test_doctor_says_what_would_be_used_and_why(command):
    code, stdout, stderr = command("doctor")
    assert (code, stderr) == (0, "")
    lines = headings(stdout)
    assert set(lines) - {"download"} == DOCTORS | PREDICTED
    assert lines["profile"] in PROFILES
    assert lines["start"].endswith(f"--out runs/{lines['profile']}")
    assert stdout.count("because: ") == 2
    assert not re.search(r"\b0\.0 GiB", stdout)


def test_doctor_predicts_for_a_card_that_is_not_here(command):
    code, stdout, stderr = command("doctor --profile colab --gpu t4")
    assert (code, stderr) == (0, "")
    lines = headings(stdout)
    assert set(lines) == DOCTORS | PREDICTED | {"download"}
    assert "colab on one T4, float16" in lines["predicted"]
    assert lines["fits"].startswith("yes: the most is evaluate's 12.2 GB of 14.7 GB")
    assert "unsloth/Qwen2.5-7B-Instruct-bnb-4bit 5.5 GB" in lines["download"]
    assert lines["start"].endswith("--profile colab --out runs/colab")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--gpu t4 --runtime.sample-batch 64", "Lower --runtime.sample-batch to 32."),
        ("--gpu t4 --train.max-length 4096", "Lower --runtime.micro-batch to 1."),
        ("--gpu=t4 --models.no-teacher-4bit", "Add --models.teacher-4bit or take a smaller"),
        ("--gpu t4 --train.cache none --runtime.micro-batch 8", "Take --train.cache topk"),
        ("--gpu t4 --models.student Qwen/Qwen2.5-7B-Instruct", "take a smaller --models.student"),
    ],
)
def test_doctor_says_what_to_lower(flags, said, command):
    code, stdout, _ = command(f"doctor --profile colab {flags}")
    assert code == 0
    assert said in stdout
    assert headings(stdout)["fits"].startswith("no: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doctor --gpu abacus", "--gpu: expected one of t4, l4, a100, a100-80, h100"),
        ("doctor --gpu", "--gpu: expected a value, found none."),
        ("doctor --profile nope", "--profile: expected one of"),
        ("doctor --gpus t4", "Unknown flag --gpus"),
    ],
)
def test_a_mistake_in_doctors_flags_is_one_line(line, message, command):
    assert message in one_line(command(line))


def test_doctor_says_what_the_arms_of_own_samples_take_and_what_to_lower(command):
    """On a T4 they have no room with the group that the settings begin with; advice that is
    followed ends it."""
    _, stdout, _ = command("doctor --profile colab --gpu t4")
    advice = re.search(r"no room in 14.7 GB for rft, grpo, on-policy. Lower (\S+) to (\d+)", stdout)
    assert advice
    assert advice.groups() == ("--own.group", "4")  # as the handbook says
    for card in ("t4", "a100"):
        code, stdout, _ = command(
            f"doctor --profile colab --gpu {card} {' '.join(advice.groups())}"
        )
        assert (code, "no room" in stdout) == (0, False)
        assert re.search(r"rft [\d.]+ to .*, grpo .*, on-policy .*: one student of a study", stdout)
    _, stdout, _ = command("doctor --profile colab --gpu t4 --train.max-length 8192")
    assert "Lower --train.max-length or take smaller models." in stdout


def test_a_flag_of_another_command_is_not_offered_for_itself(command):
    assert "did you mean --own.group?" not in one_line(command("run --own.group 4"))


def test_doctor_says_where_a_model_is_not_known(command):
    code, stdout, _ = command("doctor --models.teacher some-lab/unheard-of")
    assert code == 0
    assert "nothing: Model 'some-lab/unheard-of'" in headings(stdout)["predicted"]


def test_python_m_is_the_same_program():
    command = [sys.executable, "-m", "distill_lab", "xyzzy"]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert "Unknown command" in one_line((done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line", ["--help", "run --help", "grade --help", "notebooks --help", "check-data squad.json"]
)
def test_a_reader_that_has_gone_is_no_traceback(line, unbuffered, tmp_path):
    """`distill-lab … | head -1`: what is printed waits in a buffer, so some comes after the end."""
    (tmp_path / "squad.json").write_text('{"data": []}', encoding="utf-8")
    root = Path(__file__).parent.parent.parent
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "distill_lab", *line.split()],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": unbuffered},
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("line", ["doctor", "doctor --help", "run --help"])
def test_what_a_machine_can_run_is_said_whatever_lies_in_the_default_folder(line, command):
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/config.json").write_text("{}")
    status, out, _ = command(line)
    assert not status
    assert "profile" in out
