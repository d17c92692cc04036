"""Segment one scan with the options of `musclejax segment`, here or in a worker of a cluster."""

import platform
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from musclejax.app.options import SegmentJob
from musclejax.app.process import Stopwatch, since_configured
from musclejax.app.work import Outcome, Scan, Work, failure
from musclejax.errors import InputError
from musclejax.loops import Advance, Stage, result_of
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction.engines import library_versions
from musclejax.prediction.measurement import load_fat_fraction
from musclejax.prediction.options import DEFAULTS
from musclejax.prediction.result import Segmentation
from musclejax.prediction.segment import segment_steps
from musclejax.reports.segmentation import read_record, save
from musclejax.scan.study import load
from musclejax.scan.volume import Volume
from musclejax.system import machine, peak_memory_mib

Events = Generator[Stage | Advance, None, Segmentation]


@dataclass(frozen=True)
class Session:
    """Shared by all scans of one process.

    Attributes:
        work: Options of the command.
        weights: The networks, loaded once.
        startup: Seconds by stage before the first scan.
        worker: Host and address of this process if it is a worker of a cluster; for the run record.
    """

    work: Work
    weights: Weights
    startup: Mapping[str, float]
    worker: Mapping[str, str] = field(default_factory=dict)


def attempt_steps(scan: Scan, session: Session) -> Generator[Stage | Advance, None, Outcome]:
    """Segment one scan and write its files; return its outcome, also if it fails."""
    clock = Stopwatch()
    try:
        with clock.stage("total"):
            result = yield from clock.timed(_segment_and_save(scan, session, clock))
    except Exception as error:
        # One scan's surprise must not cost the night's cohort.
        return failure(scan, error)
    return _outcome(scan.name, result, session, clock.seconds)


def attempt_in_worker(scan: Scan, work: Work) -> Outcome:
    """Segment one scan in a worker of a cluster, its events unseen; see `attempt_steps`."""
    try:
        session = _worker_session(work)
    except Exception as error:
        return failure(scan, error)
    return result_of(attempt_steps(scan, session))


def _worker_session(work: Work) -> Session:
    from distributed import get_worker

    weights, seconds = _load_expected(work.job.weights, work.weights_hash)
    worker = {"host": platform.node(), "address": get_worker().address}
    return Session(work, weights, {"startup": round(seconds, 4)}, worker)


@lru_cache(maxsize=2)
def _load_expected(name_or_folder: str, expected: str) -> tuple[Weights, float]:
    """Load weights once a worker process; its compiled networks stay with them.

    Returns:
        The weights, and the seconds since the worker's process was set up.

    Raises:
        InputError: If they are not those of the command.
    """
    weights = load_weights(name_or_folder)
    if weights.hash != expected:
        remedy = "Were they replaced? Repeat the command and restart the workers."
        raise InputError(f"weights {name_or_folder}", weights.hash, expected, remedy)
    return weights, since_configured()


def already_done(scan: Scan, work: Work) -> str:
    """Return the line about a scan whose files exist; empty if they do not."""
    record = None if work.job.overwrite else read_record(work.job.output, scan.name)
    if record is None:
        return ""
    same = record.get("settings") == work.settings
    same = same and record.get("weights_hash") == work.weights_hash
    note = "" if same else ", with other settings; --overwrite segments it again"
    return f"{scan.name}: already done{note}"


def _segment_and_save(scan: Scan, session: Session, clock: Stopwatch) -> Events:
    job = session.work.job
    yield Stage("load")
    volume, fat_fraction = _read(scan, job)
    yield Advance(0, volume.num_slices)
    result = yield from segment_steps(volume, session.weights, session.work.options)
    yield Stage("save")
    save(
        result,
        job.output,
        fat_fraction=fat_fraction,
        dicom_seg=job.dicom_seg,
        record=lambda: _record(scan, result, session, clock),
    )
    return result


def _read(scan: Scan, job: SegmentJob) -> tuple[Volume, np.ndarray | None]:
    volume = load(scan.path)
    if job.dicom_seg and not volume.dicom_files:
        raise InputError(scan.path, "a NIfTI scan", "a DICOM scan with --dicom-seg")
    path = job.fat_fraction
    if path and path.is_dir():
        path = path / f"{scan.name}.nii.gz"
        if not path.is_file():
            raise InputError(path, "no fat-fraction map for this scan", "one named like the scan")
    return volume, load_fat_fraction(path, volume) if path else None


def _record(scan: Scan, result: Segmentation, session: Session, clock: Stopwatch) -> dict[str, Any]:
    work, weights = session.work, session.weights
    return {
        "source": str(scan.path),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(work.settings),
        "batch_size": work.options.batch_size,
        "weights_hash": weights.hash,
        "network_hash": weights.networks[result.region].hash,
        "seconds": {**session.startup, **clock.seconds},
        "peak_memory_mib": peak_memory_mib(),
        **({"worker": dict(session.worker)} if session.worker else {}),
        **machine(library_versions(result.engine)),
    }


def _outcome(
    name: str, result: Segmentation, session: Session, seconds: Mapping[str, float]
) -> Outcome:
    probability = result.region_probability
    how = "as given" if probability is None else f"p = {probability:.3f}"
    by = result.engine, result.precision
    # The default needs no mention.
    engine = "" if by == (DEFAULTS.engine, DEFAULTS.precision) else f", {' '.join(by)}"
    tta = f", TTA of {result.tta_slices} slices" if result.tta_slices else ""
    line = f"{name}: {result.region} ({how}), {result.volume.num_slices} slices, "
    line += f"{seconds['total']:.1f} s (network {seconds['network']:.1f} s{engine}{tta})"
    warnings = [w for w in result.warnings if w != session.weights.warning]
    details = ", ".join(f"{stage} {s:.2f} s" for stage, s in seconds.items())
    return Outcome(line, True, tuple(f"{name}: {w}" for w in warnings), f"  {details}")
