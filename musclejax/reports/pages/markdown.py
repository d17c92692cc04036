"""Documents as Markdown, for programs and for those who read text."""

import os
from collections.abc import Iterator
from urllib.parse import quote

import pandas as pd

from musclejax.reports.pages.document import Document, Section
from musclejax.reports.pages.table import Table
from musclejax.reports.tables import markdown


def document_markdown(document: Document) -> str:
    """Return a document as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in document.facts)
    head = f"# {markdown(document.title)}\n\n{markdown(document.about)}\n\n{markdown(facts)}\n"
    warnings = "".join(f"- {markdown(line)}\n" for line in document.warnings)
    return "\n".join(filter(None, [head, warnings, *map(section_markdown, document.sections)]))


def section_markdown(section: Section) -> str:
    """Return a part of a document as Markdown."""
    return "\n\n".join([f"## {markdown(section.title)}", *_parts(section)]) + "\n"


def _parts(section: Section) -> Iterator[str]:
    if section.picture and section.picture.file:
        yield f"![{markdown(section.title)}]({quote(os.fsencode(section.picture.file))})"
    if section.table:
        yield _table(section.table)
    if section.text:
        yield markdown(section.text)
    pairs = [*section.facts, *section.files]
    if pairs:
        yield "\n".join(f"- {markdown(name)}: {markdown(value)}" for name, value in pairs)


def _table(table: Table) -> str:
    texts = [[markdown(str(cell)) for cell in row] for row in table.rows]
    shown = pd.DataFrame(texts, columns=[column.title for column in table.columns])
    align = ["right" if column.number else "left" for column in table.columns]
    return str(shown.to_markdown(index=False, disable_numparse=True, colalign=align))
