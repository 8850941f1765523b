"""Lays out what the site shows: `python -m docs.collect BUILD` writes BUILD/pages, BUILD/files.

Each text and notebook of the repository lies in `pages` where it lies in the repository, so that
its links hold; studies' pages and the report lie in `files` likewise. A link to another file of the
repository leads to its place on GitHub. A link to nothing is an error, and exit code 2.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from distill_lab.course.install_cell import own_repository
from distill_lab.run.records import LabError

ROOT = Path(__file__).parents[1]
REPOSITORY = own_repository()
LABS = ROOT / "lab_notebooks"
STUDIES = sorted(path.parent for path in LABS.glob("studies/*/study.json"))
TEXTS = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/handbook.md",
        "benchmarks/README.md",
    )
] + sorted([*LABS.glob("*.md"), *LABS.glob("reading/*.md"), *ROOT.glob("data/*/README.md")])
REPORT = ROOT / "runs" / "tiny" / "report.html"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FOR_OTHERS = re.compile(r"^(# NBVAL_\w+|\[!\[Open in Colab\].*)\n", re.MULTILINE)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def collect(build: Path) -> None:
    """Writes both folders anew. LabError where a link leads nowhere, or there is no report."""
    if not REPORT.exists():
        raise LabError(f"{REPORT}: expected a finished report, found none. Run `make lab`.")
    pages, files = build / "pages", build / "files"
    for folder in (pages, files):
        shutil.rmtree(folder, ignore_errors=True)
    own = ROOT / "docs"
    shutil.copytree(own, pages, ignore=lambda _, names: [n for n in names if not _is_page(own, n)])
    for text in TEXTS:
        _write(pages / text.relative_to(ROOT), with_links(text, text.read_text(encoding="utf-8")))
    for notebook in sorted(LABS.glob("*.ipynb")):
        shown = with_outputs(notebook)
        _write(pages / notebook.relative_to(ROOT), json.dumps(shown, ensure_ascii=False))
    for study in STUDIES:
        _copy(study / "page.html", files)
    shown = (
        "lab_notebooks/studies/*/plots/*.png",
        "benchmarks/results/*.png",
        "docs/_static/*.gif",
    )
    for picture in (path for pattern in shown for path in ROOT.glob(pattern)):
        _copy(picture, pages)
    _write(pages / "studies.md", all_studies())
    (files / "report").mkdir(parents=True)
    shutil.copy(REPORT, files / "report" / "report.html")


def _is_page(own: Path, name: str) -> bool:
    if name.endswith(".md"):
        return own / name not in TEXTS
    return (own / name).is_dir() and not name.startswith("_")


def with_outputs(notebook: Path) -> dict[str, Any]:
    """A student's notebook with the outputs of its solution; exercises are folded, and what only
    nbval or GitHub reads is left out."""
    shown = json.loads(notebook.read_text(encoding="utf-8"))
    solved = json.loads((LABS / "solutions" / notebook.name).read_text(encoding="utf-8"))
    outputs = {cell["id"]: cell.get("outputs") for cell in solved["cells"]}
    for cell in shown["cells"]:
        cell["source"] = _FOR_OTHERS.sub("", "".join(cell["source"]))
        if cell["cell_type"] == "code":
            own = "before_submitting()" in cell["source"]  # about a file that the reader has not
            cell["outputs"] = [] if own else outputs[cell["id"]]
            if cell["metadata"].get("role") in ("exercise", "install"):
                cell["metadata"]["tags"].append("hide-input")
        else:
            cell["source"] = with_links(notebook, cell["source"])
    return shown


def all_studies() -> str:
    """The page of all studies: each one's question, its picture of findings, its own page."""
    parts = [
        "# Studies\n\nEach study asks one question, over several seeds and on questions on which "
        "nothing was chosen. Its page has all findings with their intervals, and all its pictures."
    ]
    for folder in STUDIES:
        place = folder.relative_to(ROOT)
        question = json.loads((folder / "study.json").read_text(encoding="utf-8"))["question"]
        alt = f"The findings of the study {folder.name}: differences with their 95 % intervals"
        whole = _anchor("All findings", f"{place}/page.html")
        picture = f"![{alt}]({place}/plots/findings.png)"
        parts.append(f"## {folder.name}\n\n**{question}** {whole}\n\n{picture}")
    return "\n\n".join(parts) + "\n"


def with_links(page: Path, text: str) -> str:
    """The Markdown, its links to files of the repository as the site has them."""
    parts = _FENCE.split(text)
    parts[::2] = [
        _LINK.sub(lambda found: _link(page, *found.groups()), part) for part in parts[::2]
    ]
    return "".join(parts)


def _link(page: Path, picture: str, shown: str, target: str) -> str:
    """One link. LabError where there is no such file."""
    path, _, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return f"{picture}[{shown}]({target})"
    file = (page.parent / path).resolve()
    if not file.is_relative_to(ROOT) or not file.exists():
        raise LabError(f"{page}: expected a file at the link {target}, found none. Mend the link.")
    if file.parent in STUDIES:
        return _anchor(shown, target)
    if file in TEXTS or (file.parent == LABS and file.suffix == ".ipynb"):
        return f"[{shown}]({target})"
    if picture:  # `collect` lays it beside the page
        return f"![{shown}]({target})"
    place = f"{'tree' if file.is_dir() else 'blob'}/main/{file.relative_to(ROOT)}"
    return f"[{shown}]({REPOSITORY}/{place}{anchor and '#' + anchor})"


def _anchor(shown: str, target: str) -> str:
    """A link to a file that is no page of Sphinx's."""
    return f'<a href="{target}">{shown}</a>'


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _copy(file: Path, to: Path) -> None:
    place = to / file.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)


if __name__ == "__main__":
    try:
        collect(Path(sys.argv[1]))
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
