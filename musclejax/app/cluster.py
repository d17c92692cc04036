"""A Dask cluster for a command: join it, and segment scans on it.

Nothing heavy is imported here: workers may import it before their process is set up.
"""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musclejax.app import console
from musclejax.app.process import usage
from musclejax.app.work import FAILED, Outcome, Scan, Work, lock_file
from musclejax.app.worker import attempt_on_worker, lacks_engine
from musclejax.cluster import KILLED, TaskDone, check_workers, connect, run_tasks_steps
from musclejax.errors import InputError
from musclejax.files import remove_abandoned, transient_lock
from musclejax.prediction.options import SegmentOptions
from musclejax.scan.series import Series

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def join_cluster(address: str) -> Iterator["Client"]:
    """Yield a client of the cluster; report the size of the cluster.

    Raises:
        BadUsage: If Dask is not installed or no scheduler answers.
    """
    with usage():
        client = connect(address)
    # A scheduler that dies is reported in one line, not in tracebacks.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with client:
        threads = sum(client.nthreads().values())
        console.say(f"cluster: {threads or 'no'} worker threads{'' if threads else ' yet; waits'}")
        yield client


def run_on(
    client: "Client", scans: Sequence[Scan], work: Work, files: Iterable[Path]
) -> Generator[Outcome, None, None]:
    """Segment scans on a cluster; yield the outcome of each when it comes.

    A scan whose worker is lost is segmented elsewhere. Files appear when all of a scan are written;
    hidden ones of lost attempts are removed at the end, when no attempt runs any more. A scan that
    kills every worker it runs on has failed.

    Args:
        client: The cluster.
        scans: The scans.
        work: How they are segmented; its paths are absolute.
        files: Files that every worker must see.

    Raises:
        BadUsage: If a worker lacks the version of musclejax, the disk or the engine.
        InputError: If the cluster fails as such.
    """
    if not scans:
        return
    with usage():
        check_workers(client, files)
        _check_engine(client, work.options)
    given = {_from_root(scan): scan.path for scan in scans}
    attempt = partial(attempt_on_worker, work=work)
    events = run_tasks_steps(client, attempt, given, key=lambda scan: f"segment {scan.name}")
    with closing(events):
        for event in events:
            if isinstance(event, TaskDone):
                killed = Outcome(
                    f"{FAILED}{given[event.task]}: {KILLED}", False, name=event.task.name
                )
                yield event.result or killed
            else:
                console.warn("cluster: no worker is left; waits for one")
    for scan in given:
        remove_abandoned(work.job.output, scan.name)
        with transient_lock(lock_file(work.job.output, scan), wait=False):
            pass  # removes that of a killed worker


def _from_root(scan: Scan) -> Scan:
    """Return a scan whose paths any working folder understands."""
    own = scan.series and _at_root(scan.series)
    fat = tuple(map(_at_root, scan.fat_images))
    return scan._replace(path=scan.path.absolute(), series=own, fat_images=fat)


def _at_root(series: Series) -> Series:
    files = tuple(file.absolute() for file in series.files)
    return replace(series, path=series.path.absolute(), files=files)


def _check_engine(client: "Client", options: SegmentOptions) -> None:
    """Check that the workers that have joined can use the engine.

    Raises:
        InputError: If one cannot.
    """
    for worker, lacks in lacking_workers(client, options).items():
        remedy = "Give an engine that all workers have."
        found = f"a worker at {worker} that cannot use it ({lacks})"
        raise InputError(f"--engine {options.engine}", found, "one that can", remedy)


def lacking_workers(client: "Client", options: SegmentOptions) -> dict[str, Any]:
    """Return the workers that have joined and cannot use the engine, and why."""
    answers = client.run(lacks_engine, options.engine, options.precision, on_error="return")
    return {worker: lacks for worker, lacks in answers.items() if lacks}
