"""The bug museum's answers, which are data: where marks are given, the process that runs the
student's code cannot read this file (`sandbox.python_guard`)."""

from __future__ import annotations

ANSWERS: dict[str, tuple[str, int, str]] = {
    "temperature": (
        "two temperatures",
        5,
        "log_q, log_p = (F.log_softmax(z / temperature, dim=-1) for z in (s, t))",
    ),
    "entropy": ("identical models", 6, "kl = F.kl_div(log_q, p, reduction='none').sum(-1)"),
    "vocabulary": ("wider head", 4, "t = t[:, : s.shape[-1]]"),
    "shift": ("positions", 6, "counts = F.pad(labels[:, 1:], (0, 1), value=IGNORED) != IGNORED"),
    "accumulation": ("micro-batches", 7, "return temperature**2 * kl.sum() / n_items"),
}
