"""Segment many scans with one load and one compilation; report each, stop for none."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from musclejax.cli.one_scan import (
    Bar,
    Outcome,
    Scan,
    Session,
    Settings,
    Watch,
    attempt,
    finished_before,
)
from musclejax.cli.process import (
    BadUsage,
    Stopwatch,
    check_output,
    configure,
    progress_bar,
    usage,
)
from musclejax.cli.weights import load_announced
from musclejax.errors import InputError
from musclejax.scan.discover import count_voxels, find_scans

if TYPE_CHECKING:
    from rich.progress import Progress

    from musclejax.models.weights import Weights

Runner = Callable[[list[Scan], Session, Callable[[Outcome], None]], None]
"""Segments scans and calls back with what happened to each."""


def run(paths: Sequence[Path], settings: Settings) -> int:
    """Segment the scans that `paths` mean.

    Returns:
        The exit code: 0 if all are done, 1 if some failed.

    Raises:
        BadUsage: If an option is unusable.
    """
    with usage():
        _check_options(settings)
        configure(settings.threads)
    paths, missing = _find(paths)
    scans = _name(paths)
    _check(scans, settings)
    clock = Stopwatch()
    with clock.stage("startup"), usage():
        settings = replace(settings, engine=_engine(settings))
    with _runner(settings.scheduler) as runner:
        with clock.stage("startup"), usage():
            weights = _load(settings)
            batch_size = _batch_size(settings, weights, scans)
        with progress_bar() as progress:
            watch, identity = _bars(progress), settings.identity()
            session = Session(settings, identity, weights, batch_size, clock.seconds, watch)
            failed = missing + _segment(scans, session, runner, progress)
    if failed:
        total = len(scans) + missing
        rest = f"; the other results are in {settings.output}" if failed < total else ""
        click.echo(f"{failed} of {total} failed{rest}", err=True)
    return 1 if failed else 0


@contextmanager
def _runner(scheduler: str | None) -> Iterator[Runner]:
    """Yield what segments the scans: this process, or a cluster."""
    if scheduler is None:
        yield in_process
        return
    from musclejax.cli.distributed import join_cluster, run_on

    with join_cluster(scheduler) as client:
        yield partial(run_on, client)


def in_process(scans: list[Scan], session: Session, finish: Callable[[Outcome], None]) -> None:
    """Segment scans one after the other in this process."""
    for scan in scans:
        finish(attempt(scan, lambda: session))


def _segment(scans: list[Scan], session: Session, runner: Runner, progress: "Progress") -> int:
    """Segment the scans that are not finished; report each; return how many failed."""
    bar = progress.add_task("scans", total=len(scans), visible=len(scans) > 1)
    failed = []

    def finish(outcome: Outcome) -> None:
        if outcome.done:
            progress.console.print(outcome.line, highlight=False, markup=False, soft_wrap=True)
        else:
            failed.append(outcome)
            click.echo(outcome.line, err=True)
        progress.advance(bar)

    finished = {scan: finished_before(scan, session) for scan in scans}
    for line in filter(None, finished.values()):
        finish(Outcome(line, True))
    runner([scan for scan, line in finished.items() if not line], session, finish)
    return len(failed)


def _check_options(settings: Settings) -> None:
    """Check options that exclude each other.

    Raises:
        InputError: If two of them are given.
    """
    if settings.scheduler and settings.threads:
        remedy = "Bind the workers: `taskset`, or `srun --cpus-per-task` (docs/scaling.md)."
        raise InputError("--threads", "--scheduler too", "one of the two", remedy)
    if settings.memory_gb and settings.batch_size:
        raise InputError("--memory", "--batch-size too", "one of the two")


def _find(paths: Sequence[Path]) -> tuple[list[Path], int]:
    scans: list[Path] = []
    missing = 0
    for path in paths:
        try:
            scans += find_scans(path)
        except InputError as error:
            missing += 1
            click.echo(f"failed: {error}", err=True)
    return list(dict.fromkeys(scans)), missing


def _name(paths: Sequence[Path]) -> list[Scan]:
    from musclejax.scan.volume import scan_name

    return [Scan(path, scan_name(path)) for path in paths]


def _check(scans: list[Scan], settings: Settings) -> None:
    counts = Counter(scan.name for scan in scans)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        same = " and ".join(str(scan.path) for scan in scans if scan.name == twice[0])
        raise BadUsage(f"found {same}, whose results would have one name; accepted: one of them.")
    fat = settings.fat_fraction
    if fat and not fat.exists():
        raise BadUsage(f"--fat-fraction: found no file {fat}; accepted: a NIfTI file or a folder.")
    if fat and fat.is_file() and len(scans) > 1:
        raise BadUsage(
            f"--fat-fraction: found one file for {len(scans)} scans; accepted: a folder with a "
            "NAME.nii.gz for each scan."
        )
    check_output(settings.output)


def _engine(settings: Settings) -> str:
    """Return the engine to use, before anything is loaded for it."""
    from musclejax.inference.engines import resolve

    return resolve(settings.engine, settings.precision)


def _load(settings: Settings) -> "Weights":
    from musclejax.inference.report import save_label_names

    weights = load_announced(settings.weights)
    save_label_names(settings.output)
    return weights


def _batch_size(settings: Settings, weights: "Weights", scans: list[Scan]) -> int:
    """Return the batch size that is given, or fits into the memory that is given, or the default.

    Raises:
        InputError: If no batch fits.
    """
    from musclejax.inference.memory import fit_batch_size
    from musclejax.inference.predictor import BATCH_SIZE

    if settings.memory_gb is None:
        return settings.batch_size or BATCH_SIZE
    batch_size = fit_batch_size(
        settings.memory_gb,
        weights,
        max((count_voxels(scan.path) for scan in scans), default=0),
        region=settings.region,
        engine=settings.engine,
        probabilities=settings.probabilities,
    )
    click.echo(f"batch size {batch_size}, for {settings.memory_gb:g} GB")
    return batch_size


def _bars(progress: "Progress") -> Watch:
    """Return what shows a bar of slices for each scan; it grows by those to be looked at twice."""

    @contextmanager
    def watch(name: str, slices: int) -> Iterator[Bar]:
        bar = progress.add_task(name, total=slices)
        try:
            yield Bar(
                lambda done: progress.advance(bar, done),
                lambda more: progress.update(bar, total=slices + more),
            )
        finally:
            progress.remove_task(bar)

    return watch
