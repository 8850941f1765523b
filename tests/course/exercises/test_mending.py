"""A student's line in an exhibit of the bug museum: what is taken for right, and what is said."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.exercises import find
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab5c.mend import mend
from distill_lab.course.exercises.lab5c.museum import (
    EXHIBITS,
    TESTS,
    finding,
    mended,
    with_mended_losses,
)

RIGHT = "return temperature**2 * kl.sum() / n_items"
HONEST = [
    ("temperature", 5, "log_q = F.log_softmax(s / temperature, -1)\n"
     "log_p = (t / temperature).log_softmax(-1)"),
    ("temperature", 5, "log_q, log_p = [torch.log_softmax(z / temperature, -1) for z in (s, t)]"),
    ("entropy", 6, "kl = (p * (p.log() - log_q)).sum(dim=-1)"),
    ("entropy", 6, "kl = torch.where(p > 0, p * (p.log() - log_q), torch.zeros_like(p)).sum(-1)"),
    ("entropy", 6, "log_p = torch.log(p); kl = torch.einsum('btv,btv->bt', p, log_p - log_q)"),
    ("entropy", 6, "kl = -(p * (log_q - p.clamp(min=1e-30).log())).sum(-1)"),
    ("vocabulary", 4, "n = min(s.shape[-1], t.size(-1))\ns, t = s[..., :n], t[..., :n]"),
    ("vocabulary", 4, "t = torch.narrow(t, -1, 0, s.size(-1))  # the words that both have"),
    ("shift", 6, "end = torch.full_like(labels[:, :1], IGNORED)\n"
     "counts = torch.cat([labels[:, 1:], end], dim=1) != IGNORED"),
    ("shift", 6, "counts = labels.roll(-1, dims=1) != -100; counts[:, -1] = False"),
    ("shift", 6, "counts = torch.zeros_like(labels, dtype=torch.bool)\n"
     "counts[:, :-1] = labels[:, 1:].ne(IGNORED)"),
    ("accumulation", 7, "return temperature * temperature * torch.sum(kl) / float(n_items)"),
    ("accumulation", 7, "return math.pow(temperature, 2) * sum(x for x in kl) / n_items"),
    ("accumulation", 7, "kl = sum([kl[i] for i in range(len(kl))])\n"
     "kl *= temperature**2.0; return kl / n_items"),
]  # fmt: skip


@pytest.mark.parametrize(("bug", "line", "text"), HONEST, ids=[row[2] for row in HONEST])
def test_a_right_line_may_be_written_in_many_ways(bug, line, text):
    ours = mend(bug)
    assert ours is not None
    answer = (ours[0], line, text)
    outcome = judge(find("lab5c.mend"), lambda asked: answer if asked == bug else mend(asked))
    assert outcome.state == "right", outcome.wrong


def told_of(line: str) -> str:
    """What the check says of another last line of `accumulation`; it has no point for it."""
    answer = ("micro-batches", 7, line)
    outcome = judge(find("lab5c.mend"), lambda bug: answer if bug == "accumulation" else mend(bug))
    assert outcome.points == 4
    return str(outcome.wrong[-1])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("kl = 1\0", "is no Python"),
        ("kl = '\ud800'", "is no Python"),
        ("(" * 300, "is no Python"),
        ("kl = 'x", "is no Python"),
        ("return kl.median_of_all()", "says `kl.median_of_all`"),
        ("return kl.mean(3)", "does not run: IndexError"),
        ("return open('marks.json')", "does not run: NameError: name 'open' is not defined"),
        ("return eval('kl')", "does not run: NameError: name 'eval' is not defined"),
        ("raise NotImplementedError", "does not run: NameError"),
        ("return kl", "fails the test 'identical models'"),
        ("return 'x'", "fails the test"),
    ],
)
def test_a_wrong_line_is_told_what_became_of_it(line, says):
    assert says in told_of(line)


@pytest.mark.parametrize(
    "line",
    [
        "from distill_lab.course.exercises.lab5c.museum import right\n"
        "return right(student, teacher, labels, temperature, n_items)",
        "import torch",
        "return __import__('distill' + '_lab').course.exercises.lab5c.museum.right",
        "return F.softmax.__globals__",
        "return F.softmax.\uff3f\uff3fglobals\uff3f\uff3f",
        "return torch.sys._getframe(1).f_globals['right'](student, teacher, labels, 1, 1)",
        "return torch.sys.modules['distill' + '_lab.course.exercises.lab5c.museum'].right",
        "return torch.builtins.eval('right')",
        "return torch.importlib.import_module('distill' + '_lab')",
        "x = torch\nreturn x.builtins.eval('right')",
        "return (x for x in ()).gi_frame.f_back.f_globals['right']",
        "return '{0.sum.x}'.format(kl)",
        "match torch:\n case object(builtins=b): pass\nreturn b.eval('right')",
        "return torch.load('answers')",
        "return torch.from_file('answers', size=9)",
        "return F.torch",
    ],
)
def test_a_line_cannot_fetch_the_right_loss_from_the_package(line):
    text = told_of(line)
    assert "sums of tensors, and of torch, f and math" in text.lower() or "is no Python" in text


def test_a_line_that_works_in_place_leaves_the_tests_as_they_are():
    spoiling = f"labels.fill_(0); student = 0\n{RIGHT}"
    called = with_mended_losses(mend)
    labels = torch.zeros(1, 4, dtype=torch.long) - 100
    student = teacher = torch.zeros(1, 4, 2)
    called("accumulation", 7, spoiling, student, teacher, labels, 1.0, 1)
    assert labels.tolist() == [[-100] * 4]
    for test in TESTS:
        finding(test, lambda *given: called("accumulation", 7, spoiling, *given))
    assert finding("positions", EXHIBITS["accumulation"]) is None


def test_another_line_makes_another_loss():
    assert finding("micro-batches", mended("accumulation", 7, RIGHT)) is None
    assert finding("micro-batches", mended("accumulation", 7, "return kl.mean()")) is not None
