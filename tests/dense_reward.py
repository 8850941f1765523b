"""The first test of a policy gradient: a reward that every completion has some of must be learnt.

A reward that is 1 now and then and else 0 shows nothing in a minute, even where all is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill_lab.sampling.jobs import Completion, Job

WANTED = "7"  # one token of the bundled tokenizer, and 1 in 1000 of what an untrained model says
MOST_STEPS = 60
PROMPTS = [Job(f"q{n}", f"What is {n}?\n\n") for n in range(8)]


def share_of_wanted(job: Job, completion: Completion) -> float:
    """How much of a completion is the wanted token, 0 to 1; its end token counts as another."""
    return completion.text.count(WANTED) / completion.n_tokens


def require_learnt(rewards: Sequence[float]) -> None:
    """One mean reward an optimiser step: below .3 in the first ten steps, above .9 in the last."""
    assert 20 <= len(rewards) <= MOST_STEPS
    first, last = (sum(ten) / 10 for ten in (rewards[:10], rewards[-10:]))
    assert first < 0.3, f"{first:.3f} before anything was learnt"
    assert last > 0.9, f"{last:.3f} after {len(rewards)} steps"
