"""Losses between two vocabularies: tables, TRL's GOLD as the oracle, and what ULD cannot see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distill_lab.losses.across_vocabularies import (
    OtherTeacher,
    SharedTokens,
    across_vocabularies_loss,
    hybrid,
    uld,
)
from distill_lab.losses.distillation import Head, Objective, divergence
from distill_lab.losses.fused import distillation_loss

V, V_T, S = 11, 14, 6  # the student's vocabulary, the teacher's, and what both have


def random_logits(n: int, width: int, seed: int) -> Tensor:
    return 2 * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def log_probs(n: int, width: int, seed: int) -> Tensor:
    return random_logits(n, width, seed).log_softmax(-1)


def pairs_of(seed: int, n: int = S) -> SharedTokens:
    random = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randperm(width, generator=random)[:n] for width in (V, V_T))
    return SharedTokens(student, teacher)


# --- ULD ------------------------------------------------------------------------------------------

TABLE = [  # the teacher's probabilities, the student's, and their distance
    ([0.9, 0.1], [0.9, 0.1], 0.0),
    ([0.7, 0.3], [0.2, 0.8], 0.2),
    ([0.5, 0.5], [1.0], 1.0),
    ([1.0], [0.25, 0.25, 0.25, 0.25], 1.5),
    ([0.1, 0.2, 0.7], [0.6, 0.4], 0.4),
]


@pytest.mark.parametrize(("p", "q", "distance"), TABLE)
def test_uld_by_hand(p, q, distance):
    assert uld(torch.tensor([p]), torch.tensor([q])).item() == pytest.approx(distance, abs=1e-6)


def test_ulds_blind_spot():
    """The teacher is sure of A, the student of B: that costs nothing, and the hybrid sees it."""
    p, q = torch.tensor([[0.9, 0.06, 0.04]]), torch.tensor([[0.06, 0.9, 0.04]])
    assert uld(p, q).item() == 0
    same = SharedTokens(torch.arange(3), torch.arange(3))
    assert hybrid(p.log(), q.log(), same, Objective()).item() == pytest.approx(2.2748, abs=1e-4)


@given(st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_order_of_a_vocabulary_does_not_count(seed):
    p, q = log_probs(3, V_T, seed).exp(), log_probs(3, V, seed + 1).exp()
    shuffled = q[:, torch.randperm(V, generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(uld(p, shuffled), uld(p, q))
    torch.testing.assert_close(uld(q, p), uld(p, q))


# --- the hybrid -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["forward-kl", "reverse-kl", "jsd"])
def test_the_hybrid_by_loops(kind):
    """What both have is held against each other by name, the others' sum once, and their sizes."""
    objective, shared = Objective(1.0, 1.0, kind, 0.3), pairs_of(1)
    log_p, log_q = log_probs(2, V_T, 3).double(), log_probs(2, V, 4).double()
    for row in range(2):
        outcomes: list[tuple[float, float]] = []
        for i, j in zip(shared.student.tolist(), shared.teacher.tolist(), strict=True):
            outcomes.append((log_p[row, j].exp().item(), log_q[row, i].exp().item()))
        outcomes.append((1 - sum(p for p, _ in outcomes), 1 - sum(q for _, q in outcomes)))
        p, q = torch.tensor(outcomes, dtype=torch.double).T
        others = [
            sorted((value for k, value in enumerate(log.exp()[row].tolist()) if k not in ids),
                   reverse=True)
            for log, ids in ((log_p, shared.teacher.tolist()), (log_q, shared.student.tolist()))
        ]  # fmt: skip
        others[1] += [0.0] * (V_T - V)
        apart = sum(abs(a - b) for a, b in zip(*others, strict=True))
        expected = divergence(p.log()[None], q.log()[None], objective).item() + apart
        found = hybrid(log_p, log_q, shared, objective)[row].item()
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["forward-kl", "reverse-kl", "jsd"])
def test_the_hybrid_is_0_where_both_say_the_same_in_other_ids(kind):
    """Shared tokens under other ids, the others too; and it is 0 there alone."""
    log_q = log_probs(4, V, 5)
    order = torch.randperm(V, generator=torch.Generator().manual_seed(6))
    log_p = log_q[:, order]  # the teacher's token k is the student's order[k]
    shared = SharedTokens(order[:S], torch.arange(S))
    objective = Objective(1.0, 1.0, kind)
    torch.testing.assert_close(
        hybrid(log_p, log_q, shared, objective), torch.zeros(4), atol=1e-6, rtol=0
    )
    wrong = SharedTokens(order[:S], torch.arange(S).roll(1))
    assert (hybrid(log_p, log_q, wrong, objective) > 0.01).all()


@pytest.mark.parametrize("widths", [(V, S), (S, V_T)])
def test_without_others_both_are_cut_to_what_is_shared(widths):
    """Else a vocabulary without others would be infinitely far from one with some."""
    log_q, log_p = log_probs(3, widths[0], 7), log_probs(3, widths[1], 8)
    shared = SharedTokens(torch.arange(S), torch.arange(S))
    found = hybrid(log_p, log_q, shared, Objective())
    log_p, log_q = (each[:, :S].log_softmax(-1) for each in (log_p, log_q))
    torch.testing.assert_close(found, divergence(log_p, log_q, Objective()))


# --- the whole loss -------------------------------------------------------------------------------


class Case:
    """States and heads of both, and pairs of every other token of the student's."""

    def __init__(self, n: int = 9, method: str = "hybrid") -> None:
        random = torch.Generator().manual_seed(n)
        self.states = torch.randn(n, 4, generator=random).requires_grad_()
        self.weight = random_logits(V, 4, 1).requires_grad_()
        self.targets = torch.randint(0, V, (n,), generator=random)
        rows = torch.arange(0, n, 2)
        self.teacher = OtherTeacher(
            torch.randn(len(rows), 5, generator=random),
            Head(random_logits(V_T, 5, 2)),
            rows,
            rows % 4 == 0,
            pairs_of(3) if method == "hybrid" else None,
        )

    def loss(self, objective: Objective, **more: Any) -> Any:
        head: Any = Head(self.weight)
        return across_vocabularies_loss(
            self.states, head, self.targets, objective, self.teacher, **more
        )

    def by_formula(self, objective: Objective) -> tuple[Tensor, Tensor]:
        """CE and the distance, each a sum over tokens, one token at a time."""
        t, teacher = objective.temperature, self.teacher
        logits = self.states @ self.weight.T
        ce = nn.functional.cross_entropy(logits, self.targets, reduction="sum")
        apart = torch.zeros(())
        for k, row in enumerate(teacher.rows.tolist()):
            log_p = (teacher.head(teacher.states[k : k + 1]) / t).log_softmax(-1)
            log_q = (logits[row : row + 1] / t).log_softmax(-1)
            if teacher.shared and teacher.alike[k]:
                apart = apart + hybrid(log_p, log_q, teacher.shared, objective).sum()
            else:
                apart = apart + uld(log_p.exp(), log_q.exp()).sum()
        return ce, apart


@pytest.mark.parametrize("budget", [1, 10_000, 2**27])
@pytest.mark.parametrize("method", ["uld", "hybrid"])
def test_it_is_the_formula_whatever_the_chunk(method, budget):
    objective, case = Objective(0.3, 2.0, "jsd"), Case(9, method)
    loss = case.loss(objective, n_items=20, budget=budget)
    ce, apart = (part / 20 for part in case.by_formula(objective))
    expected = 0.7 * ce + 0.3 * 4 * apart
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close((loss.ce, loss.kl), (ce.detach(), apart.detach()))
    inputs = [case.states, case.weight]
    for ours, theirs in zip(
        torch.autograd.grad(loss.total, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_where_nothing_meets_ce_is_left():
    case = Case(4)
    case.teacher = case.teacher[:0]
    loss, plain = (
        case.loss(Objective(0.5, 2.0)),
        distillation_loss(case.states, Head(case.weight), case.targets, Objective()),
    )
    torch.testing.assert_close(loss.total, 0.5 * plain.total)
    assert loss.kl == 0


def test_a_step_of_descent_brings_them_nearer():
    case, objective = Case(9), Objective(1.0, 1.0, "jsd")
    before = case.loss(objective)
    (slope,) = torch.autograd.grad(before.total, case.weight)
    case.weight = (case.weight - 0.5 * slope).detach().requires_grad_()
    assert case.loss(objective).kl < before.kl


# --- TRL's GOLD -----------------------------------------------------------------------------------


def gold(**changes: Any) -> Any:
    """Its loss with the shift by one token (its default, `observed`, scores each token against the
    logits after it), without the weights that it takes from the sizes of the vocabularies."""
    pytest.importorskip("trl")
    from trl.experimental.gold.gold_trainer import ULDLoss

    values = {
        "uld_crossentropy_weight": 0.0, "uld_distillation_weight": 1.0,
        "uld_student_temperature": 2.0, "uld_teacher_temperature": 2.0,
        "uld_skip_student_eos": False, "uld_skip_teacher_eos": False,
        "use_extended_uld": True, "uld_token_merge_strategy": "bayesian",
        "uld_use_hybrid_loss": False, "uld_hybrid_matched_weight": 1.0,
        "uld_hybrid_unmatched_weight": 1.0, "beta": 0.3,
    }  # fmt: skip
    return ULDLoss(SimpleNamespace(**{**values, **changes}))  # type: ignore[arg-type]


def gold_value(loss: Any, student: Tensor, teacher: Tensor) -> Tensor:
    """Of logits (T, V) and (T, V_t) whose tokens 2 to T are a completion, all of them alike."""
    t = len(student)
    labels = torch.tensor([[-100, -100, *[1] * (t - 2)]])
    ids = torch.ones(1, t, dtype=torch.long)
    offsets = torch.tensor([[[0, 0], [0, 0], *([k, k + 1] for k in range(t - 2))]])
    return loss(student[None], teacher[None], labels, labels, ids, ids, offsets, offsets)


@pytest.mark.slow  # importing its trainers takes seconds
@pytest.mark.filterwarnings("ignore")
def test_on_the_same_pieces_of_text_uld_is_golds():
    student, teacher = random_logits(7, V, 1), random_logits(7, V_T, 2)
    ours = uld(*((each[1:-1] / 2).softmax(-1) for each in (teacher, student))).mean()
    torch.testing.assert_close(gold_value(gold(), student, teacher), ours)


@pytest.mark.slow  # importing its trainers takes seconds
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "beta"), [("forward-kl", 0.0), ("reverse-kl", 1.0), ("jsd", 0.3)])
def test_the_hybrid_is_golds_but_for_the_one_outcome_that_it_leaves_out(kind, beta):
    """Its sum over matched tokens alone is of no distributions, and can be below 0."""
    student, teacher = random_logits(7, V, 3), random_logits(7, V_T, 4)
    shared, objective = pairs_of(9), Objective(1.0, 2.0, kind, 0.3)
    names = [dict(zip(map(str, range(S)), ids.tolist(), strict=True))
             for ids in (shared.student, shared.teacher)]  # fmt: skip
    tokenizers = [SimpleNamespace(get_vocab=lambda names=names: names) for names in names]
    loss = gold(uld_use_hybrid_loss=True, beta=beta)
    loss.student_tokenizer, loss.teacher_tokenizer = tokenizers
    loss._initialize_vocabulary_mapping()
    log_p, log_q = ((each[1:-1] / 2).log_softmax(-1) for each in (teacher, student))
    of_p, of_q = (
        (1 - log[:, ids].exp().sum(-1, keepdim=True)).log()
        for log, ids in ((log_p, shared.teacher), (log_q, shared.student))
    )
    left_out = divergence(of_p, of_q, objective)  # of one outcome
    ours = (hybrid(log_p, log_q, shared, objective) - left_out).mean()
    torch.testing.assert_close(gold_value(loss, student, teacher), ours, rtol=1e-5, atol=1e-6)
