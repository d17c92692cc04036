"""The page of a scan. A stand-in until the real one is merged."""

from pathlib import Path

from musclejax.reports.pages.render import write_page
from musclejax.scan.source import PAGES
from musclejax.scan.volume import Volume

PAGE = f"{{name}}_{PAGES[0]}"


def write_scan_page(folder: Path, name: str, volume: Volume | None = None) -> Path:
    """Write the page of a scan."""
    path = folder / PAGE.format(name=name)
    write_page(path, "base.html", title=name)
    return path
