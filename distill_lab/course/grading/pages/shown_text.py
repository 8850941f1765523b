"""What the pages of grading share: how text from students is shown, how a template is filled."""

from __future__ import annotations

import re
from typing import Any

from distill_lab.reporting import templates

# Control characters, those that turn the direction of what follows, and halves of characters, which
# no file in UTF-8 can hold.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """What cannot be seen, or would turn the text around it, as Python writes it: `\\x1b`."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def cut(text: str, longest: int = 2000, lines: int = 40) -> str:
    """The text's beginning, and how much is not shown: a message may be as long as a book."""
    begun = "\n".join(text.split("\n", lines)[:lines])[:longest]
    left = len(text) - len(begun)
    return f"{begun} … (cut here, {left:,} more characters)" if left else text


def fill(name: str, **parts: Any) -> str:
    """A page from its template. Every text goes through `plain`, and is escaped, wherever in the
    template it stands."""
    environment = templates.environment(html=True).overlay(finalize=_shown)
    environment.filters["cut"] = cut
    return environment.get_template(name).render(**parts)


def _shown(value: Any) -> Any:
    return plain(value) if type(value) is str else value  # a macro's result is Markup, and done
