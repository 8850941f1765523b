"""The benchmarks themselves: that contenders do equal work, and that figures are what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import ask_bench, blocks_bench, loss_bench, sampling_bench, training_bench
from benchmarks.__main__ import chosen
from benchmarks.loss_inputs import make
from benchmarks.measure import ROOT, Case, NoRun, Result, Run, UnavailableError, run_once
from benchmarks.plot import draw
from benchmarks.table import NAMES, TARGETS, markdown
from benchmarks.worker import measured

ABOUT = {
    "cpu": "CPU", "cores": 2, "memory": 8.0, "system": "Linux", "threads": 2, "load": 0.0,
    "commit": "abc", "date": "2026-01-01", "minutes": 1.0, "command": "c", "repeats": 3,
    "quick": False, "versions": {"trl": "9.9"},
}  # fmt: skip


def result(name: str, **cpu: float | NoRun) -> Result:
    case = Case(name, f"the case {name}", "loss_bench", tuple(cpu), {"positions": 4})
    made = Result(case)
    for contender, value in cpu.items():
        for factor in (1, 3, 2):  # the median is the middle one in size, not in order
            answer = value if isinstance(value, NoRun) else Run(value, value * factor, 5e6, 9e6)
            made.add(contender, answer)
    return made


def test_every_case_can_be_shown_and_every_target_has_its_case():
    cases = [*chosen((), quick=False), *chosen(("blocks", "ask"), quick=False)]
    assert {c for case in cases for c in case.contenders} <= NAMES.keys()
    assert {target.case for target in TARGETS} <= {case.name for case in cases}
    assert all(set(case.seldom) < set(case.contenders) for case in cases)


def test_asking_needs_a_run(tmp_path):
    with pytest.raises(UnavailableError, match="`make lab` makes that run"):
        ask_bench.prepare("ours", {"run": str(tmp_path)})


def test_a_name_that_is_no_case_is_refused_with_those_that_are():
    with pytest.raises(SystemExit, match="loss-whole"):
        chosen(("losses",), quick=True)


@pytest.mark.parametrize("name", ["loss", "loss-whole", "loss-cached"])
def test_contenders_do_equal_work(name):
    """Same KL (torchtune's is a cross-entropy) and same gradient as full logits and autograd."""
    [case] = [case for case in loss_bench.cases(quick=True) if case.name == name]
    found = {}
    for contender in set(case.contenders) - {"products", "ours_with_ce"}:
        try:
            found[contender] = loss_bench.prepare(contender, case.settings)()
        except loss_bench.UnavailableError:  # its peer is not in this environment
            continue
    sparse = {"ours_cached", "trl_sparse"}
    for like in (found.keys() & sparse, found.keys() - sparse):
        for what in ("gradient", "kl"):
            same = [found[c][what] for c in sorted(like) if (c, what) != ("torchtune", "kl")]
            assert same == pytest.approx(same[:1] * len(same))


def test_the_products_are_those_that_cannot_be_done_without():
    case = loss_bench.cases(quick=True)[0]
    x = make(case.settings)
    n, v = 32, 2_000  # half of 64 positions
    assert loss_bench.flops(x, trainable=False) == 2 * n * v * (2 * 32 + 48)
    assert loss_bench.flops(x, trainable=True) == 2 * n * v * (3 * 32 + 48)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is reset on Linux alone")
def test_peak_memory_is_that_of_the_work_and_not_of_what_came_before():
    torch.ones(60_000_000).sum()  # 240 MB, gone before the work begins
    found = measured(lambda: {"sum": torch.ones(25_000_000).sum().item()})
    assert found["peak"] == pytest.approx(100e6, rel=0.2)
    assert found["found"] == {"sum": 25_000_000}


def test_a_run_has_a_process_of_its_own_and_its_failure_is_told():
    case = loss_bench.cases(quick=True)[0]
    run, other = run_once("loss_bench", "products", [case.settings] * 2, threads=1)
    assert isinstance(run, Run)
    assert isinstance(other, Run)
    assert run.whole > run.peak
    [broken] = run_once("loss_bench", "products", [{}], threads=1)
    assert broken == NoRun("failed with exit code 1: KeyError: 'positions'", failed=True)


def test_the_table_holds_each_target_against_its_bound_and_each_peer_with_its_reason():
    made = result(
        "loss",
        ours=1.0,
        full_logits=1.6,
        trl_chunked_torch=2.5,
        products=0.9,
        trl_chunked_triton=NoRun("no driver"),
        liger=NoRun("crashed", failed=True),
    )
    page = markdown([made], ABOUT, "a picture")
    rows = dict(re.findall(r"\| the case loss \| (.*?) \| (.*?) \|\n", page))
    assert rows["CPU time, TRL's chunked loss / ours"] == "at least 2.5 | 2.50 | yes"
    assert rows["CPU time, full logits of the completion / ours"] == "at least 1.7 | 1.60 | **no**"
    assert rows["share of the matrix products' rate"] == "at least 0.8 | 0.90 | yes"
    assert "TRL 9.9, chunked loss (Triton): no driver" in page
    assert "| ours | 2.00 | 1.00 | 1.00 | 5 | 3 | 100% |" in page
    assert "![a picture](bench.png)" in page
    assert made.failed == {"liger"}


def test_the_picture_says_in_words_what_it_shows(tmp_path):
    growth = [result("loss-tokens", ours=1.0, full_logits=2.0) for _ in range(2)]
    alt = draw([result("loss", ours=1.0, liger=2.0), *growth], {}, tmp_path / "bench.png")
    assert "ours 2 s and 5 MB" in alt
    assert "completion tokens" in alt
    assert (tmp_path / "bench.png").stat().st_size > 5_000


def test_useful_tokens_end_with_the_answer_or_the_end_token():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "tiny_models" / "teacher")
    ids = tokenizer("<think>So.</think> <answer>A</answer>", add_special_tokens=False).input_ids
    end = tokenizer.eos_token_id
    assert sampling_bench._useful([*ids, *ids], tokenizer) == len(ids)
    assert sampling_bench._useful([*ids[:3], end, *ids], tokenizer) == 4
    assert sampling_bench._useful(ids[:3], tokenizer) == 3


def blocks_result(**seconds: tuple[int, list[float]]) -> Result:
    """Of each contender its blocks, and its rounds' seconds a token; prefill takes a tenth."""
    made = Result(Case("blocks", "t", "blocks_bench", tuple(seconds), {}))
    for contender, (blocks, rounds) in seconds.items():
        for decode in rounds:
            found = {"blocks": blocks, "decode": decode, "prefill": decode / 10}
            made.add(contender, Run(1.0, 1.0, 0.0, 0.0, found))
    return made


def test_blocks_beside_what_the_line_of_the_others_predicts():
    made = blocks_result(
        dense=(30, [0.070, 0.070, 0.140]),
        fewer_3=(27, [0.064, 0.056, 0.128]),  # its own times are not in its line
        fewer_6=(24, [0.058, 0.058, 0.058]),
        fewer_9=(21, [0.052, 0.052, 0.052]),
        wanda_50=(30, [0.070, 0.070, 0.070]),
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in blocks_bench.table(made).splitlines()]  # fmt: skip
    assert rows[2] == ["dense", "30", "70", "", "", "7", "", ""]
    # rounds are paired: 70/64, 70/56, 140/128; the line 2 L + 10 of the others says 70/64
    assert rows[3][2:5] == ["64", "1.09 (1.09–1.25)", "1.09"]
    assert rows[5][2:5] == ["52", "1.35 (1.35–2.69)", "1.35"]
    assert rows[6][3:5] == ["1.00 (1.00–2.00)", "1.00"]
    assert [len(row) for row in rows] == [8] * 7


def test_a_line_needs_two_other_numbers_of_blocks_and_what_did_not_run_is_told():
    made = blocks_result(dense=(4, [0.1]), fewer_3=(3, [0.08]))
    assert blocks_bench.prediction(made, "fewer_3", "decode") is None
    case = Case("blocks", "t", "blocks_bench", ("dense", "fewer_9"), {})
    assert blocks_bench.table(replace(made, case=case)).endswith(
        "| 9 blocks less | – | – | – | – | – | – | – |"
    )


def test_what_is_timed_is_what_its_name_says():
    from distill_lab.models.pruning.layout import blocks, prunable

    models = {c: blocks_bench.pruned(c, "bundled") for c in blocks_bench.CONTENDERS}
    assert [len(blocks(model)) for model in models.values()] == [4, 3, 3, 2, 4]
    for linear in prunable(models["wanda_50"]).values():
        assert set((linear.weight == 0).sum(1).tolist()) == {linear.in_features // 2}


def test_the_measured_table_is_put_into_the_handbook_and_held_there(tmp_path):
    from benchmarks.__main__ import fill_tables, write
    from distill_lab.course.builder import figures, prose

    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "handbook.md"
    text = "Before.\n\n<!-- bench.blocks.table -->\n\nAfter.\n"
    page.write_text(text)
    assert figures.read(tmp_path / "lab_notebooks")["bench.blocks.table"] == ""
    fill_tables(tmp_path)
    assert page.read_text() == text  # nothing was measured
    for decode in (0.05, 0.06):  # a table that is there is replaced
        made = blocks_result(dense=(4, [0.1]), fewer_3=(3, [decode]))
        table = write([made], ABOUT, tmp_path / "benchmarks" / "results" / "blocks")
        fill_tables(tmp_path)
    filled = page.read_text()
    assert filled.startswith("Before.\n\n<!-- bench.blocks.table -->\n| SmolLM2-135M |")
    assert filled.endswith("|\n\nAfter.\n")
    assert "| 60 |" in filled
    assert "| 50 |" not in filled
    found = figures.read(tmp_path / "lab_notebooks")
    assert not list(prose.of_markdown(filled, found))
    assert list(prose.of_markdown(filled.replace("| 60 |", "| 61 |"), found))
    assert "| dense | 1.00 |" in table
    assert "bench.png" not in table


@pytest.mark.slow
def test_a_training_step_begins_with_the_loss_that_gkd_trainer_finds():
    pytest.importorskip("trl")
    [case] = training_bench.cases(quick=True)
    contenders = set(case.contenders) - {"ours_cached"}  # whose teacher is cut to its top 64
    runs = [run_once(case.module, c, [case.settings], threads=1)[0] for c in contenders]
    losses = [run.found["loss"] for run in runs if isinstance(run, Run)]
    assert losses == pytest.approx(losses[:1] * len(contenders), rel=1e-4)


@pytest.mark.slow
def test_the_whole_of_it_runs_on_small_sizes(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "loss", "--quick", "--repeats", "1", "--out"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f.name for f in tmp_path.iterdir()} == {"results.json", "table.md", "bench.png"}
    assert "Small sizes" in (tmp_path / "table.md").read_text()


def test_a_peak_is_of_the_process_itself_and_not_of_the_one_that_started_it():
    large = bytearray(300 * 2**20)
    large[::4096] = b"x" * len(large[::4096])
    code = "from benchmarks.worker import peak_bytes; print(peak_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) < len(large)
