"""`python -m docs.check_links HTML`: does each link within the site lead to a file and its place?

Prints a line for each that does not, and exits with 1 if there is one. Links to other sites are not
followed."""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the names of its places."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


page = cache(Page)


def broken(site: Path) -> list[str]:
    """`PAGE: LINK` for each link to nothing."""
    found: list[str] = []
    for file in sorted(site.rglob("*.html")):
        if "_static" in file.parts:  # the theme's templates
            continue
        for link in sorted(page(file).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            start = site if path.startswith("/") else file.parent
            target = (start / path.lstrip("/")).resolve() if path else file.resolve()
            target = target / "index.html" if target.is_dir() else target
            is_page = target.suffix == ".html" and target.exists()
            lost = parts.fragment and is_page and unquote(parts.fragment) not in page(target).places
            if not target.exists() or lost:
                found.append(f"{file.relative_to(site)}: {link}")
    return found


if __name__ == "__main__":
    lines = broken(Path(sys.argv[1]).resolve())
    print("\n".join(lines) or "All links within the site lead somewhere.")
    sys.exit(bool(lines))
