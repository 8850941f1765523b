"""SQuAD as a task: a passage and a question, answered with words of the passage."""

from __future__ import annotations

from distill_lab.run.records import Question
from distill_lab.tasks.squad.questions import load
from distill_lab.tasks.squad.scores import em, f1
from distill_lab.tasks.task import Shot, Task

INSTRUCTION = (
    "Read the passage and answer the question. First think in one or two sentences inside "
    "<think> </think>. "
    "Then give the shortest possible answer, copied from the passage, inside <answer> </answer>."
)


def user_text(context: str, question: str) -> str:
    """Context before question, so that questions on one passage share what comes first."""
    return f"Passage: {context}\n\nQuestion: {question}"


def grade(answer: str, question: Question) -> dict[str, float]:
    """EM, which decides, and F1."""
    return {"em": em(answer, question.answers), "f1": f1(answer, question.answers)}


# Short on purpose: of longer examples a model of 135M parameters copied the length and forgot the
# second tag.
SHOTS = (
    Shot(
        user_text(
            "Mount Kenya is 5,199 metres high. It was first climbed in 1899 by Halford Mackinder.",
            "Who first climbed Mount Kenya?",
        ),
        "<think>Halford Mackinder was the first to climb it, in 1899.</think> "
        "<answer>Halford Mackinder</answer>",
    ),
    Shot(
        user_text(
            "The museum opened in May 1932 and moved to Leeds in 1995. It holds 8,500 objects.",
            "When did the museum move to Leeds?",
        ),
        "<think>It moved to Leeds in 1995.</think> <answer>1995</answer>",
    ),
    Shot(
        user_text(
            "Honey bees live in colonies. A colony has one queen, who lays the eggs, and thousands "
            "of workers, who collect nectar.",
            "What do the workers collect?",
        ),
        "<think>The workers collect nectar.</think> <answer>nectar</answer>",
    ),
)

SQUAD = Task(
    name="squad",
    title="SQuAD",
    subject="reading comprehension",
    load=load,
    instruction=INSTRUCTION,
    shots=SHOTS,
    user_text=lambda question: user_text(question.context, question.question),
    grade=grade,
    score_names=("em", "f1"),
    licence="Questions of SQuAD are under CC BY-SA 4.0.",
    has_passage=True,
)
