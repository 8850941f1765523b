"""Policy gradients against TRL's own loss on the same tensors, hand-written tables, and sums over
all samples where these can be written down."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from policy_batches import KINDS, MOST, Batch, batches
from torch import Tensor, nn

from distill_lab.losses.distillation import Head
from distill_lab.losses.policy_gradient import (
    group_advantages,
    policy_loss,
    sampled_reverse_kl,
    step_items,
    token_log_probs,
)

# --- TRL's own loss -------------------------------------------------------------------------------


def trl_loss(
    batch: Batch, kind: str, epsilon_high: float, beta: float, n_tokens: Tensor
) -> tuple[Tensor, dict[str, list[float]]]:
    """What TRL's trainer computes and logs for one of two micro-batches: its own method, on a
    namespace with what the method reads. The model's forward pass alone is replaced, by the fixed
    log-probabilities."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    scores = batch.log_p, torch.zeros_like(batch.log_p), None
    itself = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: scores,
        _metrics={"train": defaultdict(list)},
        _entropy_bonus_enabled=False,
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
        ),
        args=SimpleNamespace(use_bias_correction_kl=True, delta=None, steps_per_generation=2),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=2,
        epsilon_high=epsilon_high,
        epsilon_low=0.2,
        importance_sampling_level="token",
        loss_type=kind,
        max_completion_length=MOST,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
    )
    ids = torch.zeros_like(batch.mask)
    inputs = {
        "prompt_ids": ids[:, :2],
        "prompt_mask": torch.ones_like(ids[:, :2]),
        "completion_ids": ids,
        "completion_mask": batch.mask,
        "advantages": batch.advantages,
        "old_per_token_logps": batch.old,
        "ref_per_token_logps": batch.reference,
        "num_items_in_batch": n_tokens,
    }
    method: Any = GRPOTrainer._compute_loss
    return method(itself, None, inputs), itself._metrics["train"]


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("epsilon_high", [0.2, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_trls_loss_and_gradient(kind, epsilon_high, beta):
    """Over a step of two micro-batches, with padding, and after the policy has moved."""
    step = batches()
    n_items = sum(step_items(batch.mask, kind) for batch in step)
    n_tokens = torch.stack([batch.mask.sum() for batch in step]).sum()
    for batch in step:
        made = batch.ours(kind, epsilon_high=epsilon_high, beta=beta, n_items=n_items)
        theirs, logged = trl_loss(batch, kind, epsilon_high, beta, n_tokens)
        torch.testing.assert_close(made.total, theirs, rtol=1e-6, atol=1e-6)
        gradients = [torch.autograd.grad(loss, batch.log_p)[0] for loss in (made.total, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)
        assert 0 < made.clipped < 1
        assert made.clipped.item() == pytest.approx(logged["clip_ratio/region_mean"][0])
        assert made.kl.item() == pytest.approx(logged["kl"][0] if beta else 0.0)


# --- kinds ----------------------------------------------------------------------------------------


def test_the_four_averages_by_hand():
    """Ratios of 1: a token costs -A, so lengths 1 and 3 with A = 1 and -2 cost -1 and 3 times 2."""
    log_p = torch.zeros(2, 3)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    made = {
        kind: policy_loss(log_p, log_p, torch.tensor([1.0, -2.0]), mask, kind, max_length=10).total
        for kind in KINDS
    }
    expected = {"grpo": (-1 + 2) / 2, "bnpo": 5 / 4, "dapo": 5 / 4, "dr_grpo": 5 / (2 * 10)}
    assert {kind: total.item() for kind, total in made.items()} == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("cut", [[1, 5], [2, 2, 2], [6]])
def test_micro_batches_add_up_to_the_step(kind, cut):
    torch.manual_seed(0)
    log_p, old, advantages = -torch.rand(6, 5), -torch.rand(6, 5), torch.randn(6)
    mask = (torch.arange(5) < torch.tensor([5, 1, 3, 2, 5, 4])[:, None]).long()
    whole = policy_loss(log_p, old, advantages, mask, kind, max_length=MOST).total
    parts = [each.split(cut) for each in (log_p, old, advantages, mask)]
    n_items = sum(step_items(each, kind) for each in parts[-1])
    losses = [
        policy_loss(p, q, a, m, kind, max_length=MOST, n_items=n_items).total
        for p, q, a, m in zip(*parts, strict=True)
    ]
    torch.testing.assert_close(torch.stack(losses).sum(), whole)


def test_bnpo_is_the_mean_of_its_micro_batches():
    step = batches()
    alone = [batch.ours("bnpo").total for batch in step]
    shared = [batch.ours("bnpo", n_items=2).total for batch in step]
    torch.testing.assert_close(torch.stack(shared).sum(), torch.stack(alone).mean())


def test_padding_and_rows_without_a_token_add_nothing():
    batch = batches()[0]
    batch.mask[1] = 0
    for kind in KINDS:
        (gradient,) = torch.autograd.grad(batch.ours(kind, beta=0.1).total, batch.log_p)
        assert gradient.isfinite().all()
        assert (gradient[batch.mask == 0] == 0).all()


def test_what_a_kind_needs_is_asked_for():
    zeros = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="max_length"):
        policy_loss(zeros, zeros, torch.ones(1), torch.ones(1, 2), "dr_grpo")
    with pytest.raises(ValueError, match="reference"):
        policy_loss(zeros, zeros, torch.ones(1), torch.ones(1, 2), "grpo", beta=0.1)


# --- the clip -------------------------------------------------------------------------------------

CLIP = [  # ratio, advantage, cost, whether the token still has a gradient
    (1.0, 1.0, -1.0, True),
    (1.0, -1.0, 1.0, True),
    (1.1, 2.0, -2.2, True),
    (1.5, 1.0, -1.2, False),  # likelier already, as wanted
    (1.5, -1.0, 1.5, True),  # likelier, and should not be
    (0.5, -1.0, 0.8, False),  # less likely already, as wanted
    (0.5, 1.0, -0.5, True),  # less likely, and should not be
    (0.9, -1.0, 0.9, True),
    (0.5, 0.0, 0.0, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "cost", "learns"), CLIP)
def test_the_clip_by_hand(ratio, advantage, cost, learns):
    log_p = torch.tensor([[math.log(ratio)]], requires_grad=True)
    one = torch.ones(1, 1)
    made = policy_loss(log_p, torch.zeros(1, 1), torch.tensor([advantage]), one, "grpo")
    assert made.total.item() == pytest.approx(cost)
    (gradient,) = torch.autograd.grad(made.total, log_p)
    assert bool(gradient != 0) == learns
    assert made.clipped == (0 if learns or advantage == 0 else 1)


def test_the_bound_above_may_be_another():
    log_p, old, one = torch.tensor([[math.log(1.5)]]), torch.zeros(1, 1), torch.ones(1, 1)
    wide = policy_loss(log_p, old, torch.ones(1), one, "dapo", 0.2, 0.28)
    assert wide.total.item() == pytest.approx(-1.28)
    low = policy_loss(-log_p, old, -torch.ones(1), one, "dapo", 0.2, 0.28)
    assert low.total.item() == pytest.approx(0.8)


# --- advantages -----------------------------------------------------------------------------------

ONE_OF_FOUR = 0.75 / (0.5 + 1e-4), -0.25 / (0.5 + 1e-4)  # the unbiased deviation is 1/2
GROUPS = [  # rewards, advantages scaled, not scaled
    ([1.0, 0.0, 0.0, 0.0], [ONE_OF_FOUR[0], *[ONE_OF_FOUR[1]] * 3], [0.75, *[-0.25] * 3]),
    ([0.0, 1.0], [-0.5 / (0.5**0.5 + 1e-4), 0.5 / (0.5**0.5 + 1e-4)], [-0.5, 0.5]),
    # hardly different: the guard is most of the divisor
    ([1.0, 1.0 + 2**-20], [-(2**-21) / (2**-20.5 + 1e-4), 2**-21 / (2**-20.5 + 1e-4)], None),
]


@pytest.mark.parametrize(("rewards", "scaled", "plain"), GROUPS)
def test_advantages_by_hand(rewards, scaled, plain):
    made = group_advantages(torch.tensor([rewards]))
    assert made.advantages[0].tolist() == pytest.approx(scaled, rel=1e-5)
    assert made.dead.tolist() == [False]
    if plain:
        assert group_advantages(torch.tensor([rewards]), "none").advantages.tolist() == [plain]


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.2, 0.3, 0.7, 1e6 / 3])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_an_equal_group_is_dead_and_exactly_0(reward, scale):
    """Rounding gives eight times .2 a mean that is not .2, and a deviation that is not 0."""
    rewards = torch.full((2, 8), reward)
    rewards[1, 3] += 0.5
    made = group_advantages(rewards, scale)
    assert made.dead.tolist() == [True, False]
    assert (made.advantages[0] == 0).all()
    assert (made.advantages[1] != 0).all()


def test_a_group_that_hardly_differs_is_alive():
    """Its deviation is as small as what rounding alone may give."""
    assert group_advantages(torch.tensor([[0.0, 1e-9]])).dead.tolist() == [False]


def test_groups_of_one_and_rewards_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="n of at least 2"):
        group_advantages(torch.ones(4, 1))
    with pytest.raises(ValueError, match="found 1 NaN"):
        group_advantages(torch.tensor([[1.0, math.nan]]))


# --- sums over all samples ------------------------------------------------------------------------

V = 5


def distribution(seed: int) -> Tensor:
    """Logits over a small vocabulary, in float64."""
    return torch.randn(V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kl(z: Tensor, log_p: Tensor) -> Tensor:
    """KL(q || p) of the student's logits z."""
    log_q = z.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def test_the_sampled_form_has_on_average_the_gradient_of_the_full_reverse_kl():
    z, log_p = distribution(0).requires_grad_(), distribution(1).log_softmax(-1)
    log_q, one = z.log_softmax(-1), torch.ones(1, 1)
    average = torch.zeros(V, dtype=torch.float64)
    for token in range(V):
        now = log_q[token].view(1, 1)
        loss = sampled_reverse_kl(now, now.detach(), log_p[token].view(1, 1), one)
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        average += log_q[token].exp().detach() * gradient
    torch.testing.assert_close(average, torch.autograd.grad(kl(z, log_p), z)[0])


def test_over_two_tokens_it_leaves_out_what_the_first_does_to_the_second():
    """All 25 samples. The gradient of the whole sequence's KL has one more term: the first token's
    share in how far apart the second position will be."""
    first, second = distribution(0).requires_grad_(), [distribution(2 + a) for a in range(V)]
    second = torch.stack(second).requires_grad_()  # (V, V), a row for each first token
    log_p, next_log_p = distribution(1).log_softmax(-1), torch.randn(V, V).double().log_softmax(-1)
    log_q, next_log_q = first.log_softmax(-1), second.log_softmax(-1)
    average = [torch.zeros(V).double(), torch.zeros(V, V).double()]
    for a in range(V):
        for b in range(V):
            now = torch.stack([log_q[a], next_log_q[a, b]])[None]  # (1, 2)
            teacher = torch.stack([log_p[a], next_log_p[a, b]])[None]
            loss = 2 * sampled_reverse_kl(now, now.detach(), teacher, torch.ones(1, 2))
            probability = now.sum().exp().detach()
            for total, gradient in zip(
                average, torch.autograd.grad(loss, [first, second], retain_graph=True), strict=True
            ):
                total += probability * gradient
    apart = kl(second, next_log_p)  # (V), at the second position after each first token
    whole = kl(first, log_p) + (log_q.exp() * apart).sum()
    of_first, of_second = torch.autograd.grad(whole, [first, second], retain_graph=True)
    (left_out,) = torch.autograd.grad((log_q.exp() * apart.detach()).sum(), first)
    torch.testing.assert_close(average[0] + left_out, of_first)
    torch.testing.assert_close(average[1], of_second)
    assert left_out.abs().max() > 0.01


def test_the_sampled_form_is_corrected_for_a_student_that_has_moved_and_not_clipped():
    now, old, teacher = torch.tensor([[-1.0]]), torch.tensor([[-3.0]]), torch.tensor([[-0.5]])
    loss = sampled_reverse_kl(now, old, teacher, torch.ones(1, 1))
    assert loss.item() == pytest.approx(-math.exp(2) * 2.5)


def test_the_sampled_form_is_a_mean_over_tokens():
    """One token that costs 1 and three that cost 2, and what is outside the mask."""
    teacher = torch.tensor([[-1.0, -9.0, -9.0], [-2.0, -2.0, -2.0]])
    mask, zeros = torch.tensor([[1, 0, 0], [1, 1, 1]]), torch.zeros(2, 3)
    assert sampled_reverse_kl(zeros, zeros, teacher, mask).item() == pytest.approx(7 / 4)
    assert sampled_reverse_kl(zeros, zeros, teacher, mask, 14).item() == pytest.approx(7 / 14)


def test_the_term_of_the_reference_is_the_reverse_kl_and_so_is_its_gradient():
    """On average over what an older policy sampled; without the ratio neither would be."""
    z, log_p = distribution(0).requires_grad_(), distribution(1).log_softmax(-1)
    log_q, old = z.log_softmax(-1), distribution(2).log_softmax(-1)
    zero, average = torch.zeros(1, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for token in range(V):
        now, before, reference = (each[token].view(1, 1) for each in (log_q, old, log_p))
        made = policy_loss(
            now, before, zero, torch.ones(1, 1), "dapo", reference_log_p=reference, beta=1.0
        )
        average = average + old[token].exp() * made.total
    expected = kl(z, log_p)
    torch.testing.assert_close(average, expected)
    gradients = [torch.autograd.grad(each, z, retain_graph=True)[0] for each in (average, expected)]
    torch.testing.assert_close(*gradients)


# --- log-probabilities ----------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_and_gradients_are_those_of_all_logits(temperature, cap):
    random = torch.Generator().manual_seed(0)
    states = torch.randn(37, 8, generator=random).requires_grad_()
    weight = torch.randn(11, 8, generator=random).requires_grad_()
    targets = torch.randint(0, 11, (37,), generator=random)
    made = token_log_probs(states, Head(weight, cap=cap), targets, temperature, budget=16 * 11 * 4)
    logits = Head(weight.double(), cap=cap)(states.double())
    dense = (logits / temperature).log_softmax(-1)[range(37), targets]
    torch.testing.assert_close(made, dense.float())
    slope = torch.randn(37, generator=random)
    mine = torch.autograd.grad(made @ slope, [states, weight])
    theirs = torch.autograd.grad(dense.float() @ slope, [states, weight])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_no_more_logits_than_a_chunks_are_ever_made():
    rows, layer = [], nn.Linear(4, 7)

    def watched(states: Tensor) -> Tensor:
        rows.append(len(states))
        return layer(states)

    states = torch.randn(50, 4).requires_grad_()
    token_log_probs(states, watched, torch.zeros(50).long(), budget=16 * 7 * 4).sum().backward()
    assert max(rows) == 16
    assert sum(rows) == 1 + 2 * 50  # once to see the width, then forward and backward


def test_it_is_float32_and_an_empty_batch_has_a_gradient_of_0():
    states = torch.randn(0, 4, dtype=torch.bfloat16).requires_grad_()
    layer = nn.Linear(4, 7).bfloat16()
    made = token_log_probs(states, layer, torch.zeros(0).long())
    assert made.dtype == torch.float32
    made.sum().backward()
    full = token_log_probs(torch.randn(3, 4).bfloat16(), layer, torch.zeros(3).long())
    assert full.dtype == torch.float32
