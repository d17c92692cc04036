"""Commands that open a scan with its labels in ITK-SNAP and 3D Slicer, quoted for the shell."""

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from musclejax.scan.volume import image_suffix


class Opened(NamedTuple):
    """How a program opens a scan: its name, and a command; or a line where there is none."""

    program: str
    command: str
    line: str = ""


def commands(scan: Path, labels: Path, region: str, folder: Path) -> Iterable[Opened]:
    """Return how programs open a scan and its labels.

    Args:
        scan: File, or folder of a DICOM series.
        labels: Its label map.
        region: "thigh" or "leg".
        folder: Where the descriptions of the labels are.

    Source: `itksnap --help` and Slicer's script repository, "Load volume from file", "Load a 3D
    image or model file as segmentation".
    """
    names, colors = (folder / f"labels_{region}.{kind}" for kind in ("txt", "ctbl"))
    if not image_suffix(scan):
        line = f"Open the DICOM series {scan} in the program first, then the labels {labels}"
        yield Opened("ITK-SNAP", "", f"{line}, and the label descriptions {names}.")
        yield Opened("3D Slicer", "", f"{line}, as a segmentation with the color table {colors}.")
        return
    snap = ["itksnap", "-g", str(scan), "-s", str(labels), "-l", str(names)]
    table = f"slicer.util.loadColorTable({str(colors)!r})"
    code = f"slicer.util.loadVolume({str(scan)!r}); slicer.util.loadSegmentation("
    code += f"{str(labels)!r}, {{'colorNodeID': {table}.GetID()}})"
    yield Opened("ITK-SNAP", _quoted(snap))
    yield Opened("3D Slicer", _quoted(["Slicer", "--python-code", code]))


def _quoted(command: Sequence[str]) -> str:
    """Return a command as it is typed in this system's shell."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
