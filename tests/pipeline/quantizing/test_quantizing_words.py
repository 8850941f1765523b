"""What ways are named, which models are compared, and which of them nothing else beats: tables by
hand."""

from __future__ import annotations

import pytest

from distill_lab.models.quantization.scheme import Scheme
from distill_lab.pipeline.chain.records import Link, chain_folder, links, orders
from distill_lab.pipeline.chain.settings import ChainConfig, ChainSettings
from distill_lab.pipeline.quantizing.records import QuantizedModel
from distill_lab.pipeline.quantizing.results.distances import frontier
from distill_lab.pipeline.quantizing.results.words import contrasts, speed_sentence
from distill_lab.pipeline.quantizing.ways import parse, parse_all
from distill_lab.run.records import LabError


def test_codes_are_named_by_method_bits_and_group():
    assert parse("gptq-4-g32").scheme() == Scheme(4, per="group", group_size=32)
    assert parse("round-8").scheme() == Scheme(8)
    assert (parse("awq-3-g16").plain, parse("nf4").plain) == ("round-3-g16", "nf4")
    assert [parse(t).computes for t in ("bfloat16", "int8", "nf4", "q8_0", "round-8")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("round-0", "expected 2 to 16 bits, found 0"),
        ("round-1", "expected 2 to 16 bits, found 1"),
        ("round-17", "expected 2 to 16 bits, found 17"),
        ("round-4-g0", "found 'round-4-g0'"),
        ("round", "expected one of float32"),
        ("q3_k", "expected one of float32"),
        ("gptq-4-32", "gptq-4-g32; found 'gptq-4-32'"),
    ],
)
def test_a_way_that_there_is_not_is_refused(text, says):
    with pytest.raises(LabError, match=r"--chain\.quantize: "):
        parse(text, "--chain.quantize")
    with pytest.raises(LabError, match=r"--quantize\.ways: ") as raised:
        parse(text)
    assert says in str(raised.value)


def test_a_way_is_named_once():
    with pytest.raises(LabError, match="found q4_0 twice"):
        parse_all(("q4_0", "int8", "q4_0"), "--quantize.ways")


def test_the_frontier_by_hand():
    points = {
        "large": (4.0, 60.0), "equal": (4.0, 60.0), "middle": (2.0, 61.0), "worse": (2.5, 50.0),
        "small": (1.0, 40.0), "twin": (1.0, 45.0), "largest": (9.0, 62.0),
    }  # fmt: skip
    assert frontier(points) == ["twin", "middle", "largest"]
    assert frontier({"one": (1.0, 0.0)}) == ["one"]


def test_what_is_compared():
    texts = ("int8", "round-4-g32", "gptq-4-g32", "gptq-4", "awq-4-g32")
    asked = [QuantizedModel(), *(QuantizedModel(parse(text)) for text in texts)]
    asked += [QuantizedModel(parse("round-4-g32"), by) for by in ("kl", "ce")]
    kl, ce = "round-4-g32 + QAT by KL", "round-4-g32 + QAT by CE"
    assert [*contrasts(asked)] == [
        ("gptq-4-g32", "round-4-g32"), ("awq-4-g32", "round-4-g32"),
        (kl, ce), (kl, "round-4-g32"), (ce, "round-4-g32"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "span", "word"),
    [(0.7, (0.6, 0.8), "slower"), (1.4, (1.2, 1.5), "faster"), (1.0, (0.9, 1.1), "no other")],
)
def test_slower_is_said_where_every_round_was(times, span, word):
    costs = {"decode_times": times, "decode_range": span}
    models = {
        "dense": {"name": "dense", "costs": {**costs}},
        "int8": {"name": "int8", "costs": costs},
    }
    said = speed_sentence({"models": models, "backend": {"device": "cpu"}})
    assert said == f"Decode beside the dense model on cpu: int8 {times:.2f} times ({word})."


def test_a_chain_has_both_orders_and_each_step_follows_another():
    config = ChainConfig(chain=ChainSettings("blocks:1", ("int8", "q4_0")))
    made = links(config)
    assert [link.name for link in made] == [
        "dense", "blocks:1", "blocks:1 → recover", "blocks:1 → recover → int8",
        "blocks:1 → recover → q4_0", "blocks:1 → int8", "int8", "blocks:1 → q4_0", "q4_0",
        "q4_0 → blocks:1", "q4_0 → blocks:1 → q4_0",
    ]  # fmt: skip
    assert all(link.before in made[:n] for n, link in enumerate(made) if link.steps)
    assert [(a.name, b.name) for a, b in orders(made)] == [
        ("blocks:1 → q4_0", "q4_0 → blocks:1 → q4_0"),
    ]
    assert len({link.place for link in made}) == len(made)
    assert len(links(config, {"int8": "not here"})) == 3 + 1 + 4
    assert Link(("blocks:1", "recover")).way is None


def test_a_chain_has_no_stages_to_be_typed(tmp_path):
    with pytest.raises(LabError, match=r"Run `distill-lab chain RUN` first"):
        chain_folder(tmp_path).require_model(Link())
