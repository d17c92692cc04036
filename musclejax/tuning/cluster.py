"""Trials on a Dask cluster: the runner of `hyperband.search` that `--scheduler` asks for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from musclejax.errors import InputError
from musclejax.tuning.hyperband import Attempt, Finish, Outcome, Task

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT_S = 8
"""How long a scheduler may take to answer."""


def connect(address: str) -> "Client":
    """Return a client of the scheduler at an address such as `tcp://10.0.0.1:8786`.

    Raises:
        InputError: If Dask is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        remedy = "pip install 'musclejax[cluster]'"
        raise InputError("--scheduler", "no dask.distributed", "an installed one", remedy) from None
    try:
        return Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        found = f"{address}, where no scheduler answers ({reason})"
        remedy = "Start one with `dask scheduler`; it prints its address."
        raise InputError("--scheduler", found, "the address of a Dask scheduler", remedy) from None


def run_on(
    client: "Client", file: Path, tasks: list[Task], attempt: Attempt, finish: Finish
) -> None:
    """Attempt tasks on the cluster, as many at once as it has threads.

    A task whose worker is lost runs again elsewhere and goes on from its checkpoint.

    Args:
        client: The cluster.
        file: A file of this search, which every worker must see.
        tasks: See `hyperband.Runner`, as for the others.
        attempt: Must be picklable.
        finish: Is called in this process.

    Raises:
        InputError: If the cluster fails as such; what has finished stays finished.
    """
    from distributed import as_completed

    _check_workers(client, file)
    running = {_submit(client, attempt, task): task for task in tasks}
    completed = as_completed([*running], loop=client.loop)
    try:
        for future in completed:
            if future.status in ("lost", "pending"):
                completed.add(future)  # the worker died with the result; it is computed again
                continue
            task = running.pop(future)
            promoted = {_submit(client, attempt, t): t for t in finish(task, _outcome(future))}
            running |= promoted
            completed.update([*promoted])
    finally:
        client.cancel([*running])  # after Ctrl-C, what waits shall not begin


def _check_workers(client: "Client", file: Path) -> None:
    """Check that the workers that have joined so far share this version and this disk."""
    for worker, answer in client.run(_sees, str(file), on_error="return").items():
        if answer is not True:
            sees = "does not see it" if answer is False else f"cannot run musclejax ({answer})"
            accepted = "workers with the same musclejax and the same disk"
            raise InputError(file, f"a worker at {worker} that {sees}", accepted)


def _submit(client: "Client", attempt: Attempt, task: Task) -> "Future":
    # pure=False: no result of an earlier search is taken for this one. Earlier trials go first:
    # the bracket that halves most has the longest way to go.
    return client.submit(attempt, task, pure=False, priority=-task.trial)


def _outcome(future: "Future") -> Outcome:
    """Return what the task returned; one that kills every worker it runs on has failed."""
    from distributed import KilledWorker

    error: Any = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return Outcome({}, 0.0, "its workers were killed again and again; out of memory?")
    if future.status != "finished":
        reason = " ".join(str(error or f"a trial was {future.status}").split())[:200]
        found, remedy = f"a cluster that failed ({reason})", "Repeat the command: it goes on."
        raise InputError("--scheduler", found, "a cluster that runs", remedy)
    result: Outcome = future.result()
    return result


def _sees(file: str) -> bool:
    return Path(file).is_file()
