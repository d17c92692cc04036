"""Segment many scans with one load and one compilation; report each, stop for none."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from musclejax.app import console
from musclejax.app.announce import load_announced
from musclejax.app.cluster import join_cluster, run_on
from musclejax.app.one_scan import Session, already_done, attempt_steps
from musclejax.app.options import SegmentJob
from musclejax.app.process import BadUsage, Stopwatch, check_output, since_configured, usage
from musclejax.app.work import Outcome, Scan, Work, settings_of
from musclejax.errors import InputError
from musclejax.loops import Advance
from musclejax.models.weights import weight_files
from musclejax.prediction.engines import resolve
from musclejax.prediction.options import SegmentOptions
from musclejax.reports.segmentation import save_label_names
from musclejax.scan.study import find_scans
from musclejax.scan.volume import scan_name

if TYPE_CHECKING:
    from distributed import Client
    from rich.progress import Progress


def run(paths: Sequence[Path], job: SegmentJob, options: SegmentOptions) -> int:
    """Segment the scans that `paths` mean.

    Returns:
        The exit code: 0 if all are done, 1 if some failed.

    Raises:
        BadUsage: If an option is unusable.
    """
    clock = Stopwatch()
    clock.add("startup", since_configured())
    paths, missing = _find(paths)
    scans = [Scan(path, scan_name(path)) for path in paths]
    _check(scans, job)
    with clock.stage("startup"), usage():
        options = replace(options, engine=resolve(options.engine, options.precision))
    with _cluster(job.scheduler) as client:
        with clock.stage("startup"), usage():
            weights = load_announced(job.weights)
            save_label_names(job.output)
        work = Work(job, options, settings_of(job, options), weights.hash)
        failed = missing + _segment(scans, Session(work, weights, clock.seconds), client)
    if failed:
        total = len(scans) + missing
        rest = f"; the other results are in {job.output}" if failed < total else ""
        console.warn(f"{failed} of {total} failed{rest}")
    return 1 if failed else 0


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
    done = {scan: already_done(scan, session.work) for scan in scans}
    left = [scan for scan, line in done.items() if not line]
    before = [Outcome(line, True) for line in done.values() if line]
    failed = 0
    with console.progress() as bars:
        bar = console.Bar(bars, "scans", len(done), visible=len(done) > 1)
        if client:
            outcomes = _run_there(left, session.work, client)
        else:
            outcomes = _run_here(left, session, bars)
        with closing(outcomes):
            for number, outcome in enumerate(chain(before, outcomes), 1):
                _report(outcome)
                failed += not outcome.done
                bar.show(Advance(number, len(done)))
    return failed


def _run_here(
    scans: Iterable[Scan], session: Session, bars: "Progress"
) -> Generator[Outcome, None, None]:
    """Segment scans one after the other, each behind a bar of its slices."""
    for scan in scans:
        bar = console.Bar(bars, scan.name)
        yield bar.follow(attempt_steps(scan, session))
        bar.close()


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
    )
    files = [absolute.output / "labels.json", *networks]
    return run_on(client, scans, replace(work, job=absolute), files)


def _report(outcome: Outcome) -> None:
    if not outcome.done:
        console.warn(outcome.line)
        return
    console.say(outcome.line)
    for warning in outcome.warnings:
        console.warn(f"warning: {warning}")
    if outcome.details:
        console.detail(outcome.details)


def _find(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Return the scans that the paths mean, and the number of paths without any."""
    scans: list[Path] = []
    missing = 0
    for path in paths:
        try:
            scans += find_scans(path)
        except InputError as error:
            missing += 1
            console.warn(f"failed: {error}")
    return list(dict.fromkeys(scans)), missing


def _check(scans: list[Scan], job: SegmentJob) -> None:
    """Check names, maps and folder.

    Raises:
        BadUsage: If two scans have one name, or a path is unusable.
    """
    counts = Counter(scan.name for scan in scans)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        same = " and ".join(str(scan.path) for scan in scans if scan.name == twice[0])
        raise BadUsage(f"found {same}, with one name for their results; accepted: one of them.")
    fat = job.fat_fraction
    if fat and not fat.exists():
        raise BadUsage(f"--fat-fraction: found no file {fat}; accepted: a NIfTI file or a folder.")
    if fat and fat.is_file() and len(scans) > 1:
        raise BadUsage(
            f"--fat-fraction: found one file for {len(scans)} scans; accepted: a folder with a "
            "NAME.nii.gz per scan."
        )
    check_output(job.output)
