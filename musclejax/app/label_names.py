"""The names of the labels, once per folder of label maps."""

from pathlib import Path

from musclejax.app import console
from musclejax.app.process import writing
from musclejax.reports.segmentation import save_label_names


def write_label_names(folder: Path) -> None:
    """Write the names of the labels; warn of files that are not ours, which stay.

    Raises:
        BadUsage: If the folder cannot be written.
        ClickException: If its disk is full.
    """
    with writing(folder):
        for other in save_label_names(folder):
            console.warn(f"warning: {other} has other contents than ours; it stays as it is")
