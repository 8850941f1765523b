"""What a student's line may do where marks are given: hostile lines and honest ones, by hand."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.exercises import find, only_sums
from distill_lab.course.exercises.exercise import WrongError, judge
from distill_lab.course.exercises.lab5c.mend import mend
from distill_lab.course.exercises.lab5c.museum import EXHIBITS, TESTS, finding, mended, source

END = "\nreturn temperature**2 * kl.sum() / n_items"
HOSTILE = [
    ("__import__('os')", "`__import__`"),
    ("import os", "`import os`"),
    ("from os import system", "`from os import system`"),
    ("exec('1')", "`exec`"),
    ("eval('1')", "`eval`"),
    ("open('marks.json')", "`open`"),
    ("print(1)", "`print`"),
    ("getattr(torch, 'load')", "`getattr`"),
    ("globals()", "`globals`"),
    ("().__class__", "`().__class__`"),
    ("student.__class__.__base__", "`student.__class__"),
    ("F.softmax.__globals__", "`F.softmax.__globals__`"),
    ("mended", "`mended`"),
    ("__builtins__['open']", "`__builtins__`"),
    ("__builtins__ = 1", "`__builtins__`"),
    ("_LABELS.zero_()", "`_LABELS`"),
    ("torch.load('x')", "`torch.load`"),
    ("torch.save(kl, 'x')", "`torch.save`"),
    ("torch.from_file('x')", "`torch.from_file`"),
    ("torch.hub.load('x', 'y')", "`torch.hub.load`"),
    ("torch.os.system('true')", "`torch.os.system`"),
    ("torch.set_num_threads(1)", "`torch.set_num_threads`"),
    ("torch.import_ir_module(1, 'x')", "`torch.import_ir_module`"),
    ("F.torch.load('x')", "`F.torch.load`"),
    ("F.importlib.import_module('os')", "`F.importlib.import_module`"),
    ("F.handle_torch_function(1, 2)", "`F.handle_torch_function`"),
    ("F.warnings", "`F.warnings`"),
    ("math.__loader__", "`math.__loader__`"),
    ("t = torch; t.load('x')", "`torch`"),
    ("F = 1", "`F`"),
    ("sum = max", "`sum`"),
    ("torch.exp = torch.log", "`torch.exp`"),
    ("(F if 1 else torch).load('x')", "`(F if 1 else torch).load`"),
    ("(F if 1 else torch).exp(kl)", "`F`"),
    ("max(F, key=torch)", "`F`"),
    ("[F][0].torch", "`[F][0].torch`"),
    ("kl.numpy().tofile('x')", "`kl.numpy().tofile`"),
    ("kl.apply_(max)", "`kl.apply_`"),
    ("kl.register_hook(max)", "`kl.register_hook`"),
    ("kl.storage()", "`kl.storage`"),
    ("kl.share_memory_()", "`kl.share_memory_`"),
    ("kl.data_ptr()", "`kl.data_ptr`"),
    ("kl.set_(kl)", "`kl.set_`"),
    ("(lambda x=torch: x)()", "`lambda x=torch: x`"),
    ("f = lambda: f()", "`lambda: f()`"),
    ("(y := 1)", "`(y := 1)`"),
    ("def f(): return 1", "`def f()"),
    ("class A: pass", "`class A:`"),
    ("global TESTS", "`global TESTS`"),
    ("nonlocal_ = yield", "`(yield)`"),
    ("x = await kl", "`await kl`"),
    ("del student", "`del student`"),
    ("while 1: kl = 1", "`while 1:`"),
    ("for kl in labels: kl = 1", "`for kl in labels:`"),
    ("raise SystemExit", "`raise SystemExit`"),
    ("assert 0", "`assert 0`"),
    ("try: kl = 1\nfinally: kl = 2", None),
    ("with kl: kl = 1", "`with kl:`"),
    ("kl = {1: 2}", "`{1: 2}`"),
    ("kl = f'{student:>9999999999}'", "`f'"),
    ("kl = 'x' * n_items", "`'x'`"),
    ("kl = '%s'", "`'%s'`"),
    ("kl = '{0.__class__}'.format(kl)", "`'{0.__class__}'.format`"),
    ("kl = str(kl)", "`str`"),
    ("kl = 10**10**10", "`10 ** 10 ** 10`"),
    ("kl = 9**99999", "`9 ** 99999`"),
    ("kl = n_items**n_items", "`n_items ** n_items`"),
    ("n_items **= n_items", "`n_items **= n_items`"),
    ("kl = 1 << 99", "the operator LShift"),
    ("kl = math.factorial(99999)", "`math.factorial`"),
    ("kl = 99999999999999", "`99999999999999`"),
    ("kl = [0] * 1000 * 1000 * 1000", "numbers this large"),
    ("kl = kl.new_zeros(9999, 9999, 9999)", "numbers this large"),
    ("F.pad(**kl)", "`**kl`"),
    ("kl: int = 1", "`kl: int = 1`"),
    ("ｅｘｅｃ('1')", "`exec`"),
    ("kl = b'1'", "`b'1'`"),
    (9 * "kl = 1;", "more than 8 statements"),
    ("kl = " + "1 + " * 150 + "1", "expected at most 400 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "found"), HOSTILE, ids=[line for line, _ in HOSTILE])
def test_a_line_that_does_more_than_sums_never_runs(line, found):
    with pytest.raises((WrongError, SyntaxError)) as refused:
        mended("accumulation", 7, f"{line}{END}")
    assert found is None or found in str(refused.value)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, "@print\ndef temperature(student, teacher, labels, temperature, n_items):"),
        (1, "def temperature(student, teacher, labels, temperature, n_items=open('x')):"),
        (1, "def temperature(student, teacher, labels, temperature, n_items) -> open('x'):"),
        (1, "async def temperature(student, teacher, labels, temperature, n_items):"),
        (1, "x = 1\ndef temperature(student, teacher, labels, temperature, n_items):"),
    ],
)
def test_the_first_line_stays_as_it_is(line, text):
    with pytest.raises(WrongError, match="another first line"):
        mended("temperature", line, text)


@pytest.mark.parametrize("text", ["kl = 1\0", "kl = '\ud800'", "(" * 300, "kl = '''", "kl = 'x"])
def test_what_python_cannot_read_is_no_python(text):
    with pytest.raises(SyntaxError):
        mended("accumulation", 7, text)


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


@pytest.mark.parametrize("bug", EXHIBITS)
def test_the_exhibits_themselves_are_only_sums(bug):
    only_sums.checked(source(bug), source(bug))


def test_the_check_says_what_it_found_and_gives_no_point():
    answer = ("micro-batches", 7, "return open('marks.json')")
    outcome = judge(find("lab5c.mend"), lambda b: answer if b == "accumulation" else mend(b))
    assert outcome.points == 4
    assert "math, found `open`. A loss needs" in str(outcome.wrong[-1])


def test_a_line_that_works_in_place_leaves_the_tests_as_they_are():
    mended_line = "labels.fill_(0); student = 0\nreturn temperature**2 * kl.sum() / n_items"
    spoiling = mended("accumulation", 7, mended_line)
    labels = torch.zeros(1, 4, dtype=torch.long) - 100
    spoiling(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), labels, 1.0, 1)
    assert labels.tolist() == [[-100] * 4]
    for test in TESTS:
        finding(test, spoiling)
    assert finding("positions", EXHIBITS["accumulation"]) is None


@pytest.mark.parametrize("text", ["kl = {}", "kl = (lambda: {})()", "return open({})"])
def test_what_is_nested_deep_is_refused_or_runs(text):
    answer = ("micro-batches", 7, text.format(380 * "-" + "1"))
    outcome = judge(find("lab5c.mend"), lambda bug: answer)
    assert outcome.points == 0
    assert "It raised" not in str(outcome.wrong)


def test_rounds_are_few():
    with pytest.raises(ValueError, match="at most 1000 rounds"):
        only_sums.builtins()["range"](10_000)
