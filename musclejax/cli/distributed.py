"""Segment a cohort on a Dask cluster; and what all commands that use one begin with."""

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclejax.cli.one_scan import Outcome, Scan, Session, Settings, attempt
from musclejax.cli.process import Stopwatch, configure, usage
from musclejax.errors import InputError
from musclejax.files import remove_abandoned

if TYPE_CHECKING:
    from distributed import Client

    from musclejax.models.weights import Weights


@contextmanager
def join_cluster(address: str) -> Iterator["Client"]:
    """Yield a client of the cluster; say how large the cluster is.

    Raises:
        BadUsage: If Dask is not installed or no scheduler answers.
    """
    from musclejax.cluster import connect

    with usage():
        client = connect(address)
    # A scheduler that dies is reported in one line, not in tracebacks.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with client:
        threads = sum(client.nthreads().values())
        click.echo(f"cluster: {threads or 'no'} worker threads{'' if threads else ' yet; waits'}")
        yield client


@dataclass(frozen=True)
class Work:
    """What a worker needs to know to segment a scan as this process would.

    Attributes:
        settings: The options, with absolute paths.
        identity: See `Session`.
        weights_hash: Of the weights that this process has loaded.
        batch_size: Slices at once.
    """

    settings: Settings
    identity: dict[str, Any]
    weights_hash: str
    batch_size: int


def attempt_on_worker(scan: Scan, work: Work) -> Outcome:
    """Segment a scan in this worker; return what happened, whatever it is."""
    # Before jax is imported here; later it does no harm.
    configure(None)
    return attempt(scan, lambda: _session(work))


def run_on(
    client: "Client", scans: list[Scan], session: Session, finish: Callable[[Outcome], None]
) -> None:
    """Segment scans on a cluster: a `cohort.Runner`, once the client is given.

    A scan whose worker is lost is segmented elsewhere; nothing of a lost attempt is left, because
    files appear when all are written, and what was begun is removed at the end, when no attempt
    runs any more. A scan that kills every worker it runs on has failed.

    Raises:
        BadUsage: If a worker lacks the version of musclejax, the disk or the engine.
        InputError: If the cluster fails as such.
    """
    from musclejax.cluster import KILLED, run_tasks

    if not scans:
        return

    def came(scan: Scan, outcome: Outcome | None) -> tuple[Scan, ...]:
        finish(outcome or Outcome(f"failed: {given[scan]}: {KILLED}", False))
        return ()

    settings = _absolute(session.settings)
    work = Work(settings, dict(session.identity), session.weights.hash, session.batch_size)
    with usage():
        _check(client, work)
    given = {Scan(scan.path.absolute(), scan.name): scan.path for scan in scans}
    run_tasks(client, partial(attempt_on_worker, work=work), given, came, alone=_say_alone)
    for scan in given:
        remove_abandoned(settings.output, scan.name)


def _absolute(settings: Settings) -> Settings:
    """Return settings that mean the same files in a process that stands elsewhere."""
    from musclejax.models.weights import INDEX

    folder, fat = Path(settings.weights), settings.fat_fraction
    is_folder = (folder / INDEX).is_file()
    return replace(
        settings,
        output=settings.output.absolute(),
        weights=str(folder.absolute()) if is_folder else settings.weights,
        fat_fraction=fat and fat.absolute(),
    )


def _check(client: "Client", work: Work) -> None:
    """Check that the workers that have joined can segment as this process would.

    Raises:
        InputError: If one lacks the version of musclejax, the disk or the engine.
    """
    from musclejax.cluster import check_workers
    from musclejax.models.weights import INDEX

    settings, folder = work.settings, Path(work.settings.weights)
    files = [settings.output / "labels.json"]
    files += [folder / INDEX] if folder.is_absolute() else []
    check_workers(client, files)
    answers = client.run(_lacks, settings.engine, settings.precision, on_error="return")
    for worker, lacks in answers.items():
        if lacks:
            remedy = "Give an engine that all workers have."
            found = f"a worker at {worker} that cannot use it ({lacks})"
            raise InputError(f"--engine {settings.engine}", found, "one that can", remedy)


def _say_alone() -> None:
    click.echo("cluster: no worker is left; waits for one", err=True)


def _lacks(engine: str, precision: str) -> str:
    """Return what this worker lacks to compute so; nothing if it can."""
    configure(None)
    from musclejax.inference.engines import resolve

    try:
        resolve(engine, precision)
    except InputError as error:
        return error.found
    return ""


def _session(work: Work) -> Session:
    from distributed import get_worker

    weights, startup = _load(work.settings.weights, work.weights_hash)
    where = {"host": platform.node(), "address": get_worker().address}
    return Session(work.settings, work.identity, weights, work.batch_size, startup, worker=where)


@lru_cache(maxsize=2)
def _load(name_or_folder: str, expected: str) -> tuple["Weights", dict[str, float]]:
    """Load weights once a worker process; its compiled networks stay with them.

    Raises:
        InputError: If they are not those of the command.
    """
    clock = Stopwatch()
    with clock.stage("startup"):
        from musclejax.models.weights import load_weights

        weights = load_weights(name_or_folder)
    if weights.hash != expected:
        remedy = "Were they replaced? Repeat the command and restart the workers."
        raise InputError(f"weights {name_or_folder}", weights.hash, expected, remedy)
    return weights, clock.seconds
