"""Read a page as one without scripts sees it."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "link", "br", "img"}
"""Elements without an end."""


class Page(HTMLParser):
    """Texts, links, pictures, scripts and the cells of tables; every element must be closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.links, self.scripts = "", [], []
        self.pictures: list[tuple[str, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self._open += [] if tag in VOID else [tag]
        if tag == "table":
            self._rows = self.tables.setdefault(about.get("id") or "", [])
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
        if tag == "a":
            self.links.append(about["href"])
        if tag == "img":
            self.pictures.append((about["src"] or "", about["alt"] or ""))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self._open[-1:] != ["style"]:
            self.text += data
        if {"td", "th"} & {*self._open[3:]}:
            self._rows[-1][-1] += data

    def column(self, title: str, table: str) -> list[str]:
        head, *rows = self.tables[table]
        return [row[head.index(title)].strip() for row in rows]


def check_alone(page: Page) -> None:
    """Check that a page needs nothing else: its pictures are inside, with words for each."""
    assert all(source.startswith("data:image/") and alt for source, alt in page.pictures)
    assert all(link.startswith(("#", "https://doi.org/")) or ":" not in link for link in page.links)
    assert len(page.scripts) == 1  # ours: no name has become a script
