"""The site's own code: what it makes of links and notebooks, and which links it calls broken."""

from __future__ import annotations

import re

import pytest

from distill_lab.course.install_cell import own_repository
from distill_lab.run.records import LabError
from docs import collect
from docs.check_links import broken

README = collect.ROOT / "README.md"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[a](CONTRIBUTING.md#tests)", "[a](CONTRIBUTING.md#tests)"),
        ("[a](#start)", "[a](#start)"),
        ("[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("[a](Makefile)", f"[a]({own_repository()}/blob/main/Makefile)"),
        ("![a](benchmarks/results/bench.png)", "![a](benchmarks/results/bench.png)"),
        ("[a](tests)", f"[a]({own_repository()}/tree/main/tests)"),
        (
            "[a](lab_notebooks/studies/filter/page.html)",
            '<a href="lab_notebooks/studies/filter/page.html">a</a>',
        ),
        ("```\n[a](nothing.md)\n```", "```\n[a](nothing.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_or_to_the_repository(written, shown):
    assert collect.with_links(README, written) == shown


@pytest.mark.parametrize("target", ["nothing.md", "../outside.md"])
def test_a_link_to_nothing_is_an_error(target):
    with pytest.raises(LabError, match=f"expected a file at the link {target}"):
        collect.with_links(README, f"[a]({target})")


def test_a_notebook_has_the_students_cells_and_the_solutions_outputs():
    notebook = collect.LABS / "Lab5c_Student_Training.ipynb"
    shown = {cell["id"]: cell for cell in collect.with_outputs(notebook)["cells"]}
    exercise = shown["write-loss"]
    assert "raise NotImplementedError" in exercise["source"]
    assert "hide-input" in exercise["metadata"]["tags"]
    assert "right, " in str(shown["check-loss"]["outputs"])
    assert not any("NBVAL" in cell["source"] for cell in shown.values())


def test_broken_links_are_found(tmp_path):
    (tmp_path / "folder").mkdir()
    page = tmp_path / "folder" / "index.html"
    page.write_text('<p id="here"></p><a href="../a.html#top">', encoding="utf-8")
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="folder/#here"><a href="folder/#there"><img src="b.png">'
        '<a href="https://example.org/"><a href="#top"><a href="#bottom">',
        encoding="utf-8",
    )
    assert broken(tmp_path) == ["a.html: #bottom", "a.html: b.png", "a.html: folder/#there"]


def test_what_is_said_below_the_animation_is_the_same_in_both_places():
    pages = [README, collect.ROOT / "docs" / "index.md"]
    pattern = re.compile(r"!\[(.*)\]\(docs/_static/ask.gif\)")
    first, second = (pattern.findall(page.read_text(encoding="utf-8")) for page in pages)
    assert first == second != []
