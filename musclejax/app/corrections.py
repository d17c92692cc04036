"""`musclejax dataset make`: the corrected scans of a cohort folder as a training dataset."""

from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from musclejax import anatomy
from musclejax.app import console
from musclejax.app.fat_map import seen_again
from musclejax.app.names import is_of
from musclejax.app.process import check_output, usage, writing
from musclejax.app.recipe_options import CorrectionsJob
from musclejax.app.recorded_scan import RecordedScans
from musclejax.app.work import Scan
from musclejax.data.corrections import (
    Choice,
    Chosen,
    CorrectedScan,
    CorrectionsDataset,
    changed_slices,
    choose_slices,
    read_choice,
    read_muscles,
)
from musclejax.errors import InputError, count_of, did_you_mean, one_line, printable
from musclejax.files import file_sha256, transient_lock
from musclejax.loops import Advance
from musclejax.reports.review import REVIEW, Review, find_strays, read_review
from musclejax.reports.run_record import (
    LABELS,
    ORIGINAL,
    RECORD,
    checksums,
    read_records,
    recorded_names,
)
from musclejax.scan.study import load
from musclejax.scan.volume import Volume

_LOCK = ".dataset-make.lock"


def make(job: CorrectionsJob) -> int:
    """Make a dataset per region, or bring them up to date.

    Returns:
        The exit code: 0 done, 1 if a scan failed.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the folder holds no scan that was corrected or confirmed, or the dataset's
            is another's.
    """
    check_output(job.output)
    with usage():
        choice = read_choice(job.slices)
        records = _read_records(job.folder)
        _check_named(choice, records)
    with writing(job.output), ExitStack() as held:
        job.output.mkdir(parents=True, exist_ok=True)
        if not held.enter_context(transient_lock(job.output / _LOCK, wait=False)):
            found = "another process that makes it"
            raise InputError(job.output, found, "one process at a time", "Wait for it.")
        review = _read_review(job.folder, records)
        work = _Work(job, RecordedScans(job.scan), choice, review, _datasets(job, records))
        console.follow(_make_steps(work, records), "scans")
    for line in work.failures:
        console.warn(line)
    if not work.made and not work.failures:
        scans = count_of(len(records), "scan")
        found = f"none of {scans} with a slice that was changed or confirmed"
        remedy = f"Edit NAME_labels.nii.gz, mark slices right in {REVIEW}, or give --slices."
        raise InputError(job.folder, found, "corrected label maps", remedy)
    _tell(work)
    return 1 if work.failures else 0


class _Made(NamedTuple):
    """A scan in a dataset."""

    region: str
    subject: str
    chosen: Chosen


@dataclass(frozen=True, eq=False)
class _Work:
    """What a command knows, and what it has done.

    Attributes:
        job: Folders.
        scans: Where they are.
        choice: Which slices carry labels.
        review: Marks of scans and slices.
        datasets: By region.
        made: Scans in the datasets.
        kept: Names of the cases that stay: of scans that failed, as they were.
        failures: A line for each scan that failed.
    """

    job: CorrectionsJob
    scans: RecordedScans
    choice: Choice
    review: Review
    datasets: Mapping[str, CorrectionsDataset]
    made: list[_Made] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def _make_steps(
    work: _Work, records: Mapping[str, dict[str, Any]]
) -> Generator[Advance, None, None]:
    for done, (name, record) in enumerate(records.items(), start=1):
        try:
            scan = _try_to_read(work, name, record)
            if scan is not None:
                work.datasets[record["region"]].add(scan)
                work.made.append(_Made(record["region"], scan.row["subject"], scan.chosen))
                work.kept.append(name)
        except InputError as error:
            work.failures.append(f"{name}: {error}")
            work.kept.append(name)
        yield Advance(done, len(records))
    for dataset in work.datasets.values():
        dataset.finish(work.kept)


def _try_to_read(work: _Work, name: str, record: Mapping[str, Any]) -> CorrectedScan | None:
    """Return a scan as of `_read_scan`; its surprises must not cost the others."""
    try:
        return _read_scan(work, name, record)
    except InputError:
        raise
    except Exception as error:
        found = f"unusable ({one_line(error)})"
        raise InputError(name, found, "a scan, its labels and its record") from error


def _read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the run record of each segmented scan of a cohort, by name.

    Raises:
        InputError: If there is none.
    """
    found = read_records(folder)
    for name in (name for name in recorded_names(folder) if name not in found):
        damaged = f"{RECORD.format(name=name)} is damaged: its scan is passed over"
        console.warn(printable(f"warning: {damaged}"))
    records = {n: r for n, r in found.items() if r.get("region") in anatomy.REGIONS}
    if not records:
        raise InputError(folder, "no segmented scan", "the -o of musclejax segment")
    return records


def _check_named(choice: Choice, records: Mapping[str, object]) -> None:
    """Check that the scans that `--slices` names are there.

    Raises:
        InputError: If one is not.
    """
    for name in choice.named:
        if name not in records:
            hint = did_you_mean(name, records)
            raise InputError("--slices", f"no scan {name}", "NAME as in NAME_run.json", hint)


def _datasets(
    job: CorrectionsJob, records: Mapping[str, dict[str, Any]]
) -> dict[str, CorrectionsDataset]:
    """Return the dataset of each region: the output itself if the cohort shows one region only."""
    regions = sorted({record["region"] for record in records.values()})
    title = job.output.resolve().name
    if len(regions) == 1:
        return {regions[0]: CorrectionsDataset(job.output, title)}
    if (job.output / "dataset.json").exists():
        found = f"a dataset of one region, while {job.folder} shows {' and '.join(regions)}"
        raise InputError(job.output, found, "a folder for one dataset per region", "Another -o.")
    return {name: CorrectionsDataset(job.output / name, f"{title} {name}") for name in regions}


def _read_scan(work: _Work, name: str, record: Mapping[str, Any]) -> CorrectedScan | None:
    """Return a scan with the slices that carry labels; None if there are none.

    Raises:
        InputError: If the scan or a label map cannot be read, or they do not fit.
    """
    folder, marks = work.job.folder, work.review.get(name, {})
    path, original = (folder / form.format(name=name) for form in (LABELS, ORIGINAL))
    if not path.is_file():
        raise InputError(path, "no such file", "a label map", "Put it back from a copy.")
    before = file_sha256(original) if original.is_file() else checksums(record).get(path.name)
    edited = before not in (None, file_sha256(path))
    if not (edited or marks or name in work.choice.named):
        return None
    settings = record.get("settings")
    if isinstance(settings, dict) and settings.get("muscles"):
        found = f"labels of {settings['muscles']} only"
        raise InputError(path, found, "labels of all muscles", "Segment it without --muscles.")
    volume = _load_scan(work.scans.find(name, record), record)
    region = anatomy.REGIONS[record["region"]]
    labels = read_muscles(path, volume, region)
    changed: tuple[int, ...] = ()
    if edited:
        if not original.is_file():
            remedy = f"Say which slices are right: --slices {name}=3-8,12"
            raise InputError(original, "no such file", "the labels before", remedy)
        old = read_muscles(original, volume, region)
        changed = changed_slices(labels, old, volume.axial_axis)
    chosen = choose_slices(work.choice, name, volume.num_slices, changed, marks)
    if not chosen.slices:
        return None
    row = {
        "subject": str(record.get("subject") or name),
        "time_point": str(record.get("visit") or ""),
        "region": record["region"],
    }
    return CorrectedScan(name, row, volume, labels, chosen)


def _load_scan(scan: Scan, record: Mapping[str, Any]) -> Volume:
    """Load what the network was given of the scan that a record names.

    Raises:
        InputError: If it is another scan by now, or its water and fat image are gone.
    """
    if record.get("source_files") and not is_of(record, scan.path, scan.series):
        found, accepted = "another scan", f"the scan of {scan.name}"
        raise InputError(scan.path, found, accepted, "Segment it again.")
    seen = seen_again(load(scan.series or scan.path), scan, record)
    if seen is None:
        accepted = "its water and fat image, of which the network saw a combination"
        remedy = "Put them where the record names them, or beside the scan."
        raise InputError(scan.path, "the scan alone", accepted, remedy)
    return seen


def _read_review(folder: Path, names: Collection[str]) -> Review:
    """Return the marks of a review; report those of scans or slices that are not there.

    Raises:
        InputError: If it is no such table.
    """
    review = read_review(folder)
    for line in find_strays(folder, review, names):
        console.warn(printable(line))
    return review


def _tell(work: _Work) -> None:
    """Print what each dataset got, and the next command."""
    for region, dataset in work.datasets.items():
        made = [made for made in work.made if made.region == region]
        if not made:
            continue
        subjects = {one.subject for one in made}
        changed, others = (
            sum(map(len, kind)) for kind in zip(*(one.chosen for one in made), strict=True)
        )
        counted = f"{count_of(changed, 'slice')} changed, {others} confirmed or named"
        of = f"{count_of(len(made), 'scan')} of {count_of(len(subjects), 'subject')}"
        console.say(f"{dataset.folder}: {of}, {counted}")
        if len(subjects) == 1:
            text = "one subject only: nobody is left to validate on; correct one more"
            console.warn(f"warning: {dataset.folder}: {text}")
        console.say(f"next: musclejax dataset check {dataset.folder}")
