"""The profiles' own notes: the memory that each is made for, and why it fits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """The GB that a profile is made for, and why it fits: the figures are those of `memory`, for
    prompts that fill max-length and answers as long as they may be. A test checks them."""

    room: float
    notes: str


BUDGETS = {
    "tiny": Budget(2, "Any machine: the most is 1.2, of which 0.5 are Python and its libraries."),
    "cpu": Budget(
        6, "A laptop: the most is 4.8, for the activations of 2 examples that are learnt."
    ),
    "colab": Budget(
        14.7,
        "A T4. The teacher takes 5.5: 6.5 of its 7.6 billion weights are in 4 bits.\n"
        "Sampling: 2.2 for keys and values of 32 rows of 1,216 tokens (57 kB each), 9.1 in all.\n"
        "Evaluating reads 32 prompts at once, not 8: 4.3 of activations; 12.2, which is the most.\n"
        "Training, the teacher gone: student 1.0, LoRA's gradients and optimiser 0.1, activations\n"
        "of 4 examples of 1,024 tokens 6.5, logits 0.4 however long they are (chunks): 8.5.",
    ),
    "cluster": Budget(
        79.1,
        "Cards of 80 GB, each with all of it. The teacher takes 15.2, in 16 bits.\n"
        "Sampling 128 rows 28.1; evaluating, which reads 128 prompts at once, 40.5.\n"
        "Training all of 1.5B: weights 8.8 (float32, copies in bfloat16), gradients and optimiser\n"
        "19.5, activations of 8 examples of 1,024 tokens 29.1: 59.8, which is the most, and 6.2\n"
        "more for what several processes exchange. vLLM takes nine tenths of a card to sample.",
    ),
}
