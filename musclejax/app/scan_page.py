"""The page of a scan, at the end of a command that has written its results."""

from pathlib import Path

from musclejax.app.stop import raise_if_interrupted
from musclejax.errors import describe_error
from musclejax.prediction.result import Segmentation
from musclejax.reports.pages.scan import write_scan_page


def write_page_of(result: Segmentation, folder: Path) -> tuple[str, ...]:
    """Write the page of a scan whose results are there; return a warning if that fails."""
    try:
        write_scan_page(folder, result.volume.name, result=result)
    except Exception as error:
        raise_if_interrupted()
        # The results are written, and `musclejax report` makes the page again.
        return (f"no page of its own: {describe_error(error)}",)
    return ()
