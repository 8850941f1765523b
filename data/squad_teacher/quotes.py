"""What the teacher learns to think: the sentence of the paragraph that holds the answer."""

from __future__ import annotations

import re

# A sentence ends at . ! or ? (and a footnote's mark) before a space and a capital or a digit, but
# not after an initial ("J. Smith") or one of the usual abbreviations.
_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St|vs|no|ca))(?<!\bMrs)"
    r"[.!?][\"')\]]*(?:\[\w+\])*\s+(?=[\"'(\[A-Z0-9])"
)
_PART = re.compile(r"(?:[,;:]|\s[–—-])\s+|\s+(?=\()")  # where a part of a sentence ends
LONGEST_QUOTE = 30  # words


def quoted(context: str, start: int, end: int) -> str:
    """The sentence that holds the answer, which stands from character `start` to `end`, or all
    sentences that do; of more than LONGEST_QUOTE words the parts around the answer.

    It may stay longer where it has no parts to lose.
    """
    left, right = _sentence(context, start, end)
    cuts = [match.end() for match in _PART.finditer(context, left, right)]
    while len(context[left:right].split()) > LONGEST_QUOTE:
        before = [cut for cut in cuts if left < cut <= start]
        after = [cut for cut in cuts if end <= cut < right]
        if not before and not after:
            break
        # the end that is further from the answer loses a part
        if before and (not after or start - left > right - end):
            left = before[0]
        else:
            right = after[-1]
    return context[left:right].strip().rstrip(",;:–—- ")


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    ends = [match.end() for match in _END.finditer(text)]
    left = max((cut for cut in ends if cut <= start), default=0)
    return left, min((cut for cut in ends if cut >= end), default=len(text))
