"""EM and F1 as the official SQuAD scripts compute them, of one question or (`score`) a whole file.

The two scripts (evaluate-v1.1.py, evaluate-v2.0.py) differ in three places only, all of them about
text of which normalising leaves nothing: 2.0 drops such references, takes the empty text as the
right answer where no reference is left, and gives two empty texts an F1 of 1 where 1.1 gives 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill_lab.run.json_text import shown
from distill_lab.run.records import LabError

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: in this order, which matters.

    `a.m.` stays a word (am), since its points go before articles do; `The-end` becomes `theend`.
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def em(prediction: str, answers: Sequence[str]) -> float:
    """Exact match, 0 or 100: the best over all references.

    No reference means unanswerable: right if nothing was answered.
    """
    found = normalize_answer(prediction)
    return 100.0 * any(found == normalize_answer(answer) for answer in answers or ("",))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 over bags of words, 0 to 100: the best over all references; with none, as `em`."""
    if not answers:
        return em(prediction, answers)
    return 100.0 * max(_overlap(prediction, answer) for answer in answers)


def _overlap(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall (0 to 1) over words, repeated ones included."""
    found, wanted = normalize_answer(prediction).split(), normalize_answer(answer).split()
    shared = (Counter(found) & Counter(wanted)).total()
    if shared == 0:  # also where one is empty
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def score(dataset: Mapping[str, Any], predictions: Mapping[str, str]) -> dict[str, float]:
    """What the official script of that version prints for predictions {id: text}, 0 to 100.

    1.1: `exact_match`, `f1`. 2.0: these, and `exact`, `total`, `HasAns_*`, `NoAns_*`. A question
    without a prediction counts 0 (in 2.0 too, where the official script stops). Raises LabError
    where `dataset` is not in SQuAD's schema.
    """
    entries = _entries(dataset)
    if is_version_2(dataset):
        return _score_2(dict(entries), predictions)
    for name, answers in entries:
        if not answers:
            raise LabError(
                f"Question {name}: expected an answer, as in SQuAD 1.1, found none. "
                'Leave it out, or mark it "is_impossible": true as in SQuAD 2.0.'
            )
    scores = [_pair(predictions.get(name), answers) for name, answers in entries]
    exact, overlap = _means(scores)
    return {"exact_match": exact, "f1": overlap}


def is_version_2(dataset: Mapping[str, Any]) -> bool:
    """SQuAD 2.0 by its version, or by the key that only 2.0 has: many files carry no version."""
    if str(dataset.get("version", "")).lstrip("v").startswith("2"):
        return True
    return any("is_impossible" in entry for entry in _questions(dataset))


def _score_2(entries: Mapping[str, list[str]], predictions: Mapping[str, str]) -> dict[str, float]:
    scores = {
        name: _pair(predictions.get(name), list(filter(normalize_answer, entries[name])))
        for name in entries
    }
    exact, overlap = _means(scores.values())
    result = {"exact_match": exact, "exact": exact, "f1": overlap, "total": len(scores)}
    for prefix, answerable in (("HasAns", True), ("NoAns", False)):
        part = [scores[name] for name, answers in entries.items() if bool(answers) is answerable]
        if part:
            exact, overlap = _means(part)
            result |= {
                f"{prefix}_exact": exact,
                f"{prefix}_f1": overlap,
                f"{prefix}_total": len(part),
            }
    return result


def _pair(prediction: str | None, answers: list[str]) -> tuple[float, float]:
    return (0.0, 0.0) if prediction is None else (em(prediction, answers), f1(prediction, answers))


def _means(scores: Iterable[tuple[float, float]]) -> tuple[float, float]:
    exact, overlap = zip(*scores, strict=True)
    return sum(exact) / len(exact), sum(overlap) / len(overlap)


def _questions(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All entries of all paragraphs, in order."""
    try:
        return [
            entry
            for article in dataset["data"]
            for part in article["paragraphs"]
            for entry in part["qas"]
        ]
    except (KeyError, TypeError) as error:
        raise _wrong_schema(error) from None


def _entries(dataset: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Id and references of every question."""
    try:
        entries = [
            (_text(entry["id"]), [_text(answer["text"]) for answer in entry["answers"]])
            for entry in _questions(dataset)
        ]
    except (KeyError, TypeError) as error:
        raise _wrong_schema(error) from None
    if not entries:
        raise LabError(
            "The data: expected at least one question to score, found none. Choose another file."
        )
    return entries


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no text")
    return value


def _wrong_schema(error: KeyError | TypeError) -> LabError:
    return LabError(
        "The data: expected SQuAD's data > paragraphs > qas, each with id and answers of text; "
        f"found an entry that is otherwise ({error}). `distill-lab check-data FILE` names it."
    )
