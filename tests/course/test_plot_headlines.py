"""The headlines of the labs' pictures, and of the reports on pruning and quantization, say what the
data says: each by hand, from a few numbers."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from distill_lab.course.plots import lab5b_5d, lab5e, lab6, lab7
from distill_lab.pipeline.pruning.results import pictures as pruning
from distill_lab.pipeline.pruning.results.readings import MEASURES
from distill_lab.pipeline.quantizing.results import pictures as quantizing
from distill_lab.reporting.figures import png_of


@pytest.fixture
def headlines(monkeypatch):
    """What stands above each figure that is drawn."""
    said: list[str] = []

    def keep(self, text, *args, _plain=Figure.suptitle, **options):
        said.append(text.replace("\n", " ").replace("\xa0", " "))
        return _plain(self, text, *args, **options)

    monkeypatch.setattr(Figure, "suptitle", keep)
    return said


def pruned(name, state="pruned", zeros=0.0, perplexity=60.0, size=1e6, times=1.0, minus=0.0):
    method, _, pattern = name.partition(":")
    found = {"difference": minus, "ci95": [minus, minus], "by_seed": [minus]}
    ledger = {"zeros_linears": zeros, "bytes_dense": 1e6, "bytes_bitmask": size, "bytes_gguf": None}
    for part in ("decode", "prefill"):
        ledger |= {f"{part}_times": times, f"{part}_range": [times, times]}
    return {
        "name": name,
        "method": method,
        "state": state,
        "before": name.split(" + ", maxsplit=1)[0],
        "pattern": None if pattern.startswith("0.") else pattern,
        "perplexity": perplexity,
        "perplexity_ci95": [perplexity, perplexity],
        "accuracy": 90.0,
        "accuracy_ci95": [89.0, 91.0],
        "minus_dense": {m.name: found for m in MEASURES["sst2"]},
        "costs": ledger,
    }


def by_name(*models):
    return {model["name"]: model for model in models}


def quantized(size, em, kl=None, bits=32.0):
    near = {} if kl is None else {"kl": kl, "kl_ci95": [kl, kl]}
    return {"em": em, "em_ci95": [em, em], "costs": {"bytes": size, "bits": bits}, **near}


SPARSE = by_name(
    pruned("dense", "dense"),
    pruned("wanda:0.5", zeros=0.5, perplexity=70.0),
    pruned("wanda:0.7", zeros=0.7, perplexity=100.0),
    pruned("wanda:7:10", zeros=0.7, perplexity=7.0),
    pruned("magnitude-row:0.7", zeros=0.7, perplexity=1321.0),
    pruned("magnitude-tensor:0.5", zeros=0.5, perplexity=9.0),
)
RECOVERED = by_name(
    pruned("dense", "dense"),
    pruned("wanda:0.5", minus=-2.0),
    pruned("wanda:0.5 + KL", "kl", minus=-0.5),
    pruned("wanda:0.5 + CE", "ce", minus=-1.0),
    pruned("wanda:0.55", minus=-9.0),
    pruned("wanda:0.55 + KL", "kl", minus=-9.0),
)
COSTS = by_name(
    pruned("dense", "dense", size=2e6),
    pruned("wanda:0.5", size=6e5, times=0.9),
    pruned("wanda:2:4", size=6e5),
    pruned("blocks:1", size=8e5, times=1.25),
)
BITS = {
    "dense": quantized(1.98e9, 70.0),
    "q4_0": quantized(286e6, 60.0, 0.0, 4.5),
    "q8_0": quantized(5e8, 71.0, 0.5, 8.5),
}
INFLUENCE = {"blocks:1": {"influence": [0.5, 0.125, 0.25], "dropped": [1]}}
SENSITIVE = {
    "model.layers.0.self_attn.q_proj": 0.25,
    "model.layers.1.self_attn.q_proj": 0.5,
    "model.layers.0.mlp.down_proj": 2.0,
    "model.layers.1.mlp.down_proj": 0.5,
}
MASK = torch.tensor([[True, False], [True, True]])  # of the loudest input, the first: all


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (
            lambda: lab5b_5d.compared({"a": [50.0, 50.0], "b": [100.0, 100.0]}, "EM"),
            "Highest: b, 100.0; lowest: a, 50.0",
        ),
        (lambda: lab5e.reward_groups([[1, 1], [0, 1]]), "1 of 2 groups are dead"),
        (
            lambda: lab5e.clipped_losses([0.5, 1.2, 1.5], [-0.5, -1.2, -1.2], [1, 2, 3]),
            "The loss: for A = 1 flat at the right of 1.20; for A = −1 nowhere flat",
        ),
        (
            lambda: lab5e.live_steps(
                [{"step": 1, "reward": 0.25, "dead": 0.5}, {"step": 2, "reward": 0.5, "dead": 0.25}]
            ),
            "From the first half to the last: reward +0.25, dead groups −0.25",
        ),
        (
            lambda: lab5e.fitted([0.5, 0.5], {"forward": [0.25, 0.75], "reverse": [1.0, 0.0]}),
            "The highest share of a token: forward 75 %, reverse 100 %",
        ),
        (
            lambda: lab6.kept_by_input(torch.tensor([2.0, 1.0]), {"Wanda": MASK, "no": ~MASK}),
            "Of the loudest inputs' weights Wanda keeps 100 % and no keeps 0 %",
        ),
        (
            lambda: lab6.decode_times({3: 0.98, 6: 2.0}, (3, 1.0), (0.25, 0.25)),
            "3 blocks were predicted to take 1.00 ms, and took 0.98 ms",
        ),
        (
            lambda: lab6.decode_times({4: 0.98, 6: 2.0}, (3, 1.0), (0.25, 0.25)),
            "3 blocks were predicted to take 1.00 ms",
        ),
        (
            lambda: lab7.rounded_row([0.5, 0.5, 1.0], {4: [0.5, 0.5, 1.0], 2: [1.0, 1.0, 1.0]}),
            "2 different weights become 2 values with 4 bits, 1 values with 2 bits",
        ),
        (
            lambda: lab7.kl_of_sharing({"tensor": [0.001, 0.5], "row": [0.01, 0.125]}, (8, 4)),
            "At 4 bits one scale a tensor costs 4 times the KL of one a row",
        ),
        (
            lambda: lab7.kl_of_sharing({"tensor": [0.001, 0.5], "row": [0.01, 0.0]}, (8, 4)),
            "At 4 bits one scale a tensor costs more than the KL of one a row",
        ),
        (
            lambda: lab7.clipped([0.5, 1.0], {"as it is": [3.0, 4.0]}, {"as it is": 0.5}),
            "The chosen range saves, of the error, 25 % as it is",
        ),
        (
            lambda: lab7.layer_training({"straight through": [0.2, 0.1], "no": [0.2, 0.2]}, {}),
            "Trained straight through: from 20 to 10 % lost",
        ),
        (
            lambda: pruning.sparsity(SPARSE, MEASURES["sst2"][0]),
            "Perplexity at 70 % zeros: magnitude-row 1,321, wanda 100; dense 60",
        ),
        (
            lambda: pruning.recovery(RECOVERED, MEASURES["sst2"]),
            "Accuracy minus the dense model's: wanda:0.5 −2.0, + CE −1.0, + KL −0.5",
        ),
        (
            lambda: pruning.costs(COSTS),
            "Smallest with a bitmask: wanda:0.5, wanda:2:4, 0.60 MB; decoding fastest: blocks:1, "
            "1.25 times as fast as dense",
        ),
        (
            lambda: pruning.costs({name: COSTS[name] for name in ("dense", "wanda:2:4")}),
            "Smallest with a bitmask: wanda:2:4, 0.60 MB; in decoding none is faster than dense in "
            "every round",
        ),
        (
            lambda: pruning.blocks(INFLUENCE),
            "What goes through is turned by block 1 the least (0.12), by block 0 the most (0.5)",
        ),
        (
            lambda: quantizing.score_by_bytes(BITS, MEASURES["squad"][0]),
            "The smallest, q4_0: 286 MB, 60.0; dense: 1,980 MB, 70.0 EM",
        ),
        (
            lambda: quantizing.score_by_bytes({"dense": BITS["dense"]}, MEASURES["squad"][0]),
            "dense: 1,980 MB, 70.0 EM",
        ),
        (
            lambda: quantizing.bits(BITS),
            "Furthest from the dense model: q8_0 (0.5 nats, 8.5 bits); nearest: q4_0 (0 nats, "
            "4.5 bits)",
        ),
        (
            lambda: quantizing.sensitivity(SENSITIVE),
            "Most sensitive: down_proj of block 0, 2 nats, 4 times the median",
        ),
    ],
)  # fmt: skip
def test_a_headline_says_what_was_found(headlines, draw, said):
    assert draw().png is not None
    assert headlines == [said]


def test_numbers_of_points_that_are_close_stand_apart(monkeypatch):
    """The first of five models and the last are one size and almost one score."""
    boxes = []

    def keep(figure, _plain=png_of):
        made = _plain(figure)
        (ax,) = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
        boxes.extend(text.get_window_extent() for text in ax.texts)
        return made

    monkeypatch.setattr(quantizing, "png_of", keep)
    close = {
        f"m{n}": quantized(size, 60 + 0.1 * n) for n, size in enumerate((1e8, 2e8, 3e8, 5e8, 1e8))
    }
    quantizing.score_by_bytes({"dense": BITS["dense"], **close}, MEASURES["squad"][0])
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
