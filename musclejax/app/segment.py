"""Segment many scans with one load and one compilation; report each, stop for none."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from musclejax.app import console
from musclejax.app.announce import load_announced, resolved_announced
from musclejax.app.cluster import join_cluster, lacking_workers, run_on
from musclejax.app.cohort import CohortTables, say_page
from musclejax.app.fat_map import check_all_maps
from musclejax.app.label_names import write_label_names
from musclejax.app.names import name_scans
from musclejax.app.one_scan import Session, attempt_steps, outcome_without_work
from musclejax.app.options import SegmentJob
from musclejax.app.process import BadUsage, Stopwatch, check_output, since_configured, usage
from musclejax.app.stop import STOPPED, noticing_interrupts, raise_if_interrupted
from musclejax.app.study import find_study
from musclejax.app.work import FAILED, Outcome, Scan, Work, failure, lock_file, settings_of
from musclejax.errors import InputError, printable
from musclejax.files import transient_lock
from musclejax.loops import Advance
from musclejax.models.weights import Weights, weight_files
from musclejax.options import named_paths
from musclejax.prediction.engine_choice import check
from musclejax.prediction.options import SegmentOptions
from musclejax.reports.cohort import order_by_need
from musclejax.reports.cohort_tables import Failure
from musclejax.reports.run_record import recover
from musclejax.scan.selection import Selection
from musclejax.scan.series import Series

if TYPE_CHECKING:
    from distributed import Client
    from rich.progress import Progress


def run(paths: Sequence[Path], job: SegmentJob, options: SegmentOptions) -> int:
    """Segment the scans that `paths` mean.

    Returns:
        The exit code: 0 if all are done, 1 if some failed, 130 if stopped by Ctrl-C.

    Raises:
        BadUsage: If an option is unusable.
    """
    try:
        with noticing_interrupts():
            return _run(paths, job, options)
    except KeyboardInterrupt:
        console.warn(f"stopped; scans that are done are in {job.output}: repeat the command")
        return STOPPED


def _run(paths: Sequence[Path], job: SegmentJob, options: SegmentOptions) -> int:
    clock = Stopwatch()
    clock.add("startup", since_configured())
    study = find_study(paths, job.choice)
    _check(study.taken, job)
    if line := Selection(study.taken, study.left_out).line:
        console.say(line)
    scans, nameless = name_scans(study.taken, job.output)
    scans = [
        scan._replace(notes=study.notes[scan.series], fat_images=study.fat_images[scan.series])
        for scan in scans
        if scan.series
    ]
    for error in nameless:
        console.warn(f"failed: {error}")
    with clock.stage("startup"), usage():
        check(options)
    with _cluster(job.scheduler) as client:
        with clock.stage("startup"), usage():
            weights = load_announced(job.weights)
            options = _resolved(options, weights, client)
        again = job.overwrite or job.overwrite_edited
        write_label_names(job.output, job.labels, change=again)
        work = Work(job, options, settings_of(job, options), weights.hash)
        failed = _segment(scans, Session(work, weights, clock.seconds), client)
    failed += study.missing + len(nameless)
    if failed:
        total = len(study.taken) + study.missing
        rest = f"; the other results are in {job.output}" if failed < total else ""
        console.warn(f"{failed} of {total} failed{rest}")
    return 1 if failed else 0


def _resolved(options: SegmentOptions, weights: Weights, client: "Client | None") -> SegmentOptions:
    """State engine and precision; by default those that all workers have."""
    resolved = resolved_announced(options, weights)
    by_default = (options.engine, options.precision) == ("default", "auto")
    if client and by_default and lacking_workers(client, resolved):
        return resolved_announced(replace(options, precision="float32"), weights)
    return resolved


@contextmanager
def _cluster(scheduler: str | None) -> Iterator["Client | None"]:
    """Yield a client of the cluster, or None if this process does the work."""
    if scheduler is None:
        yield None
        return
    with join_cluster(scheduler) as client:
        yield client


def _segment(scans: Iterable[Scan], session: Session, client: "Client | None") -> int:
    """Segment the scans that are not done; report each; return the number of failures."""
    scans = list(scans)
    _recover_all(scans, session.work.job.output)
    done = {scan: outcome_without_work(scan, session.work) for scan in scans}
    before = [outcome for outcome in done.values() if outcome and outcome.done]
    # One that seems to fail may have been killed while its files moved out: see `recover`.
    left = [scan for scan, outcome in done.items() if not outcome or not outcome.done]
    failed = 0
    flagged: dict[str, Mapping[str, float]] = {}
    job = session.work.job
    tables = CohortTables(job.output, page=job.report)
    whom = {scan.name: scan.series for scan in scans}
    with console.progress() as bars:
        bar = console.Bar(bars, "scans", len(done), visible=len(done) > 1)
        if client:
            outcomes = _run_there(left, session.work, client)
        else:
            outcomes = _run_here(left, session, bars)
        with closing(outcomes):
            for number, outcome in enumerate(chain(before, outcomes), 1):
                _report(outcome)
                flagged[outcome.name] = outcome.flagged
                tables.add(_failure(outcome, whom.get(outcome.name)))
                failed += not outcome.done
                bar.show(Advance(number, len(done)))
    page = tables.close()
    _say_where_to_look(flagged)
    say_page(page)
    return failed


def _failure(outcome: Outcome, series: Series | None) -> Failure | None:
    """Return how a scan has failed, and whom it shows; None if it is done."""
    if outcome.done:
        return None
    whom = (series.subject, series.visit) if series else ("", "")
    return Failure(outcome.name, outcome.line.removeprefix(FAILED), *whom)


def _say_where_to_look(flagged: Mapping[str, Mapping[str, float]]) -> None:
    """List the scans of a cohort whose muscles have a low estimated DSC."""
    lines = order_by_need(flagged) if len(flagged) > 1 else []
    if lines:
        console.say("look first at these muscles (estimated DSC):")
    for line in lines:
        console.say(printable(f"  {line}"))


def _recover_all(scans: Iterable[Scan], folder: Path) -> None:
    """Finish or drop what killed runs have left of scans, also of those that are done."""
    if not any(folder.glob(".*")):
        return
    for scan in scans:
        # Where that fails, so does the scan, later and in a line of its own.
        with suppress(OSError), transient_lock(lock_file(folder, scan), wait=False) as ours:
            if ours:
                recover(folder, scan.name)


def _run_here(
    scans: Sequence[Scan], session: Session, bars: "Progress"
) -> Generator[Outcome, None, None]:
    """Segment scans one after the other, each behind a bar of its slices.

    Scans that another process has begun come last: then they are done, or left to us.
    """
    attempt = partial(_attempt, session=session, bars=bars)
    busy = []
    todo = list(scans)
    while todo:
        scan = todo.pop(0)
        outcome = attempt(scan, wait=False)
        if outcome is None:
            busy.append(scan)
            continue
        yield outcome
        if outcome.disk_full:
            yield from _not_attempted([*todo, *busy], session.work.job.output)
            return
    for scan in busy:
        console.say(f"{scan.name}: another process segments it; waits for it")
        if outcome := attempt(scan, wait=True):
            yield outcome


def _attempt(scan: Scan, session: Session, bars: "Progress", *, wait: bool) -> Outcome | None:
    bar = console.Bar(bars, scan.name)
    try:
        return bar.follow(attempt_steps(scan, session, wait=wait))
    finally:
        bar.close()
        raise_if_interrupted()


def _not_attempted(scans: Iterable[Scan], folder: Path) -> Iterator[Outcome]:
    error = InputError(folder, "no space left", "a disk with room", "Not attempted.")
    return (failure(scan, error) for scan in scans)


def _run_there(
    scans: Sequence[Scan], work: Work, client: "Client"
) -> Generator[Outcome, None, None]:
    """Segment scans on a cluster, whose processes have other working folders."""
    job, folder = work.job, Path(work.job.weights)
    networks = list(weight_files(folder.absolute()).values())
    absolute = replace(
        job,
        output=job.output.absolute(),
        weights=str(folder.absolute()) if networks else job.weights,
        fat_fraction=job.fat_fraction and job.fat_fraction.absolute(),
        water=job.water and job.water.absolute(),
        fat=job.fat and job.fat.absolute(),
        map=tuple(f"{name}={path.absolute()}" for name, path in named_paths(job.map).items()),
    )
    files = [absolute.output / "labels.json", *networks]
    return run_on(client, scans, replace(work, job=absolute), files)


def _report(outcome: Outcome) -> None:
    if not outcome.done:
        console.warn(outcome.line)
        return
    console.say(printable(outcome.line))
    for warning in outcome.warnings:
        console.warn(f"warning: {warning}")
    if outcome.details:
        console.detail(outcome.details)


def _check(scans: Sequence[Series], job: SegmentJob) -> None:
    """Check maps and folder.

    Raises:
        BadUsage: If a path is unusable.
    """
    check_all_maps(job, len(scans))
    if job.writes_dicom and not find_spec("highdicom"):
        remedy = "Run `pip install 'musclejax[dicom]'`."
        option = "--dicom-seg" if job.dicom_seg else "--dicom-sr"
        raise BadUsage(f"{option}: found no highdicom; accepted: it installed. {remedy}")
    check_output(job.output)
