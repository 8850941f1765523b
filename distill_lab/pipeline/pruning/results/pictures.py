"""The four pictures of a report on pruning, each with a sentence from its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.pipeline.pruning.methods import SCORES
from distill_lab.pipeline.pruning.results.readings import MEASURES, Measure
from distill_lab.pipeline.pruning.results.wording import WORDINGS
from distill_lab.pipeline.pruning.results.words import megabytes
from distill_lab.reporting.figures import (
    GREEN,
    INK,
    KEPT,
    REFUSED,
    REST,
    SOFT,
    Plot,
    headline,
    name_rows,
    new_figure,
    plain_ticks,
    png_of,
    signed,
)

Models = Mapping[str, Mapping[str, Any]]  # `models` of report.json

_LOOK = {  # colour, marker, line of each score
    "magnitude-tensor": ("#8a6d00", "^", ":"),
    "magnitude-row": (REFUSED, "s", "--"),
    "magnitude-global": ("#7a3e9d", "D", "-."),
    "wanda": (KEPT, "o", "-"),
    "wanda-one-shot": ("#56b4e9", "v", "-"),
}
_STATES = {"dense": (INK, "o"), "pruned": (SOFT, "o"), "ce": (REFUSED, "s"), "kl": (KEPT, "o")}
_TITLES = {
    "sparsity": (
        "What zeros break",
        "Lines: the share of zeros in the blocks' linears that each score left; open marks: n of m "
        "neighbours kept, their bars dotted. Scores stand a little apart, so that none hides "
        "another. Bars: 95 % intervals over {noun}; all models read the same ones, so that "
        "differences are surer than the bars. Grey: the dense model.",
    ),
    "recovery": (
        "What came back",
        "Each model minus the dense one on the same {noun}, which is 0; NLLs are better below it. "
        "Bars: 95 % intervals over {noun}, seeds averaged. Below them small marks for the seeds, "
        "with the 95 % t-interval of their mean.",
    ),
    "costs": (
        "What zeros cost and buy",
        "Above: bytes of the weights; a file holds zeros as it holds other numbers, a bit a weight "
        "says which are none. Below: rounds in which dense and pruned model took turns; marks are "
        "medians, lines go from the slowest to the fastest round.",
    ),
    "blocks": (
        "Which blocks turn what goes through them",
        "Block influence: 1 − cos of the hidden states before and after a block, mean over "
        "calibration tokens. The first and the last block are never taken out.",
    ),
}


def titles(task: str) -> dict[str, tuple[str, str]]:
    """Of each picture its title, and how to read it."""
    noun = WORDINGS[task].noun
    return {name: (title, text.format(noun=noun)) for name, (title, text) in _TITLES.items()}


def draw(report: Mapping[str, Any]) -> list[Plot]:
    """All pictures of a report."""
    models, measures = report["models"], MEASURES[report["task"]]
    return [
        sparsity(models, measures[0]),
        recovery(models, measures),
        costs(models),
        blocks(report["blocks"]),
    ]


def sparsity(models: Models, measure: Measure) -> Plot:
    """Perplexity, and the measure that decides, against the share of zeros: a line a score."""
    lines = _lines(models)
    if not lines:
        return Plot("sparsity", "Nothing to draw: no method left zeros.")
    figure, axes = new_figure(5.6, rows=2, sharex=True)
    shown = {"perplexity": "perplexity (lower is better)"}
    shown[measure.name] = f"{measure.label}, percent"
    for name, ax in zip(shown, axes, strict=True):
        dense = models["dense"][name]
        ax.axhline(dense, color=SOFT, linewidth=1.2)
        for n, (score, found) in enumerate(lines.items()):
            aside = 0.8 * (n - (len(lines) - 1) / 2)  # else one interval would hide another
            _line(ax, name, score, found, dense, aside)
        ax.set_title(shown[name], fontsize=11, loc="left", color=INK)
        ax.grid(axis="y", color=REST, linewidth=0.8)
    axes[0].set_yscale("log")
    plain_ticks(axes[0].yaxis)
    axes[1].set_xlabel("zeros in the blocks' linears, percent", fontsize=11, color=INK)
    figure.legend(
        *axes[1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=10,
    )
    headline(figure, _most_zeros(lines, models["dense"]))
    return Plot("sparsity", _sparsity_alt(lines, models["dense"], measure), png_of(figure))


def _most_zeros(lines: Mapping[str, Sequence[Mapping[str, Any]]], dense: Any) -> str:
    """What each score does where it leaves the most zeros."""
    shares = ([m for m in found if not m["pattern"]] or found for found in lines.values())
    last = [found[-1] for found in shares]
    zeros = max(map(_zeros, last))
    told = [
        f"{m['name'] if m['pattern'] else m['method']} {m['perplexity']:,.4g}"
        for m in last
        if _zeros(m) > zeros - 1
    ]
    of_dense = f"dense {dense['perplexity']:,.4g}"
    return f"Perplexity at {zeros:.0f} % zeros: {', '.join(told)}; {of_dense}"


def _lines(models: Models) -> dict[str, list[Mapping[str, Any]]]:
    """The pruned models of each score, by their zeros."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for score in SCORES:
        of_score = [m for m in models.values() if m["state"] == "pruned" and m["method"] == score]
        if of_score:
            found[score] = sorted(of_score, key=lambda m: m["costs"]["zeros_linears"])
    return found


def _line(
    ax: Any,
    name: str,
    score: str,
    found: Sequence[Mapping[str, Any]],
    dense: float,
    aside: float,
) -> None:
    """A score's shares as a line, and its n:m patterns as open marks, each with its interval."""
    colour, marker, line = _LOOK[score]
    shares = [(_zeros(m) + aside, m[name]) for m in found if not m["pattern"]]
    shares = [(0.0, dense), *shares] if len(shares) > 1 else shares
    ax.plot([x for x, _ in shares], [y for _, y in shares], line, color=colour, linewidth=1.8,
            marker=marker, markersize=6, label=score)  # fmt: skip
    for m in found:
        x = _zeros(m) + aside
        open_mark = m["pattern"] is not None  # its bar may lie on that of as many zeros elsewhere
        ax.plot((x, x), m[f"{name}_ci95"], ":" if open_mark else "-", color=colour,
                linewidth=1.2, alpha=0.6)  # fmt: skip
        if open_mark:
            ax.plot(x, m[name], marker, color=colour, markerfacecolor="white", markersize=7)
            left = aside < 0  # beside the marks of the other scores, not on them
            text = {"color": colour, "fontsize": 9, "ha": "right" if left else "left"}
            text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.8}
            place = {"textcoords": "offset points", "xytext": (-7 if left else 7, 0)}
            ax.annotate(m["pattern"], (x, m[name]), va="center", **place, **text)


def _zeros(model: Mapping[str, Any]) -> float:
    return 100 * model["costs"]["zeros_linears"]


def _sparsity_alt(
    lines: Mapping[str, Sequence[Mapping[str, Any]]], dense: Mapping[str, Any], measure: Measure
) -> str:
    def told(m: Mapping[str, Any]) -> str:
        return f"perplexity {m['perplexity']:.4g}, {measure.label} {m[measure.name]:.1f}"

    parts = [f"{m['name']} {told(m)}" for found in lines.values() for m in found]
    return f"Dense: {told(dense)}; {'; '.join(parts)}."


def recovery(models: Models, measures: Sequence[Measure]) -> Plot:
    """Pruned, recovered by CE and by KL, each minus the dense model: a panel for each measure."""
    rows = _recovery_rows(models)
    if not rows:
        return Plot("recovery", "Nothing to draw: no model recovered.")
    figure, axes = new_figure(0.9 + 0.44 * len(rows), columns=len(measures), sharey=True)
    for measure, ax in zip(measures, axes, strict=True):
        ax.axvline(0, color=SOFT, linewidth=1.2, zorder=0)
        for y, model in enumerate(rows):
            _recovery_row(ax, y, model, measure.name)
        ax.set_title(measure.label, fontsize=11, color=INK)
        ax.set_xlabel(measure.unit, fontsize=9.5, color=INK)
        name_rows(ax, [model["name"] for model in rows], scale=True)
        ax.tick_params(labelsize=9)
        ax.margins(x=0.12)
    told = [
        f"{m['name']} "
        + ", ".join(f"{x.label} {m['minus_dense'][x.name]['difference']:+.3g}" for x in measures)
        for m in rows
    ]
    label, name, first = measures[0].label, measures[0].name, rows[0]
    ends = [
        f"{m['name'].removeprefix(first['name'] + ' ')} "
        f"{signed(m['minus_dense'][name]['difference'])}"
        for m in rows
        if m is first or (m["state"] in ("ce", "kl") and m["before"] == first["name"])
    ]
    headline(figure, f"{label[0].upper()}{label[1:]} minus the dense model's: {', '.join(ends)}")
    return Plot("recovery", f"Minus the dense model: {'; '.join(told)}.", png_of(figure))


def _recovery_rows(models: Models) -> list[Mapping[str, Any]]:
    """Each method's pruned model with what it became."""
    rows: list[Mapping[str, Any]] = []
    recovered = [m for m in models.values() if m["state"] in ("kl", "ce")]
    for text in dict.fromkeys(m["before"] for m in recovered):
        of_method = [m for m in recovered if m["before"] == text]
        order = sorted(of_method, key=lambda m: m["state"])  # ce, then kl
        rows += [models[text], *order]
    return rows


def _recovery_row(ax: Any, y: int, model: Mapping[str, Any], measure: str) -> None:
    """The mean with its interval over reviews; below it the seeds with theirs."""
    colour, marker = _STATES[model["state"]]
    found = model["minus_dense"][measure]
    ax.plot(found["ci95"], (y, y), color=colour, linewidth=2.5, solid_capstyle="butt")
    ax.plot(found["difference"], y, marker, color=colour, markersize=7)
    seeds = found["by_seed"]
    if len(seeds) > 1:
        ax.plot(seeds, [y + 0.27] * len(seeds), "|", color=INK, markersize=5, alpha=0.8)
        ax.plot(found["seeds_t95"], (y + 0.27, y + 0.27), color=INK, linewidth=0.8, alpha=0.6)


def costs(models: Models) -> Plot:
    """Bytes of each pruned model in three forms, and how many times as fast as dense it is."""
    rows = [m for m in models.values() if m["state"] in ("dense", "pruned")]
    figure, (above, below) = new_figure(1.9 + 0.72 * len(rows), rows=2)
    _bytes(above, rows)
    _times(below, rows[1:])
    alt = "; ".join(
        f"{m['name']}: {m['costs']['bytes_dense'] / 1e6:.3g} MB as saved, "
        f"{m['costs']['bytes_bitmask'] / 1e6:.3g} MB with a bitmask, decode "
        f"{m['costs']['decode_times']:.2f} times, prefill {m['costs']['prefill_times']:.2f} times"
        for m in rows
    )
    least = min(m["costs"]["bytes_bitmask"] for m in rows)
    small = [m["name"] for m in rows if m["costs"]["bytes_bitmask"] == least]
    said = [f"Smallest with a bitmask: {', '.join(small)}, {megabytes(least)} MB"]
    if len(rows) > 1:  # the fastest alone: one of many may beat dense by the clock's noise
        fastest = max(rows[1:], key=lambda m: m["costs"]["decode_times"])
        times, (low, _) = (fastest["costs"][f"decode_{what}"] for what in ("times", "range"))
        said.append(
            f"decoding fastest: {fastest['name']}, {times:.2f} times as fast as dense"
            if low > 1
            else "in decoding none is faster than dense in every round"
        )
    headline(figure, "; ".join(said))
    return Plot("costs", f"{alt}.", png_of(figure))


_FORMS = (("bytes_dense", "as saved", SOFT), ("bytes_bitmask", "bitmask and values", KEPT),
          ("bytes_gguf", "GGUF, Q8_0", REFUSED))  # fmt: skip
_PARTS = (("decode", KEPT, "o", -0.15), ("prefill", GREEN, "s", 0.15))


def _bytes(ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for y, model in enumerate(rows):
        for n, (form, label, colour) in enumerate(_FORMS):
            size = model["costs"][form]
            if size is not None:
                mark = {"height": 0.24, "color": colour, "label": label if y == 0 else None}
                ax.barh(y + 0.26 * (n - 1), size / 1e6, **mark)
    _framed(ax, rows, "weights, MB")


def _times(ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    ax.axvline(1, color=SOFT, linewidth=1.2)
    for part, colour, marker, aside in _PARTS:
        for y, model in enumerate(rows):
            found, at = model["costs"], y + aside
            ax.plot(found[f"{part}_range"], (at, at), color=colour, linewidth=1.5, alpha=0.6)
            label = part if y == 0 else None
            ax.plot(found[f"{part}_times"], at, marker, color=colour, markersize=6, label=label)
    _framed(ax, rows, "times as fast as dense")


def _framed(ax: Any, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Names at the left, the scale and the legend below."""
    name_rows(ax, [model["name"] for model in rows], scale=True)
    ax.set_title(title, fontsize=11, loc="left", color=INK)
    ax.grid(axis="x", color=REST, linewidth=0.8)
    ax.set_axisbelow(True)
    place = {"loc": "upper center", "bbox_to_anchor": (0.4, -0.4 / len(rows) - 0.02)}
    ax.legend(frameon=False, fontsize=9.5, ncols=3, handlelength=1, columnspacing=1.2, **place)


def blocks(found: Mapping[str, Mapping[str, Any]]) -> Plot:
    """The influence of each block; those that went are told by colour and by a cross."""
    if not found:
        return Plot("blocks", "Nothing to draw: no block was taken out.")
    name, most = max(found.items(), key=lambda item: len(item[1]["dropped"]))
    influence, dropped = most["influence"], most["dropped"]
    figure, (ax,) = new_figure(2.6)
    colours = [REFUSED if n in dropped else KEPT for n in range(len(influence))]
    ax.bar(range(len(influence)), influence, color=colours)
    for n in dropped:
        ax.text(n, influence[n], "×", ha="center", va="bottom", color=REFUSED, fontsize=11)
    ax.set_xlabel(f"block (×, orange: taken out by {name})", fontsize=11, color=INK)
    ax.set_ylabel("influence", fontsize=11, color=INK)
    ax.set_xticks(range(0, len(influence), 1 + len(influence) // 13))
    ends = [choose(range(len(influence)), key=influence.__getitem__) for choose in (min, max)]
    least, greatest = (f"block {n} the {word} ({influence[n]:.2g})"
                       for n, word in zip(ends, ("least", "most"), strict=True))  # fmt: skip
    headline(figure, f"What goes through is turned by {least}, by {greatest}")
    listed = ", ".join(f"{n}: {value:.3f}" for n, value in enumerate(influence))
    gone = ", ".join(map(str, dropped))
    return Plot("blocks", f"Block influence {listed}; {name} took out {gone}.", png_of(figure))
