"""The names of the labels, once per folder of label maps."""

from pathlib import Path

from musclejax.anatomy import Numbering
from musclejax.app import console
from musclejax.app.process import usage, writing
from musclejax.reports.label_files import save_label_names


def write_label_names(
    folder: Path, numbering: Numbering = "muscles", *, change: bool = True
) -> None:
    """Write the names of the labels; warn of files that are not ours, which stay.

    Args:
        folder: Of label maps.
        numbering: Their numbers.
        change: Take label maps there with another numbering for replaced.

    Raises:
        BadUsage: If the folder cannot be written, or has another numbering.
        ClickException: If its disk is full.
    """
    with usage(), writing(folder):
        for other in save_label_names(folder, numbering, change=change):
            console.warn(f"warning: {other} has other contents than ours; it stays as it is")
