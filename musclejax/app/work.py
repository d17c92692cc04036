"""The work of `musclejax segment`, scan by scan: plain records, which a cluster passes around.

Nothing heavy is imported here: a worker reads these records before its process is set up.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from musclejax.app.options import SegmentJob
from musclejax.errors import describe_error, printable
from musclejax.files import DISK_FULL
from musclejax.prediction.options import SegmentOptions
from musclejax.scan.series import Series

FAILED = "failed: "
"""Start of the line of a scan that failed."""


class Scan(NamedTuple):
    """A scan to segment.

    Attributes:
        path: Its file or folder.
        name: Start of the names of its results.
        series: What it is of a study; None if it was not listed.
        notes: Warnings that the study makes necessary.
        fat_images: Its fat-fraction map, or its water and fat image, if a study has them.
        map_names: How its map may be named in a folder of maps.
    """

    path: Path
    name: str
    series: Series | None = None
    notes: tuple[str, ...] = ()
    fat_images: tuple[Series, ...] = ()
    map_names: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """The result of one scan, as it is reported.

    Attributes:
        line: The result, or the failure.
        done: Whether it is segmented.
        warnings: To be read before relying on the labels.
        details: For -v.
        disk_full: Whether it failed because the disk is full: the next one would too.
        name: Of the scan.
        flagged: Its muscles with a low estimated DSC; see `reports.cohort`.
    """

    line: str
    done: bool
    warnings: tuple[str, ...] = ()
    details: str = ""
    disk_full: bool = False
    name: str = ""
    flagged: Mapping[str, float] = {}


@dataclass(frozen=True)
class Work:
    """The part of a command that is the same for all its scans.

    Attributes:
        job: Where results go; on a cluster with absolute paths.
        options: How scans are segmented; the engine is resolved.
        settings: As of `settings_of`, before paths were made absolute; for run records.
        weights_hash: Of the weights that the command has loaded.
    """

    job: SegmentJob
    options: SegmentOptions
    settings: Mapping[str, Any]
    weights_hash: str


def settings_of(job: SegmentJob, options: SegmentOptions) -> dict[str, Any]:
    """Return the settings that change the result; the weights have a hash of their own."""
    settings = asdict(options)
    del settings["batch_size"]
    names = "dicom_seg", "dicom_sr", "labels", "naming"
    written = {name: getattr(job, name) for name in names}
    maps = {"water": str(job.water or ""), "fat": str(job.fat or ""), "map": list(job.map)}
    given = {name: value for name, value in maps.items() if value}  # older records have none
    return {**settings, **written, "fat_fraction": str(job.fat_fraction or ""), **given}


def failure(scan: Scan, error: Exception) -> Outcome:
    """Return the outcome of a scan that could not be segmented; its line names the scan."""
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    reason = describe_error(error)
    named = "" if printable(str(scan.path)) in reason else f"{scan.path}: "
    return Outcome(f"{FAILED}{named}{reason}", False, disk_full=full, name=scan.name)


def lock_file(output: Path, scan: Scan) -> Path:
    """Return the file that a process locks while it works on a scan."""
    return output / f".{scan.name}.lock"
