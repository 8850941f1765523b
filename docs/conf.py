"""The site's settings for Sphinx; `make site` calls it on what docs/collect.py lays out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from distill_lab import __version__  # noqa: E402
from distill_lab.course.install_cell import own_repository  # noqa: E402

project, author, version = "distill_lab", "the authors of distill_lab", __version__
copyright = "2026, the authors of distill_lab, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "site_math"]
templates_path: list[str] = []
exclude_patterns = ["_build"]

# Notebooks show the outputs that are stored in them; nothing runs.
nb_execution_mode = "off"
nb_code_prompt_show, nb_code_prompt_hide = "Show this cell", "Hide this cell"
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
add_module_names = False
default_role = "literal"

html_theme = "sphinx_book_theme"
html_title = "distill_lab"
html_static_path = [str(ROOT / "docs" / "_static")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
smartquotes = False  # they make one dash of a flag's two
toc_object_entries_show_parents = "hide"
html_use_index = html_domain_indices = False  # the search finds names too
html_extra_path = [str(ROOT / "build" / "site" / "files")]
html_math_renderer = "mathml"
html_theme_options = {
    "repository_url": own_repository(),
    "repository_branch": "main",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": False,
    "launch_buttons": {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
    },
    "show_toc_level": 2,
    "navbar_persistent": [],  # the side bar has the search
    "home_page_in_toc": True,
}


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text with `code` in backquotes and indented blocks: all that
    reStructuredText would read otherwise is escaped, and a block stays one."""
    for n, line in enumerate(lines):
        if line.startswith("    "):
            continue
        parts = re.split(r"(`[^`]*`|\*\w+\*)", line)
        escaped = (p if p[:1] in ("`", "*") else re.sub(r"([*|_])", r"\\\1", p) for p in parts)
        lines[n] = "".join(escaped)
        is_block = n + 2 < len(lines) and not lines[n + 1] and lines[n + 2].startswith("    ")
        if is_block and line:
            lines[n] += ":" if line.endswith(":") else " ::"


def is_left_out(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Whether a member says nothing of its own: the fields of a NamedTuple."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-skip-member", is_left_out)
