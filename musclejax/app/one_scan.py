"""Segment one scan with the options of `musclejax segment`, here or in a worker of a cluster."""

import platform
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from musclejax import anatomy
from musclejax.app import console
from musclejax.app.fat_map import Measures, find_maps, measure_maps, network_image
from musclejax.app.names import about_series, is_of
from musclejax.app.options import SegmentJob
from musclejax.app.process import Stopwatch, since_configured
from musclejax.app.scan_page import write_page_of
from musclejax.app.stop import raise_if_interrupted
from musclejax.app.work import Outcome, Scan, Work, failure, lock_file
from musclejax.errors import InputError, count_of
from musclejax.files import DISK_FULL, transient_lock
from musclejax.loops import Advance, Stage, result_of
from musclejax.models.weights import Weights, load_weights
from musclejax.prediction.engines import library_versions
from musclejax.prediction.result import Segmentation
from musclejax.prediction.segment import segment_steps
from musclejax.reports.cohort import read_flagged
from musclejax.reports.run_record import (
    Overwrite,
    check_replaceable,
    corrected_labels,
    is_complete,
    is_touched,
    labels_state,
    read_record,
    recover,
)
from musclejax.reports.segmentation import ResultFiles, Saved, find_flagged, save_warned
from musclejax.scan.dicom_seg import check_dicom_seg
from musclejax.scan.source import Source, is_at, read_source
from musclejax.scan.study import load
from musclejax.scan.volume import Volume
from musclejax.system import machine, peak_memory_mib, process_age_s

Events = Generator[Stage | Advance, None, Segmentation]
_WAITS_S = (5, 15, 40)
"""How long a full disk is given, again and again, to be made room on. Source: ours."""
_TABLES_BYTES = 4 * 2**20
"""Room for tables, picture and record. Source: ours; those of 200 slices take 3 MiB."""


@dataclass(frozen=True)
class Session:
    """Shared by all scans of one process.

    Attributes:
        work: Options of the command.
        weights: The networks, loaded once.
        startup: Seconds by stage before the first scan.
        started: Seconds from the start of the process until it was ready for its first scan.
        worker: Host and address of this process if it is a worker of a cluster; for the run record.
    """

    work: Work
    weights: Weights
    startup: Mapping[str, float]
    started: float = field(default_factory=process_age_s)
    worker: Mapping[str, str] = field(default_factory=dict)


def attempt_steps(
    scan: Scan, session: Session, *, wait: bool = True
) -> Generator[Stage | Advance, None, Outcome | None]:
    """Segment one scan and write its files.

    Args:
        scan: The scan.
        session: What it is segmented with.
        wait: Wait while another process segments it.

    Returns:
        Its outcome, also if it fails; None if another process is at work on it.
    """
    clock, work = Stopwatch(), session.work
    try:
        with transient_lock(lock_file(work.job.output, scan), wait=wait) as ours:
            if not ours:
                return None
            recover(work.job.output, scan.name)
            if settled := outcome_without_work(scan, work):
                return settled
            with clock.stage("total"):
                result = yield from clock.timed(_segment_and_save(scan, session, clock))
    except Exception as error:
        raise_if_interrupted()  # a library may have turned Ctrl-C into an error of its own
        # One scan's surprise must not cost the night's cohort.
        return failure(scan, error)
    return _outcome(scan.name, result, session, clock.seconds)


def attempt_in_worker(scan: Scan, work: Work) -> Outcome:
    """Segment one scan in a worker of a cluster, its events unseen; see `attempt_steps`."""
    try:
        session = _worker_session(work)
    except Exception as error:
        return failure(scan, error)
    outcome = result_of(attempt_steps(scan, session))
    assert outcome is not None  # as it has waited
    return outcome


def _worker_session(work: Work) -> Session:
    from distributed import get_worker

    weights, seconds = _load_expected(work.job.weights, work.weights_hash)
    worker = {"host": platform.node(), "address": get_worker().address}
    return Session(work, weights, {"startup": round(seconds, 4)}, worker=worker)


@lru_cache(maxsize=2)
def _load_expected(name_or_folder: str, expected: str) -> tuple[Weights, float]:
    """Load weights once per worker process; its compiled networks stay with them.

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


def outcome_without_work(scan: Scan, work: Work) -> Outcome | None:
    """Return the outcome of a scan that is done, or must not be; None if it is to be segmented."""
    job = work.job
    record = read_record(job.output, scan.name)
    again = job.overwrite or job.overwrite_edited
    try:
        if record and not is_of(record, scan.path, scan.series):
            _check_changed(scan, record, again)
        elif record and _is_kept(scan, job, record):
            line = f"{scan.name}: already done, corrected"
            line += "; --overwrite-edited segments it again" if again else ""
            return Outcome(line, True, name=scan.name, flagged=read_flagged(record))
        elif record and is_complete(record, job.output, scan.name) and not again:
            line = _done_line(scan, work, record)
            return Outcome(line, True, name=scan.name, flagged=read_flagged(record))
        check_replaceable(job.output, scan.name, _overwrite(job))
    except InputError as error:
        return failure(scan, error)
    return None


def _check_changed(scan: Scan, record: Mapping[str, Any], again: bool) -> None:
    """Check that the results of a scan that has changed, or of another one, may be replaced."""
    if not is_at(record, scan.path, scan.series):
        found = f"results of another scan, {record.get('source')}, under its name {scan.name}"
        raise InputError(scan.path, found, "a name per scan", "Repeat the command.")
    if not again:
        found = f"a scan that has changed since it was segmented as {scan.name}"
        remedy = "--overwrite segments it again."
        raise InputError(scan.path, found, "the same scan as then", remedy)


def _done_line(scan: Scan, work: Work, record: Mapping[str, Any]) -> str:
    same = record.get("settings") == work.settings
    same = same and record.get("weights_hash") == work.weights_hash
    note = "" if same else ", with other settings; --overwrite segments it again"
    if is_touched(work.job.output, scan.name):
        note = ", edited since; `musclejax measure` measures it again"
    return f"{scan.name}: already done{note}"


def _is_kept(scan: Scan, job: SegmentJob, record: Mapping[str, Any]) -> bool:
    """Return whether a person's labels of a scan were measured, and stay."""
    if job.overwrite_edited or not corrected_labels(record):
        return False
    return labels_state(job.output, scan.name, record) != "gone"


def _overwrite(job: SegmentJob) -> Overwrite:
    # The name is the scan's own, whatever has become of its contents: see `app.names`.
    return "edited" if job.overwrite_edited else "any scan"


def _segment_and_save(scan: Scan, session: Session, clock: Stopwatch) -> Events:
    job, options = session.work.job, session.work.options
    yield Stage("load")
    source = read_source(scan.path, scan.series)
    volume = _read(scan, job)
    maps = find_maps(job, scan.map_names or [scan.name], volume, scan.fat_images)
    volume = network_image(volume, maps)
    _check_room(volume, session.work)
    dicom, remarks = _plan_dicom(volume) if job.writes_dicom else (False, ())
    files = ResultFiles(job.labels, job.naming, dicom, dicom and job.dicom_sr)
    yield Advance(0, volume.num_slices)
    result = yield from segment_steps(volume, session.weights, options)
    result, measures = measure_maps(result, maps)
    result = replace(result, warnings=(*result.warnings, *remarks))
    raise_if_interrupted()
    yield Stage("save")
    saved = _retry_if_full(
        job.output,
        lambda: save_warned(
            result,
            job.output,
            measures.maps,
            files=files,
            overwrite=_overwrite(job),
            record=lambda: _record(scan, source, result, measures, session, clock),
        ),
    )
    if not job.report:
        return saved.result
    remarks = write_page_of(saved.result, job.output)
    return replace(saved.result, warnings=(*saved.result.warnings, *remarks))


def _plan_dicom(volume: Volume) -> tuple[bool, tuple[str, ...]]:
    """Return whether a DICOM segmentation can be written, and warnings; nothing is computed yet."""
    try:
        return True, check_dicom_seg(volume)
    except InputError as error:
        return False, (f"no DICOM segmentation: {error}",)


def _check_room(volume: Volume, work: Work) -> None:
    """Check that the results of a scan fit on the disk, before they are computed.

    Raises:
        InputError: If they may not, were they stored without compression.
    """
    classes = max(region.num_classes for region in anatomy.REGIONS.values())
    maps = 1 + (work.job.naming == "bids") + 4 * (work.job.water is not None)
    arrays = maps + classes * work.options.probabilities + classes * work.job.writes_dicom / 4
    needed = volume.data.size * arrays + _TABLES_BYTES
    free = shutil.disk_usage(work.job.output).free
    if free < needed:
        found = f"{free / 2**20:.1f} MiB free on its disk"
        raise InputError(work.job.output, found, f"{needed / 2**20:.1f} MiB", "Make room.")


def _retry_if_full(folder: Path, write: Callable[[], Saved]) -> Saved:
    """Write what was computed; wait a minute for room on a full disk."""
    for number, seconds in enumerate(_WAITS_S):
        try:
            return write()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            if not number:
                console.warn(f"{folder}: no space left; waits {sum(_WAITS_S)} s for room")
            time.sleep(seconds)
    return write()


def _read(scan: Scan, job: SegmentJob) -> Volume:
    volume = load(scan.series or scan.path)
    volume = replace(volume, name=scan.name, warnings=(*volume.warnings, *scan.notes))
    if job.writes_dicom and not volume.dicom_files:
        option = "--dicom-seg" if job.dicom_seg else "--dicom-sr"
        raise InputError(scan.path, "a NIfTI scan", f"a DICOM scan with {option}")
    return volume


def _record(
    scan: Scan,
    source: Source,
    result: Segmentation,
    measures: Measures,
    session: Session,
    clock: Stopwatch,
) -> dict[str, Any]:
    work, weights = session.work, session.weights
    return {
        **about_series(scan.name, result.volume.series),
        "source": str(scan.path),
        "source_files": source._asdict(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(work.settings),
        "batch_size": work.options.batch_size,
        "weights_hash": weights.hash,
        "network_hash": weights.networks[result.region].hash,
        "seconds": {**session.startup, **clock.seconds},
        "process_seconds": {
            "start": round(session.started, 4),
            "until_here": round(process_age_s(), 4),
        },
        "peak_memory_mib": peak_memory_mib(),
        **measures.record,
        **({"worker": dict(session.worker)} if session.worker else {}),
        **machine(library_versions(result.engine)),
    }


def _outcome(
    name: str, result: Segmentation, session: Session, seconds: Mapping[str, float]
) -> Outcome:
    probability = result.region_probability
    how = "as given" if probability is None else f"p = {probability:.3f}"
    by = result.engine, result.precision
    # The plainest needs no mention.
    engine = "" if by == ("jax", "float32") else f", {' '.join(by)}"
    tta = f", TTA of {count_of(result.tta_slices, 'slice')}" if result.tta_slices else ""
    line = f"{name}: {result.region} ({how}), {count_of(result.volume.num_slices, 'slice')}, "
    line += f"{seconds['total']:.1f} s (network {seconds['network']:.1f} s{engine}{tta})"
    warnings = [w for w in result.warnings if w != session.weights.warning]
    details = ", ".join(f"{stage} {s:.2f} s" for stage, s in seconds.items())
    named = tuple(f"{name}: {w}" for w in warnings)
    return Outcome(line, True, named, f"  {details}", name=name, flagged=find_flagged(result))
