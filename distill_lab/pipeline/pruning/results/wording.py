"""What a report says otherwise for each task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """A task's title; what its entries are; what is done with so many percent of them; what each
    note of the tables says."""

    title: str
    noun: str
    does: str
    agrees: str
    data: str
    finer: str
    units: str


WORDINGS = {
    "sst2": Wording(
        title="SST-2",
        noun="reviews",
        does="labels {} of the reviews rightly",
        agrees="agrees: percent of reviews with the dense model's label",
        data="to train and calibrate on",
        finer="Label NLL and perplexity are finer than accuracy: a model that guesses has a label "
        "NLL of 0.693 nats. Agrees: the same label as the dense model.",
        units="Accuracy is in points, more is better; NLLs are in nats, less is better: the "
        "label's per review, the text's a token.",
    ),
    "squad": Wording(
        title="SQuAD",
        noun="questions",
        does="answers {} of the questions rightly",
        agrees="perplexity: of the dense model's answers; agrees: percent of questions with the "
        "dense model's answer, as SQuAD normalises it",
        data="whose answers by the dense model are trained and calibrated on",
        finer="Answers are greedy. Perplexity is finer than EM and F1: it is over the tokens of "
        "the dense model's own answers to these questions, reasoning included, and asks each model "
        "how likely it finds them. CE lowers just that, on training questions, so that between KL "
        "and CE look at EM and F1. Agrees: the same answer as the dense model, as SQuAD normalises "
        "it.",
        units="EM and F1 are in points, more is better; the NLL of the dense model's answers is in "
        "nats a token, less is better.",
    ),
}
