"""Which bytes of a text each token spells, and where tokens of two tokenizers begin at one byte.

Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2) and SentencePiece with its bytes (Llama 2, Mistral,
Gemma) spell a text exactly, each in its own marks. WordPiece does not: it drops cases and spaces.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise, takewhile
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from distill_lab.run.records import LabError

Span = tuple[int, int]  # the first byte, and the one after the last
Speller = Callable[[Sequence[int]], list[bytes]]
_BYTES = {mark: byte for byte, mark in bytes_to_unicode().items()}  # GPT-2's marks
_PROBE = "It is 1 (one), or <b>two</b>."


@dataclass(frozen=True, slots=True)
class TheirTokens:
    """A completion in the teacher's tokens, as far as any is compared: their ids, and of each pair
    of tokens that begin at the same byte the student's place, the teacher's, and whether both are
    the same text."""

    ids: list[int]
    pairs: list[tuple[int, int, bool]]


def speller_of(tokenizer: Any) -> Speller:
    """What says of token ids which bytes each spells; special tokens spell none. LabError for a
    tokenizer whose tokens do not spell the text."""
    added = tokenizer.added_tokens_decoder
    ids = tokenizer(_PROBE, add_special_tokens=False).input_ids
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    for spelling in (_of_byte_level, _of_sentencepiece):
        spell = partial(_spell, tokenizer, added, spelling)
        if b"".join(spell(ids)).removeprefix(b" ") == text.encode().removeprefix(b" "):
            return spell
    raise LabError(
        "Another tokenizer: expected one whose tokens spell a text to the byte (byte-level BPE or "
        f"SentencePiece), found a {type(tokenizer).__name__} that makes {text!r} of {_PROBE!r}. "
        "Train on text alone: --train.alpha 0."
    )


def _spell(
    tokenizer: Any, added: dict[int, Any], spelling: Callable[[str], bytes], ids: Sequence[int]
) -> list[bytes]:
    def bytes_of(i: int, token: str) -> bytes:
        if i not in added:
            return spelling(token)
        return b"" if added[i].special else added[i].content.encode()

    tokens = tokenizer.convert_ids_to_tokens(ids)
    return [bytes_of(i, token) for i, token in zip(ids, tokens, strict=True)]


def _of_byte_level(token: str) -> bytes:
    known = all(mark in _BYTES for mark in token)
    return bytes(_BYTES[mark] for mark in token) if known else token.encode()


def _of_sentencepiece(token: str) -> bytes:
    if re.fullmatch("<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def byte_spans(tokenizer: Any, ids: Sequence[int]) -> list[Span]:
    """The bytes that each token spells of the text that `ids` are; special tokens have none.

    The space that SentencePiece puts before a text, and takes away again, is no part of it.
    """
    return _spans(_pieces(tokenizer, ids))


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    pieces = speller_of(tokenizer)(ids)
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if _indent(b"".join(pieces)) > _indent(text.encode()):
        first = next(i for i, piece in enumerate(pieces) if piece)
        pieces[first] = pieces[first][1:]
    return pieces


def _indent(text: bytes) -> int:
    return len(text) - len(text.lstrip(b" "))


def _spans(pieces: Sequence[bytes]) -> list[Span]:
    ends = list(accumulate(map(len, pieces), initial=0))
    return list(pairwise(ends))


def align(a: Sequence[Span], b: Sequence[Span]) -> list[tuple[range, range]]:
    """Groups of tokens of `a` and `b` that span the same bytes, each as short as can be.

    Every token is in one group, in order. Tokens without bytes (a beginning-of-text or an end
    token) make groups of their own, where the other side may have none. Where one text ends before
    the other, the last group has what is left.
    """
    common = {end for _, end in a} & {end for _, end in b}
    groups: list[tuple[range, range]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        after = _after_empty(a, i), _after_empty(b, j)
        if after == (i, j):
            after = _after_bytes(a, i, common), _after_bytes(b, j, common)
        groups.append((range(i, after[0]), range(j, after[1])))
        i, j = after
    return groups


def _after_empty(spans: Sequence[Span], i: int) -> int:
    return next((k for k in range(i, len(spans)) if spans[k][0] < spans[k][1]), len(spans))


def _after_bytes(spans: Sequence[Span], i: int, common: set[int]) -> int:
    return next((k + 1 for k in range(i, len(spans)) if spans[k][1] in common), len(spans))


def their_tokens(text: str, ids: Sequence[int], tokenizer: Any, teacher: Any) -> TheirTokens:
    """The completion `text` in the teacher's tokens, its end token last, beside the student's
    `ids`, which may be cut.

    Nothing is compared after the first byte in which the two differ: one tokenizer may change the
    text, or leave out what it does not know.
    """
    their_ids = [*teacher(text, add_special_tokens=False).input_ids, teacher.eos_token_id]
    ended = len(ids) > 0 and ids[-1] == tokenizer.eos_token_id
    ours = _pieces(tokenizer, ids[: len(ids) - ended])
    theirs = _pieces(teacher, their_ids[:-1])
    same = sum(takewhile(bool, map(operator.eq, b"".join(ours), b"".join(theirs))))
    a, b = _spans([*ours, *[b""] * ended]), _spans([*theirs, b""])  # an end token has no bytes
    pairs = [
        (i[0], j[0], len(i) == len(j) == 1 and a[i[0]][1] <= same)
        for i, j in align(a, b)
        if i and j and a[i[0]][0] <= same and b[j[0]][0] == a[i[0]][0]
    ]
    return TheirTokens(their_ids[: pairs[-1][1] + 1] if pairs else [], pairs)
