"""The templates that lie beside this file, ready to be filled: a run's report, a class's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(html: bool) -> Environment:
    """A name that a template uses and nobody gave is an error; in HTML every value is escaped,
    whoever wrote it. jinja2 loads when a page is made."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("distill_lab.reporting", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
