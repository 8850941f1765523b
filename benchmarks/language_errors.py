"""`python -m benchmarks.language_errors`: how often `rules.mixed_language` errs, as a table.

Thoughts are sentences of passages: of the same passage in another language (XQuAD, which is
parallel), which the rule should refuse, and of another passage in the same language, which it
should not. What is read lies in `../shared/data`; a set that is not there has no row.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import tyro

from benchmarks.measure import ROOT
from distill_lab.pipeline.rejection_rules import Attempt, mixed_language
from distill_lab.run.records import Question, Trace
from distill_lab.run.settings import RejectSettings, data_folder

Thought = tuple[str, Question]  # a text, and what it is said to answer
_SENTENCE = re.compile(r"(?<=[.!?।;])\s+|(?<=。)")
_LANGUAGES = {"es": "Spanish", "vi": "Vietnamese", "el": "Greek", "hi": "Hindi"}
_SQUAD = ("train-v1.1.subset", "dev-v1.1.half", "dev-v2.0.piece")


def main(data: Path = ROOT.parent / "shared" / "data") -> None:
    """Prints how many thoughts of each kind are refused.

    Args:
        data: The folder with languages/ (XQuAD and JaQuAD files), squad/ and r1/.
    """
    print("| thoughts | should be refused | refused | of |\n|---|---|---|---|")
    for name, expected, thoughts in filter(itemgetter(2), kinds(data)):
        n_refused = sum(refused(*thought) for thought in thoughts)
        print(f"| {name} | {expected} | {n_refused} | {len(thoughts)} |", flush=True)


def refused(text: str, question: Question) -> bool:
    """Whether the rule refuses a trace that thinks this text."""
    completion = f"<think>{text}</think><answer>x</answer>"
    trace = Trace(question.id, 0, completion, 1, "stop", "teacher", "prompt")
    return mixed_language(Attempt(trace, question, RejectSettings(), {}, frozenset()))


def kinds(data: Path) -> Iterator[tuple[str, str, list[Thought]]]:
    """Name, what is expected (all, none or some), and the thoughts; of the sets that are there."""
    folder = data / "languages"
    xquad = {name: questions(folder / f"xquad.{name}.json") for name in ("en", *_LANGUAGES)}
    for name, language in _LANGUAGES.items():
        yield f"{language} on English", "all", parallel(xquad[name], xquad["en"])
        yield f"{language} on {language}", "none", elsewhere(xquad[name])
    yield "English on English", "none", elsewhere(xquad["en"])
    yield "Japanese on Japanese", "none", elsewhere(questions(folder / "jaquad.ja.json"))
    squad = [q for name in _SQUAD for q in questions(data / "squad" / f"{name}.json")]
    own = {(sentence, q.context): q for q in squad for sentence in _SENTENCE.split(q.context)}
    yield "SQuAD's sentences, their passage", "none", [(key[0], q) for key, q in own.items()]
    others = zip(squad, _shuffled(squad), strict=True)
    yield "SQuAD's questions, another passage", "none", [(q.question, other) for q, other in others]
    bundled = [q for name in ("train", "dev") for q in questions(_bundled(name))]
    yield "bundled sentences, another passage", "none", elsewhere(bundled)
    for path in sorted((data / "r1").glob("*.json")):
        texts = [row["response"] for row in json.loads(path.read_text(encoding="utf-8"))]
        nothing = Question("q", "", "", "", ())
        for expected, chinese in (("all", True), ("none", False)):
            found = [text for text in texts if bool(re.search("[一-鿿]", text)) is chinese]
            name = f"{path.stem}, {'with' if chinese else 'without'} Chinese"
            yield name, expected, [(text, nothing) for text in found]


def questions(path: Path) -> list[Question]:
    """A SQuAD file's questions, good or bad; none where there is no file."""
    if not path.exists():
        return []
    articles: list[Any] = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        Question(
            q["id"],
            "",
            part["context"],
            q["question"],
            tuple(answer["text"] for answer in q["answers"]),
        )
        for article in articles
        for part in article["paragraphs"]
        for q in part["qas"]
    ]


def elsewhere(asked: list[Question]) -> list[Thought]:
    """A sentence of another question's passage for each question."""
    chance = random.Random(0)
    return [
        (chance.choice(_SENTENCE.split(other.context)), question)
        for question, other in zip(asked, _shuffled(asked), strict=True)
    ]


def parallel(foreign: list[Question], english: list[Question]) -> list[Thought]:
    """The sentence that first names the answer, as the foreign passage has it, on the English
    question; with the next one where it has fewer than five words.
    """
    return [
        (_sentence(there.context, there.context.find(there.answers[0])), here)
        for there, here in zip(foreign, english, strict=True)
    ]


def _sentence(context: str, start: int) -> str:
    ends = [match.end() for match in _SENTENCE.finditer(context)]
    first = max((end for end in ends if end <= start), default=0)
    last = (end for end in ends if end > start and len(context[first:end].split()) >= 5)
    return context[first : next(last, None)].strip()


def _shuffled(asked: list[Question]) -> list[Question]:
    return random.Random(1).sample(asked, len(asked))


def _bundled(name: str) -> Path:
    return data_folder() / "mini_squad" / f"{name}.json"


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.language_errors", description=main.__doc__)
