"""What was measured, as Markdown: targets first, then each case with all its contenders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Result

NAMES = {
    "ours": "ours",
    "ours_with_ce": "ours, with cross-entropy (alpha 0.5)",
    "ours_plain": "ours, the plain version",
    "ours_cached": "ours, teacher cached (top 64)",
    "online": "ours, teacher beside it",
    "cached": "ours, teacher cached (top 64)",
    "spins_little": "ours: threads spin 1,000 times, then sleep",
    "sleeps": "threads sleep at once",
    "spins": "OpenMP's default: threads spin long",
    "full_logits": "full logits of the completion, autograd",
    "trl_chunked_torch": "TRL 1.14.2, chunked loss (PyTorch)",
    "trl_chunked_triton": "TRL {trl}, chunked loss (Triton)",
    "trl_gkd": "TRL {trl}, GKDTrainer",
    "trl_gkd_default": "TRL {trl}, GKDTrainer, gradient checkpointing (its default)",
    "trl_distillation_torch": "TRL 1.14.2, DistillationTrainer (its loss in PyTorch)",
    "trl_distillation": "TRL {trl}, DistillationTrainer (its loss in Triton)",
    "trl_sparse": "TRL {trl}, AsyncDistillationTrainer's sparse loss",
    "liger": "Liger {liger-kernel}, LigerFusedLinearJSDLoss",
    "torchtune": "torchtune {torchtune}, ForwardKLWithChunkedOutputLoss",
    "products": "the matrix products alone",
    "generate": "transformers {transformers}, generate",
    "generate_stop": "the same with stop_strings",
    "dense": "dense",
    "fewer_3": "3 blocks less",
    "fewer_6": "6 blocks less",
    "fewer_9": "9 blocks less",
    "wanda_50": "zeros alone: Wanda, 50 %",
}
GROWTH = {
    "loss-tokens": "positions",
    "loss-vocabulary": "vocabulary",
    "sampling-n": "n",
    "sampling-context": "prompt",
}
_PEERS = ("full_logits", "trl_chunked_torch", "liger", "torchtune")


@dataclass(frozen=True, slots=True)
class Target:
    """What was aimed at: a ratio found in the results of a case, and its bound."""

    case: str
    text: str
    found: Callable[[Result], float | None]
    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _ratio(what: str, above: str, below: str) -> Callable[[Result], float | None]:
    def found(result: Result) -> float | None:
        a, b = result.middle(above, what), result.middle(below, what)
        return a / b if a is not None and b else None

    return found


def _best_peer(result: Result) -> float | None:
    times = [t for peer in _PEERS if (t := result.middle(peer, "cpu")) is not None]
    ours = result.middle("ours", "cpu")
    return min(times) / ours if times and ours else None


def rate(result: Result, contender: str) -> float | None:
    """Useful tokens a second."""
    tokens, wall = result.middle(contender, "tokens"), result.middle(contender, "wall")
    return tokens / wall if tokens is not None and wall else None


def _faster(result: Result) -> float | None:
    """Against the faster of the two ways to call generate."""
    ours = rate(result, "ours")
    theirs = [r for name in ("generate", "generate_stop") if (r := rate(result, name))]
    return ours / max(theirs) if ours and theirs else None


TARGETS = (
    Target("loss", "CPU time, TRL's chunked loss / ours",
           _ratio("cpu", "trl_chunked_torch", "ours"), 2.5),
    Target("loss", "CPU time, full logits of all positions (GKDTrainer) / ours",
           _ratio("cpu", "trl_gkd", "ours"), 1.7),
    Target("loss", "CPU time, full logits of the completion / ours",
           _ratio("cpu", "full_logits", "ours"), 1.7),
    Target("loss", "extra peak memory, ours / full logits of all positions",
           _ratio("peak", "ours", "trl_gkd"), 0.1, at_least=False),
    Target("loss", "extra peak memory, ours / full logits of the completion",
           _ratio("peak", "ours", "full_logits"), 0.1, at_least=False),
    Target("loss", "share of the matrix products' rate", _ratio("cpu", "products", "ours"), 0.8),
    Target("loss-whole", "CPU time, best peer / ours", _best_peer, 1.0),
    Target("loss-cached", "CPU time, online / cached", _ratio("cpu", "ours", "ours_cached"), 1.4),
    Target("epochs", "CPU time of three epochs, online / cached",
           _ratio("cpu", "online", "cached"), 2.0),
    Target("sampling", "useful tokens a second, ours / generate", _faster, 2.0),
    Target("sampling-smollm2", "useful tokens a second, ours / generate", _faster, 2.0),
    Target("sampling-one", "useful tokens a second, ours / generate", _faster, 1.0),
    Target("sampling-smollm2-one", "useful tokens a second, ours / generate", _faster, 1.0),
    Target("training", "time, GKDTrainer / ours", _ratio("wall", "trl_gkd", "ours"), 1.5),
    Target("training", "extra peak memory, ours / GKDTrainer",
           _ratio("peak", "ours", "trl_gkd"), 0.5, at_least=False),
)  # fmt: skip


def markdown(results: Sequence[Result], about: Mapping[str, Any], alt: str) -> str:
    """The whole page."""
    versions: Mapping[str, str] = about["versions"]
    small = ["**Small sizes: these figures say nothing.**\n"] if about["quick"] else []
    picture = [f"![{alt}](bench.png)\n"] if alt else []
    parts = ["# Measured\n", *small, _about(about), *picture, *_targets(results)]
    parts += [_case(result, versions) for result in results if result.case.name not in GROWTH]
    for name, what in GROWTH.items():
        points = [result for result in results if result.case.name == name]
        if points:
            parts.append(_growth(points, what, versions))
    return "\n".join(parts)


def _about(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['memory']:.0f} GB, {about['system']}; "
        f"{about['threads']} threads, float32, load {about['load']:.1f} at the start; "
        f"commit {about['commit']}, {about['date']}, {about['minutes']:.0f} minutes. "
        f"{versions}.\n\nCommand: `{about['command']}`. Each run in a process of its own, "
        f"contenders in turn; medians of at most {about['repeats']}; peak memory is the resident "
        "set's, less what was there before the work.\n"
    )


def label(contender: str, versions: Mapping[str, str]) -> str:
    """A contender's name with its version."""
    return NAMES[contender].format_map({"trl": "?", "liger-kernel": "?", "torchtune": "?"}
                                       | dict(versions))  # fmt: skip


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "/") for cell in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _targets(results: Sequence[Result]) -> list[str]:
    """Their table, where one of the cases has a target."""
    by_name = {result.case.name: result for result in results}
    rows = []
    for target in TARGETS:
        if target.case in by_name:
            result = by_name[target.case]
            value = target.found(result)
            sign = "at least" if target.at_least else "at most"
            verdict = "not measured" if value is None else "yes" if target.met(value) else "**no**"
            shown = "–" if value is None else f"{value:.2f}"
            rows.append(
                [result.case.title, target.text, f"{sign} {target.bound:g}", shown, verdict]
            )
    table = _rows(["work", "what", "target", "found", "met"], rows)
    return [f"## Targets\n\n{table}"] if rows else []


def _case(result: Result, versions: Mapping[str, str]) -> str:
    extras = [extra for extra in _HEADS if _has(result, extra)]
    header = ["", "CPU s", "wall s", "CPU / first", "extra peak MB", "runs", "spread"]
    rows = [_line(result, contender, extras, versions) for contender in result.case.contenders]
    settings = ", ".join(f"{name} {value}" for name, value in result.case.settings.items())
    table = _rows([*header, *(_HEADS[extra] for extra in extras)], rows)
    return f"## {result.case.title}\n\n{settings}\n\n{table}"


_HEADS = {"tokens": "tokens/s", "steps": "s a step", "kl": "KL", "gradient": "gradient",
          "loss": "first loss", "last": "last KL", "blocks": "blocks",
          "decode": "decode, s a token", "prefill": "prefill, s a token",
          "first": "s to the first token", "load": "s to load"}  # fmt: skip


def _has(result: Result, what: str) -> bool:
    return any(result.middle(name, what) is not None for name in result.case.contenders)


def _line(
    result: Result, contender: str, extras: Sequence[str], versions: Mapping[str, str]
) -> list[str]:
    name = label(contender, versions)
    if contender not in result.runs:
        reason = result.reasons.get(contender, "not run")
        return [f"{name}: {reason}", *["–"] * (6 + len(extras))]
    cpu, wall, peak = (result.middle(contender, what) or 0.0 for what in ("cpu", "wall", "peak"))
    ours = result.middle(result.case.contenders[0], "cpu")
    return [
        name,
        f"{cpu:.2f}",
        f"{wall:.2f}",
        f"{cpu / ours:.2f}" if ours else "–",
        f"{peak / 1e6:,.0f}",
        str(len(result.runs[contender])),
        f"{result.spread(contender) or 0:.0%}",
        *(_extra(result, contender, extra) for extra in extras),
    ]


def _extra(result: Result, contender: str, what: str) -> str:
    value = rate(result, contender) if what == "tokens" else result.middle(contender, what)
    if value is None:
        return "–"
    if what == "tokens":
        return f"{value:,.0f}"
    if what == "steps":
        return f"{(result.middle(contender, 'wall') or 0) / value:.2f}"
    return f"{value:.4g}"


def size(result: Result, what: str) -> float:
    """Where a point of growth lies: a setting, or what all contenders found alike."""
    if what in result.case.settings:
        return result.case.settings[what]
    return next(v for c in result.runs if (v := result.middle(c, what)) is not None)


def _growth(points: Sequence[Result], what: str, versions: Mapping[str, str]) -> str:
    case = points[0].case
    names = [label(contender, versions) for contender in case.contenders]
    rows = [
        [f"{size(point, what):,.0f}",
         *(f"{time:.3f}" if (time := point.middle(c, "cpu")) is not None else "–"
           for c in case.contenders),
         *(f"{peak / 1e6:,.0f}" if (peak := point.middle(c, "peak")) is not None else "–"
           for c in case.contenders)]
        for point in points if point.runs
    ]  # fmt: skip
    header = [what, *(f"CPU s, {n}" for n in names), *(f"peak MB, {n}" for n in names)]
    reasons = [f"\n{label(c, versions)}: {why}\n" for c, why in points[0].reasons.items()]
    settings = ", ".join(f"{k} {v}" for k, v in case.settings.items() if k != what)
    return f"## {case.title}\n\n{settings}\n\n{_rows(header, rows)}{''.join(reasons)}"
