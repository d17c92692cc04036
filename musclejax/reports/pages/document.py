"""Documents: what a command found, in parts, for a page and for Markdown alike."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from musclejax.errors import printable
from musclejax.reports.pages.render import write_page
from musclejax.reports.pages.table import Table, show_facts

PAGE = "report.html"
MOST_FAILURES = 20
"""Of the warnings of a page. Source: ours."""
_DPI = 130
Facts = Sequence[tuple[str, str]]
"""Names and their values."""


class Picture(NamedTuple):
    """A picture, which the page holds inside.

    Attributes:
        source: Its data URI.
        alt: What it shows, for those who do not see it.
        caption: How it is read.
        file: Name of its file beside the page, if it has one.
    """

    source: str
    alt: str
    caption: str = ""
    file: str = ""


class Section(NamedTuple):
    """A part of a document; what it lacks is left out.

    Attributes:
        title: Its heading.
        text: How it is read, one paragraph.
        table: A table.
        facts: Names and their values, one below the other.
        picture: A picture.
        code: A text that is shown as it is, such as a recipe.
        files: Files beside the page, and what is in each.
    """

    title: str
    text: str = ""
    table: Table | None = None
    facts: Facts = ()
    picture: Picture | None = None
    code: str = ""
    files: Facts = ()


class Document(NamedTuple):
    """What a command found.

    Attributes:
        title: Of the page.
        about: What was done, one line.
        facts: The result in few figures.
        warnings: What a reader must know before relying on it.
        sections: Its parts.
    """

    title: str
    about: str
    facts: Facts
    warnings: Sequence[str]
    sections: Sequence[Section]


def write_document(path: Path, document: Document) -> None:
    """Write a document as a page.

    Raises:
        InputError: If there is a file that is not a page of ours.
        OSError: If the folder cannot be written.
    """
    write_page(path, "document.html", title=document.title, document=document)


def from_file(path: Path, alt: str, caption: str = "") -> Picture:
    """Return the picture in a PNG file."""
    return Picture(_data_uri(path.read_bytes()), printable(alt), caption, path.name)


def from_figure(figure: Figure, alt: str, caption: str = "") -> Picture:
    """Return a figure as a picture: PNG, as SVG is larger (ours: 1.1 to 2 times)."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return Picture(_data_uri(file.getvalue()), printable(alt), caption)


def how_made(record: Mapping[str, Any], text: str = "", **others: Any) -> Section:
    """Return the part about how a result was made.

    Args:
        record: Its entries that say so are shown: command, time, versions, machine.
        text: See `Section`.
        others: Further names and values; those without a value are left out.
    """
    machine = record.get("machine") or {}
    versions = record.get("versions") or {}
    facts = {
        "command": record.get("command"),
        **{name.replace("_", " "): value for name, value in others.items()},
        "finished": record.get("finished"),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "processor": machine.get("cpu"),
        "system": machine.get("system"),
        "threads": record.get("threads"),
    }
    return Section("How it was made", text, facts=show_facts(facts))


def failures(reasons: Mapping[str, str]) -> list[str]:
    """Return a warning per thing that failed, the first ones only if they are many."""
    shown = [printable(f"{name} failed: {reason}") for name, reason in reasons.items()]
    more = [f"{len(shown) - MOST_FAILURES} more failed"] * (len(shown) > MOST_FAILURES)
    return shown[:MOST_FAILURES] + more


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
