"""Makes word problems of one step in GSM8K's file format: `python -m data.one_step_sums.make`.

It writes train.jsonl and test.jsonl, the same bytes always. No problem of one is in the other.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
TRAIN, TEST = 200, 100

NAMES = (
    "Ada Ben Cleo Dan Eva Finn Gia Hugo Ida Jon Kira Leo Mia Noah Ola Pia Rosa Sam Tara Ugo".split()
)
THINGS = "apples beads books cards coins cookies eggs marbles pens shells stamps stones".split()
# The story, the sign of its step, and the ranges of its two numbers.
STORIES = (
    ("{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?", "+", (3, 30), (2, 20)),
    ("{name} finds {a} {things} in the morning and {b} in the afternoon. How many {things} is that in all?", "+", (3, 30), (2, 20)),
    ("{name} has {a} {things} and gives {b} of them away. How many {things} does {name} have left?", "-", (12, 40), (2, 11)),
    ("There are {a} {things} on a table. {name} takes {b} of them. How many {things} are still there?", "-", (12, 40), (2, 11)),
    ("There are {a} {things} in each box. How many {things} are in the {b} boxes of {name}?", "*", (3, 12), (2, 6)),
    ("{name} buys {a} {things}. Each of them costs {b} dollars. How many dollars does {name} pay?", "*", (3, 12), (2, 6)),
)  # fmt: skip
STEPS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def problem(rng: random.Random) -> dict[str, str]:
    """One problem with its worked answer, as GSM8K writes it: `6 * 2 = <<6*2=12>>12`."""
    story, sign, first, second = rng.choice(STORIES)
    a, b = rng.randint(*first), rng.randint(*second)
    result = STEPS[sign](a, b)
    question = story.format(name=rng.choice(NAMES), things=rng.choice(THINGS), a=a, b=b)
    worked = f"The answer is {a} {sign} {b} = <<{a}{sign}{b}={result}>>{result}."
    return {"question": question, "answer": f"{worked}\n#### {result}"}


def main() -> None:
    rng = random.Random(0)
    problems: dict[str, dict[str, str]] = {}
    while len(problems) < TRAIN + TEST:
        made = problem(rng)
        problems.setdefault(made["question"], made)
    lines = [json.dumps(made) + "\n" for made in problems.values()]
    (HERE / "train.jsonl").write_text("".join(lines[:TRAIN]), encoding="utf-8")
    (HERE / "test.jsonl").write_text("".join(lines[TRAIN:]), encoding="utf-8")


if __name__ == "__main__":
    main()
