"""`musclejax measure`: labels that a person has corrected, or any others, as results."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from musclejax.app import console
from musclejax.app.cohort import CohortTables, say_page
from musclejax.app.fat_map import check_all_maps
from musclejax.app.label_names import write_label_names
from musclejax.app.measured_scan import (
    HowMeasured,
    LabelledScan,
    Measured,
    measure_scan,
)
from musclejax.app.names import name_scans
from musclejax.app.options import MeasureOptions
from musclejax.app.process import BadUsage, check_output, usage
from musclejax.app.recorded_scan import RecordedScans
from musclejax.app.stop import STOPPED
from musclejax.app.work import Scan, lock_file
from musclejax.data.label_tables import find_table
from musclejax.errors import InputError, count_of, describe_error, printable
from musclejax.files import names_ending, transient_lock
from musclejax.loops import Advance
from musclejax.reports.cohort_tables import Failure
from musclejax.reports.review import Review, find_strays, is_reviewed, read_review
from musclejax.reports.run_record import (
    LABELS,
    RECORD,
    change_record,
    corrected_labels,
    labels_state,
    read_record,
    recorded_names,
)
from musclejax.scan.catalog import list_series
from musclejax.scan.numbering import numbering_of
from musclejax.scan.selection import select
from musclejax.scan.source import absolute

_LABELS_END = LABELS.format(name="")


def run(options: MeasureOptions) -> int:
    """Measure a label map, or the edited ones of a folder that `segment` has written.

    Returns:
        The exit code: 0 if all are done, 1 if some failed, 130 if stopped by Ctrl-C.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the only label map is unusable.
    """
    if options.names is not None:
        with usage():
            find_table(options.names)
    try:
        if options.labels.is_dir():
            return _measure_cohort(options)
        _measure_one(options)
    except KeyboardInterrupt:
        console.warn("stopped; what is measured is written: repeat the command")
        return STOPPED
    return 0


def _measure_one(options: MeasureOptions) -> None:
    """Measure one label map."""
    check_all_maps(options, 1)
    labels = options.labels
    if not labels.is_file():
        accepted = "a label map, or a folder that segment has written"
        raise InputError(labels, "no such file or folder", accepted)
    task = _own_task(options) or _foreign_task(options)
    how = _how(options, read_review(task.folder), task.scan.name)
    measured = measure_scan(task, how)
    if not task.in_place:
        write_label_names(task.folder, numbering_of(task.folder, {}) or "muscles", change=False)
    _report(task.scan.name, measured)
    say_page(CohortTables(task.folder, page=options.report, keep_failed=True).close())


def _own_task(options: MeasureOptions) -> LabelledScan | None:
    """Return a label map among the results of `segment`; None if it is not there."""
    labels, folder = options.labels, options.labels.parent
    name = labels.name.removesuffix(_LABELS_END)
    record = read_record(folder, name) if name != labels.name else None
    if record is None or (options.output and absolute(options.output) != absolute(folder)):
        return None
    return LabelledScan(RecordedScans(options.scan).find(name, record), folder, labels)


def _foreign_task(options: MeasureOptions) -> LabelledScan:
    """Return a label map from elsewhere, with its scan."""
    if options.scan is None:
        raise BadUsage("--scan: found none; accepted: the scan that the labels belong to.")
    if options.output is None:
        raise BadUsage("-o: found none; accepted: the folder for the results.")
    check_output(options.output)
    with usage():
        scans = list_series(options.scan).series
    scans = scans if len(scans) == 1 else select(scans).taken  # of several volumes the best one
    if len(scans) != 1:
        raise BadUsage(
            f"--scan: found {len(scans)} scans in {options.scan}; accepted: one scan. "
            "Give the file or the series of these labels."
        )
    named, errors = name_scans(scans, options.output)
    if errors:
        raise errors[0]
    return LabelledScan(named[0], options.output, options.labels)


def _measure_cohort(options: MeasureOptions) -> int:
    """Measure the label maps of a folder that were edited; return the exit code."""
    folder = options.labels
    for option, value in (("-o", options.output), ("--region", options.region)):
        if value is not None:
            accepted = "it with a single label map; a folder keeps its own"
            raise BadUsage(f"{option}: found {value} with a folder; accepted: {accepted}.")
    names = recorded_names(folder)
    if not names:
        remedy = "Give a label map and its --scan, or run `musclejax segment` first."
        raise InputError(folder, "no results of segment", "its folder of results", remedy)
    check_all_maps(options, len(names))
    review = read_review(folder)
    for line in (*find_strays(folder, review, names), *_find_nameless(folder, names)):
        console.warn(printable(line))
    return _measure_edited(options, names, review)


def _find_nameless(folder: Path, names: Collection[str]) -> list[str]:
    """Return a line for each label map of a folder that has no record."""
    found = (name.removesuffix(_LABELS_END) for name in names_ending(folder, _LABELS_END))
    return [
        f"{LABELS.format(name=name)}: not measured, without {RECORD.format(name=name)}: "
        "measure it by itself, with its --scan and -o"
        for name in found
        if name not in names
    ]


def _measure_edited(options: MeasureOptions, names: Sequence[str], review: Review) -> int:
    folder, scans = options.labels, RecordedScans(options.scan)
    tables = CohortTables(folder, page=options.report, keep_failed=True)
    measured, failed, corrected = 0, 0, 0
    with console.progress() as bars:
        bar = console.Bar(bars, "scans", len(names), visible=len(names) > 1)
        for number, name in enumerate(names, 1):
            how = _how(options, review, name)
            try:
                record = _read_whole(folder, name)
                if _needs_measuring(folder, name, record, options):
                    labels = folder / LABELS.format(name=name)
                    task = LabelledScan(scans.find(name, record), folder, labels)
                    _report(name, measure_scan(task, how))
                    measured += 1
                else:
                    corrected += bool(corrected_labels(record))
                    _mark(folder, name, record, reviewed=how.reviewed)
            except Exception as error:
                # One scan's surprise must not cost the others.
                failed += 1
                reason = describe_error(error)
                console.warn(f"failed: {name}: {reason}")
                tables.add(Failure(name, reason))
            bar.show(Advance(number, len(names)))
    page = tables.close()
    before = f", {corrected} corrected before" if corrected else ""
    total = f"{count_of(len(names), 'scan')}{before}"
    if failed:
        console.warn(f"{failed} of {len(names)} failed; {measured} measured again")
    elif measured:
        console.say(printable(f"{folder}: {measured} measured again, of {total}"))
    else:
        console.say(printable(f"{folder}: no label map was edited ({total})"))
    say_page(page)
    return 1 if failed else 0


def _read_whole(folder: Path, name: str) -> Mapping[str, Any]:
    """Return the record of a scan.

    Raises:
        InputError: If it is damaged.
    """
    record = read_record(folder, name)
    if record is None:
        remedy = "Put it back from a copy; or measure the label map by itself, with --scan and -o."
        path = folder / RECORD.format(name=name)
        raise InputError(path, "a damaged record", "a record as segment writes it", remedy)
    return record


def _mark(folder: Path, name: str, record: Mapping[str, Any], *, reviewed: bool) -> None:
    """Write into a record whether a person has confirmed the labels, if it is new."""
    if record.get("reviewed", False) != reviewed:
        with transient_lock(lock_file(folder, Scan(folder, name)), wait=True):
            change_record(folder, name, reviewed=reviewed)


def _needs_measuring(
    folder: Path, name: str, record: Mapping[str, Any], options: MeasureOptions
) -> bool:
    """Return whether a label map was edited since it was measured, or a map is given for all.

    Raises:
        InputError: If it is gone.
    """
    state = labels_state(folder, name, record)
    if state == "gone":
        labels = folder / LABELS.format(name=name)
        remedy = "`musclejax segment` writes it again."
        raise InputError(labels, "no such file", "the label map of its record", remedy)
    restored = state == "as segmented" and bool(corrected_labels(record))
    return state == "edited" or restored or options.has_maps


def _how(options: MeasureOptions, review: Review, name: str) -> HowMeasured:
    maps = options if options.has_maps else None
    reviewed = is_reviewed(review, name)
    return HowMeasured(options.names, options.region, maps, reviewed, options.report)


def _report(name: str, measured: Measured) -> None:
    console.say(printable(measured.line))
    _warn(name, measured.warnings)


def _warn(name: str, warnings: Iterable[str]) -> None:
    for warning in warnings:
        console.warn(f"warning: {name}: {warning}")
