"""The objective against its formula in dense float64, hand-written tables, and others' mistakes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distill_lab.losses.distillation import (
    IGNORED,
    DenseTeacher,
    Head,
    Objective,
    OpaqueHead,
    SparseTeacher,
    completion_labels,
    completion_states,
    divergence,
    plain_loss,
    soften,
)
from distill_lab.losses.fused import chunks, distillation_loss

N, H, H_TEACHER, V = 7, 8, 12, 11


def dense_loss(student, targets, teacher, alpha, temperature) -> Tensor:
    """The formula, in float64, over dense logits (N, V) of one width, with logarithms of sums."""
    log_p = student - student.logsumexp(-1, keepdim=True)
    ce = -log_p[range(len(targets)), targets].mean()
    p = (teacher / temperature).exp() / (teacher / temperature).exp().sum(-1, keepdim=True)
    q = (student / temperature).exp() / (student / temperature).exp().sum(-1, keepdim=True)
    kl = (p * (p.log() - q.log())).sum(-1).mean()
    return ((1 - alpha) * ce + alpha * temperature**2 * kl).float()


def linear(hidden, vocabulary, seed):
    layer = nn.Linear(hidden, vocabulary, bias=False)
    layer.weight.data = 2 * torch.randn(
        vocabulary, hidden, generator=torch.Generator().manual_seed(seed)
    )
    return layer


def transparent(layer):
    return Head(layer.weight, layer.bias)


def kl_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    log_p, log_q = DenseTeacher(teacher, nn.Identity()).outcomes(student, temperature)
    return divergence(log_p, log_q, Objective())


class Case:
    """Two models' states and heads: of different hidden sizes, and of as many rows as asked for."""

    def __init__(self, n=N, student_rows=V, teacher_rows=V, seed=0):
        random = torch.Generator().manual_seed(seed)
        self.states = torch.randn(n, H, generator=random).requires_grad_()
        self.theirs = torch.randn(n, H_TEACHER, generator=random).requires_grad_()
        self.targets = torch.randint(0, min(student_rows, teacher_rows), (n,), generator=random)
        self.head = linear(H, student_rows, seed)
        self.teacher_head = linear(H_TEACHER, teacher_rows, seed + 1)

    def loss(self, alpha=0.5, temperature=2.0, chunk=1024, n_items=None):
        teacher = DenseTeacher(self.theirs, transparent(self.teacher_head))
        return distillation_loss(
            self.states,
            transparent(self.head),
            self.targets,
            Objective(alpha, temperature),
            teacher,
            n_items,
            budget=chunk * 8 * len(self.head.weight),
        )

    def dense(self, alpha=0.5, temperature=2.0) -> Tensor:
        student = self.states.double() @ self.head.weight.double().T
        teacher = (self.theirs.double() @ self.teacher_head.weight.double().T).detach()
        return dense_loss(student, self.targets, teacher, alpha, temperature)

    def gradients(self, total: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(total, [self.states, self.head.weight]))


# --- the formula ----------------------------------------------------------------------------------


@given(
    n=st.integers(1, 9),
    alpha=st.floats(0, 1),
    temperature=st.floats(0.5, 8),
    chunk=st.integers(1, 10),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_it_is_the_formula_whatever_the_chunk(n, alpha, temperature, chunk, seed):
    case = Case(n=n, seed=seed)
    ours, dense = case.loss(alpha, temperature, chunk=chunk).total, case.dense(alpha, temperature)
    torch.testing.assert_close(ours, dense, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(case.gradients(ours), case.gradients(dense), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_its_two_parts_are_ce_and_kl_before_alpha_and_t_squared(alpha, temperature):
    loss = Case().loss(alpha, temperature)
    whole = (1 - alpha) * loss.ce + alpha * temperature**2 * loss.kl
    torch.testing.assert_close(loss.total.detach(), whole)
    torch.testing.assert_close(loss.ce, Case().dense(0.0).detach())
    kl = Case().dense(1.0, temperature).detach() / temperature**2 if alpha else torch.zeros(())
    torch.testing.assert_close(loss.kl, kl, rtol=1e-5, atol=1e-6)
    assert not loss.ce.requires_grad
    assert not loss.kl.requires_grad


def test_alpha_0_needs_no_teacher_and_asks_none():
    def refuse(_: Tensor) -> Tensor:
        raise AssertionError("the teacher was asked")

    case = Case()
    head, none = transparent(case.head), Objective()
    alone = distillation_loss(case.states, head, case.targets, none)
    teacher = DenseTeacher(case.theirs, refuse)
    beside = distillation_loss(case.states, head, case.targets, none, teacher)
    assert alone.total == beside.total
    assert alone.kl == beside.kl == 0
    torch.testing.assert_close(alone.total, case.dense(0.0))


def test_alpha_1_is_the_kl_alone_and_the_targets_play_no_part():
    case = Case()
    before = case.gradients(case.loss(alpha=1.0).total)
    case.targets = (case.targets + 1) % V
    for one, other in zip(before, case.gradients(case.loss(alpha=1.0).total), strict=True):
        assert torch.equal(one, other)


def test_alpha_above_0_without_a_teacher_is_refused():
    case = Case()
    with pytest.raises(AssertionError, match="needs a teacher"):
        distillation_loss(case.states, transparent(case.head), case.targets, Objective(0.5))


def test_a_teacher_with_other_completions_is_refused():
    case = Case()
    case.theirs = case.theirs[1:]
    with pytest.raises(AssertionError, match="same completions"):
        case.loss()


# --- temperature ----------------------------------------------------------------------------------

#   logits ln 4, 0 and ln 9, 0   T = 1: 4/5, 1/5 and 9/10, 1/10   T = 2: 2/3, 1/3 and 3/4, 1/4
TEACHER, STUDENT = torch.tensor([[math.log(4), 0.0]]), torch.tensor([[math.log(9), 0.0]])


@pytest.mark.parametrize(
    ("temperature", "p", "q"),
    [(1, (4 / 5, 1 / 5), (9 / 10, 1 / 10)), (2, (2 / 3, 1 / 3), (3 / 4, 1 / 4))],
)
def test_softening_and_kl_by_hand(temperature, p, q):
    torch.testing.assert_close(soften(TEACHER, temperature).exp(), torch.tensor([p]))
    by_hand = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert kl_divergence(TEACHER, STUDENT, temperature).item() == pytest.approx(by_hand, abs=1e-6)


def test_kl_runs_from_teacher_to_student():
    forward = 0.8 * math.log(0.8 / 0.9) + 0.2 * math.log(0.2 / 0.1)  # 0.0444
    reverse = 0.9 * math.log(0.9 / 0.8) + 0.1 * math.log(0.1 / 0.2)  # 0.0367
    assert kl_divergence(TEACHER, STUDENT, 1.0).item() == pytest.approx(forward, abs=1e-6)
    assert kl_divergence(STUDENT, TEACHER, 1.0).item() == pytest.approx(reverse, abs=1e-6)
    teacher = DenseTeacher(TEACHER, nn.Identity())
    both = distillation_loss(
        STUDENT, Head(torch.eye(2)), torch.tensor([0]), Objective(0.5), teacher
    )
    assert both.kl.item() == pytest.approx(forward, abs=1e-6)


def test_temperature_changes_the_loss():
    at_1, at_2 = Case().loss(1.0, 1.0), Case().loss(1.0, 2.0)
    assert at_1.kl.item() != pytest.approx(at_2.kl.item(), rel=0.05)
    assert at_1.total.item() != pytest.approx(at_2.total.item(), rel=0.05)


def test_t_squared_keeps_the_gradient_at_its_size():
    """Without T^2 it falls to a 1/64 from T = 4 to T = 32; with it, it settles (Hinton, 2.1)."""

    def norm(temperature):
        case = Case(n=50)
        return case.gradients(case.loss(1.0, temperature).total)[0].norm().item()

    assert norm(32.0) == pytest.approx(norm(16.0), rel=0.05)
    assert 0.5 < norm(32.0) / norm(4.0) < 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_identical_models_give_0_and_no_gradient(temperature):
    """Not the teacher's entropy, which a cross-entropy with soft targets would give."""
    case = Case()
    case.teacher_head, case.theirs = case.head, case.states
    loss = case.loss(1.0, temperature)
    assert abs(loss.total.item()) < 1e-5
    assert all(part.abs().max() < 1e-5 for part in case.gradients(loss.total))


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 8))
@settings(deadline=None, max_examples=30)
def test_kl_is_never_negative(seed, temperature):
    random = torch.Generator().manual_seed(seed)
    teacher, student = 3 * torch.randn(2, N, V, generator=random)
    assert (kl_divergence(teacher, student, temperature) > -1e-6).all()


def test_a_certain_teacher_gives_no_nan():
    teacher = torch.tensor([[0.0, 500.0, -500.0]])
    student = torch.tensor([[0.0, 0.0, 0.0]])
    assert kl_divergence(teacher, student, 1.0).item() == pytest.approx(math.log(3))


# --- vocabularies of different width --------------------------------------------------------------


@pytest.mark.parametrize(("student_rows", "teacher_rows"), [(V, V + 4), (V + 4, V), (V, V)])
def test_padded_rows_take_no_probability(student_rows, teacher_rows):
    """The rows beyond the shared ones are huge: a softmax before the cut would give them all."""
    case = Case(student_rows=student_rows, teacher_rows=teacher_rows)
    with torch.no_grad():
        case.head.weight[V:] = 50.0
        case.teacher_head.weight[V:] = 50.0
    loss = case.loss(1.0)
    narrow = Case(student_rows=student_rows, teacher_rows=teacher_rows)
    narrow.head.weight.data = case.head.weight.data[:V].clone()
    narrow.teacher_head.weight.data = case.teacher_head.weight.data[:V].clone()
    torch.testing.assert_close(loss.total, narrow.dense(1.0))
    torch.testing.assert_close(loss.total, narrow.loss(1.0).total)
    assert case.gradients(loss.total)[1][V:].abs().sum() == 0


@pytest.mark.parametrize("padding", [0.0, 3.0])
def test_a_padded_copy_of_the_teacher_gives_0(padding):
    case = Case(student_rows=V + 4)
    case.theirs = case.states
    case.teacher_head = linear(H, V, seed=0)
    with torch.no_grad():
        case.head.weight[:V] = case.teacher_head.weight
        case.head.weight[V:] = padding
    assert case.loss(1.0).total.item() == pytest.approx(0, abs=1e-6)


# --- which token is learnt from which position ----------------------------------------------------

P, E = 5, 9  # prompt tokens are 5; the end token is 9
TABLES = {
    "prompt, completion, end, padding": (
        [P, P, 1, 2, E, 0, 0],  # input
        [0, 0, 1, 1, 1, 0, 0],  # mask: 1 on the completion
        [1, 2, E],  # targets
        [1, 2, 3],  # read from these positions
    ),
    "the padding is the end token": (
        [P, P, 1, 2, E, E, E],
        [0, 0, 1, 1, 1, 0, 0],
        [1, 2, E],
        [1, 2, 3],
    ),
    "no padding": (
        [P, P, P, P, 1, 2, E],
        [0, 0, 0, 0, 1, 1, 1],
        [1, 2, E],
        [3, 4, 5],
    ),
    "the end token stands in the prompt too": (
        [P, E, P, 1, E, 0, 0],
        [0, 0, 0, 1, 1, 0, 0],
        [1, E],
        [2, 3],
    ),
    "nothing but the end token": (
        [P, P, P, E, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [E],
        [2],
    ),
    "no completion": (
        [P, P, P, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [],
        [],
    ),
}


def places(rows: int, width: int) -> Tensor:
    """Hidden states (B, T, 2) that say where they stand: row and position."""
    return torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(width), indexing="ij"), -1)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_shift_and_mask(table):
    ids, mask, targets, read_from = table
    labels = completion_labels(torch.tensor([ids]), torch.tensor([mask]).bool())
    assert labels.tolist() == [[i if m else IGNORED for i, m in zip(ids, mask, strict=True)]]
    states, found = completion_states(places(1, len(ids)), labels)
    assert found.tolist() == targets
    assert states[:, 1].tolist() == read_from


def test_shift_and_mask_of_a_batch():
    chosen = [TABLES[name] for name in ("no padding", "nothing but the end token")]
    ids, masks = (torch.tensor([table[i] for table in chosen]) for i in (0, 1))
    states, targets = completion_states(places(2, 7), completion_labels(ids, masks.bool()))
    assert targets.tolist() == [1, 2, E, E]
    assert states.tolist() == [[0, 3], [0, 4], [0, 5], [1, 2]]


# --- the mean -------------------------------------------------------------------------------------


def test_the_mean_is_over_completion_tokens_alone():
    """Uniform logits cost ln V a token, however much prompt and padding stand around it."""
    for table in TABLES.values():
        ids, mask = torch.tensor([table[0]]), torch.tensor([table[1]]).bool()
        states, targets = completion_states(torch.zeros(1, 7, H), completion_labels(ids, mask))
        loss = distillation_loss(states, Head(torch.randn(V, H)), targets, Objective())
        assert loss.total.item() == pytest.approx(math.log(V) if len(targets) else 0)


@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_parts_of_a_step_add_up_to_the_whole(kind):
    """Micro-batches of 1, 2 and 4 tokens: a mean of their means would be another number."""
    case = Case(n=7)
    whole = case.loss()
    parts = []
    for rows in (slice(0, 1), slice(1, 3), slice(3, 7)):
        part = Case(n=7)
        part.states, part.theirs = case.states[rows], case.theirs[rows]
        part.targets, part.head, part.teacher_head = (
            case.targets[rows],
            case.head,
            case.teacher_head,
        )
        parts.append(part.loss(n_items=kind(7)))
    total = torch.stack([part.total for part in parts]).sum()
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(sum(part.ce for part in parts), whole.ce)
    torch.testing.assert_close(sum(part.kl for part in parts), whole.kl)
    for one, other in zip(case.gradients(total), case.gradients(whole.total), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("n_items", [None, 0, 5, torch.tensor(0), torch.tensor(5)])
@pytest.mark.parametrize("head_of", [transparent, lambda layer: OpaqueHead(layer, "a test")])
@pytest.mark.parametrize("kind", [distillation_loss, plain_loss])
def test_a_batch_with_no_completion_gives_0_and_a_gradient_of_0(alpha, n_items, head_of, kind):
    case = Case(n=N)
    case.states.data.mul_(1e30)  # whose sum overflows
    states = case.states
    teacher = DenseTeacher(case.theirs[:0], transparent(case.teacher_head))
    empty = kind(
        states[:0], head_of(case.head), case.targets[:0], Objective(alpha), teacher, n_items
    )
    assert (empty.total.item(), empty.ce.item(), empty.kl.item()) == (0, 0, 0)
    empty.total.backward()
    assert states.grad is not None
    assert states.grad.abs().sum() == 0


# --- dtypes and gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_softmax_is_float32_whatever_the_weights_are_in(dtype):
    """40,000 logits near 0: in half precision their probabilities do not add up to 1."""
    logits = torch.linspace(-1, 1, 40_000).to(dtype)[None]
    softened = soften(logits, 2.0)
    assert softened.dtype == torch.float32
    exact = torch.log_softmax(logits.double() / 2, -1)
    torch.testing.assert_close(softened.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_heads_give_a_float32_loss(dtype):
    case = Case(n=40, student_rows=3000, teacher_rows=3000)
    case.head.to(dtype)
    case.teacher_head.to(dtype)
    case.states = case.states.detach().to(dtype).requires_grad_()
    case.theirs = case.theirs.detach().to(dtype)
    loss = case.loss()
    assert {loss.total.dtype, loss.ce.dtype, loss.kl.dtype} == {torch.float32}
    with torch.no_grad():  # the same half-precision logits, the rest in float64
        student, teacher = case.head(case.states), case.teacher_head(case.theirs)
    exact = dense_loss(student.double(), case.targets, teacher.double(), 0.5, 2.0)
    torch.testing.assert_close(loss.total, exact, rtol=1e-5, atol=1e-5)


def test_many_large_states_in_float16_give_no_nan():
    """Their sum is beyond float16, and infinity times 0 is NaN."""
    states = torch.full((1000, 64), 30.0, dtype=torch.float16, requires_grad=True)
    head = linear(64, V, seed=0).half()
    with torch.no_grad():
        head.weight.mul_(0.01)
    targets = torch.zeros(1000, dtype=torch.long)
    loss = distillation_loss(states, transparent(head), targets, Objective())
    assert torch.isfinite(loss.total)
    assert torch.isfinite(torch.autograd.grad(loss.total, states)[0]).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_teacher_gets_no_gradient(alpha):
    case = Case()
    case.loss(alpha).total.backward()
    assert case.theirs.grad is None
    assert case.teacher_head.weight.grad is None
    assert case.states.grad is not None
    assert case.head.weight.grad is not None


class CountedHead(torch.autograd.Function):
    """A matrix product that notes whether its weight's gradient was asked for."""

    asked: list[bool]

    @staticmethod
    def forward(ctx, states, weight):
        ctx.save_for_backward(states, weight)
        return states @ weight.T

    @staticmethod
    def backward(ctx, *grad_outputs):
        (states, weight), (grad,) = ctx.saved_tensors, grad_outputs
        CountedHead.asked.append(ctx.needs_input_grad[1])
        weight_grad = grad.T @ states if ctx.needs_input_grad[1] else None
        return grad @ weight, weight_grad


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_head_gets_no_gradient_computed(frozen):
    case = Case()
    case.head.weight.requires_grad_(not frozen)
    CountedHead.asked = []
    loss = distillation_loss(
        case.states,
        lambda states: CountedHead.apply(states, case.head.weight),
        case.targets,
        Objective(0.5, 2.0),
        DenseTeacher(case.theirs, transparent(case.teacher_head)),
        budget=2 * 8 * V,
    )
    loss.total.backward()
    assert CountedHead.asked == [not frozen] * math.ceil(N / 2)
    assert (case.head.weight.grad is None) == frozen
    exact = torch.autograd.grad(case.dense(), case.states)[0]
    torch.testing.assert_close(case.states.grad, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opaque", [False, True])
def test_no_logits_are_kept_for_the_backward_pass(opaque):
    """The widest tensor that outlives the forward pass is no wider than a chunk's logits."""
    case, kept = Case(n=64, student_rows=500, teacher_rows=500), []
    head = OpaqueHead(case.head, "a test") if opaque else transparent(case.head)
    teacher = DenseTeacher(case.theirs, transparent(case.teacher_head))

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = distillation_loss(
            case.states, head, case.targets, Objective(0.5), teacher, budget=16 * 8 * 500
        )
    assert max(kept, default=0) < 16 * 500
    loss.total.backward()


@pytest.mark.parametrize(
    ("n", "vocabulary", "budget", "expected"),
    [
        (512, 151_936, 128 * 2**20, [96] * 5 + [32]),
        (500, 50_000, 112 * 400_000, [112] * 4 + [52]),  # whole steps of 16: 100 would be slower
        (7, 10, 1, [1] * 7),  # not even one token fits
        (20, 10, 80 * 20, [16, 4]),
        (3, 10, 80 * 20, [3]),
        (0, 10, 80, []),
    ],
)
def test_chunks_fit_the_budget_in_whole_steps(n, vocabulary, budget, expected):
    made = list(chunks(n, vocabulary, True, budget))
    assert [rows.stop - rows.start for rows in made] == expected
    assert [row for rows in made for row in range(n)[rows]] == list(range(n))


# --- all that the fused loss has, against float64 -------------------------------------------------

KINDS = ("forward-kl", "reverse-kl", "jsd")


def reference_divergence(p: Tensor, q: Tensor, kind: str, beta: float) -> Tensor:
    """Over probabilities in float64, each as its definition says."""

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(a > 0, a * (a / b).log(), torch.zeros_like(a)).sum(-1)

    if kind == "jsd":
        m = beta * p + (1 - beta) * q
        return beta * kl(p, m) + (1 - beta) * kl(q, m)
    return kl(p, q) if kind == "forward-kl" else kl(q, p)


def reference_logits(states, weight, bias, scale, cap) -> Tensor:
    logits = states @ weight.T
    logits = scale * (logits if bias is None else logits + bias)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def lumped(p: Tensor, ids: Tensor) -> Tensor:
    """Probabilities of some tokens, and of all others together."""
    return torch.cat([p.gather(1, ids), p.scatter(1, ids, 0.0).sum(-1, keepdim=True)], 1)


@given(
    n=st.integers(1, 9),
    rows=st.integers(9, 40),
    extra=st.integers(-4, 4),
    alpha=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.floats(0.5, 8),
    kind=st.sampled_from(KINDS),
    beta=st.floats(0.05, 0.95),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.25]),
    cap=st.sampled_from([None, 3.0]),
    k=st.sampled_from([None, 1, 4]),
    chunk=st.integers(1, 10),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=200)
def test_fused_and_plain_are_the_float64_reference(
    n, rows, extra, alpha, temperature, kind, beta, bias, scale, cap, k, chunk, seed
):
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    leaves = [draw(n, H), draw(rows, H), *([draw(rows)] if bias else [])]
    theirs, their_weight = draw(n, H_TEACHER), draw(rows + extra, H_TEACHER)
    shared = min(rows, rows + extra)
    targets = torch.randint(0, shared, (n,), generator=random)
    objective = Objective(alpha, temperature, kind, beta)  # type: ignore[arg-type]

    exact = [leaf.double().requires_grad_() for leaf in leaves]
    logits = reference_logits(exact[0], exact[1], exact[2] if bias else None, scale, cap)
    p = ((theirs.double() @ their_weight.double().T)[:, :shared] / temperature).softmax(-1)
    q = (logits[:, :shared] / temperature).softmax(-1)
    teacher: DenseTeacher | SparseTeacher = DenseTeacher(theirs, Head(their_weight))
    if k:
        ids = p.topk(k, -1).indices
        p, q = lumped(p, ids), lumped(q, ids)
        teacher = SparseTeacher(ids, p[:, :-1].log().float(), p[:, -1].log().float(), shared)
    ce = -logits.log_softmax(-1)[range(n), targets].mean()
    apart = reference_divergence(p, q, kind, beta).mean()
    total = (1 - alpha) * ce + alpha * temperature**2 * apart
    gradients = torch.autograd.grad(total, exact)

    for way in ("fused", "opaque", "plain"):
        mine = [leaf.clone().requires_grad_() for leaf in leaves]
        head: Any = Head(mine[1], mine[2] if bias else None, scale, cap)
        if way == "plain":
            made = plain_loss(mine[0], head, targets, objective, teacher)
        else:
            head = OpaqueHead(head, "a test") if way == "opaque" else head
            budget = chunk * 8 * rows
            made = distillation_loss(mine[0], head, targets, objective, teacher, budget=budget)
        # float32 holds a log-probability to 1e-7 of its size, and T^2 multiplies what that costs
        near = 1e-6 * max(3, temperature**2)
        torch.testing.assert_close(made.total.double(), total, rtol=1e-6, atol=near)
        for ours, right in zip(torch.autograd.grad(made.total, mine), gradients, strict=True):
            assert (ours - right).norm() <= 1e-5 * right.norm() + near, way


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [True, False])
def test_identical_models_give_0_with_every_divergence(kind, tail):
    case = Case(n=6)
    objective = Objective(1.0, 2.0, kind, 0.3)
    log_p = soften(case.head(case.states).detach(), 2.0)
    ids = log_p.topk(4 if tail else V, -1).indices
    rest = log_p.scatter(1, ids, -math.inf).logsumexp(1) if tail else None
    sparse = SparseTeacher(ids, log_p.gather(1, ids), rest, V)
    for teacher in (DenseTeacher(case.states.detach(), transparent(case.head)), sparse):
        loss = distillation_loss(
            case.states, transparent(case.head), case.targets, objective, teacher
        )
        assert abs(loss.total.item()) < 1e-5
        assert torch.autograd.grad(loss.total, case.states)[0].abs().max() < 1e-5


def test_a_lump_of_tokens_never_costs_more_than_the_tokens():
    """The log-sum inequality: with more tokens told apart the divergence grows, up to the whole."""
    case, before = Case(n=20), 0.0
    log_p = soften(case.teacher_head(case.theirs).detach(), 2.0)
    for k in range(1, V):
        ids = log_p.topk(k, -1).indices
        tail = log_p.scatter(1, ids, -math.inf).logsumexp(1)
        teacher = SparseTeacher(ids, log_p.gather(1, ids), tail, V)
        kl = distillation_loss(
            case.states, transparent(case.head), case.targets, Objective(1.0, 2.0), teacher
        ).kl.item()
        assert before <= kl + 1e-6
        before = kl
    assert before == pytest.approx(case.loss(1.0, 2.0).kl.item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["reverse-kl", "jsd"])
def test_sampled_tokens_give_no_other_divergence(kind):
    case = Case(n=1)
    ids, log_p, nothing = torch.tensor([[0]]), torch.zeros(1, 1), torch.zeros(1)
    teacher = SparseTeacher(ids, log_p, None, V, offset=nothing)
    with pytest.raises(ValueError, match="forward KL alone"):
        distillation_loss(
            case.states, transparent(case.head), case.targets, Objective(0.5, 1.0, kind), teacher
        )


def test_a_certain_student_gives_no_nan():
    """Its tail under a sparse teacher is 0 in float32, the teacher's is not."""
    states = torch.tensor([[300.0, 0.0, 0.0]], requires_grad=True)
    teacher = SparseTeacher(torch.tensor([[0]]), torch.tensor([[-0.1]]), torch.tensor([-2.35]), 3)
    loss = distillation_loss(states, Head(torch.eye(3)), torch.tensor([0]), Objective(1.0), teacher)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert states.grad is not None
    assert torch.isfinite(states.grad).all()


def test_a_gradient_scaler_multiplies_before_float16_is_written():
    """A token's share of the mean, a millionth, is below what float16 holds apart."""
    random = torch.Generator().manual_seed(0)
    states = torch.randn(4, 8, generator=random).half().requires_grad_()
    head = Head(torch.randn(11, 8, generator=random).half())
    targets = torch.tensor([1, 2, 3, 4])
    loss = distillation_loss(states, head, targets, Objective(), None, 10**6)
    (loss.total * 2.0**16).backward()
    exact = states.detach().double().requires_grad_()
    nn.functional.cross_entropy(exact @ head.weight.double().T, targets).backward()
    assert states.grad is not None
    assert exact.grad is not None
    expected = exact.grad * 4 / 10**6 * 2.0**16
    assert (states.grad - expected).norm() < 0.01 * expected.norm()


def test_the_offset_of_sampled_tokens_is_added_to_the_kl_alone():
    case, offset = Case(n=3), torch.tensor([0.5, 1.0, 3.0])
    ids, log_p = torch.tensor([[0, 1]] * 3), torch.full((3, 2), math.log(0.5))
    made = []
    for added in (torch.zeros(3), offset):
        teacher, head = SparseTeacher(ids, log_p, None, V, added), transparent(case.head)
        for loss in (distillation_loss, plain_loss):
            made.append(loss(case.states, head, case.targets, Objective(1.0, 2.0), teacher))
    for without, beside in zip(made[:2], made[2:], strict=True):
        torch.testing.assert_close(beside.kl - without.kl, offset.mean())
        gradients = (torch.autograd.grad(loss.total, case.states)[0] for loss in (without, beside))
        torch.testing.assert_close(*gradients)
