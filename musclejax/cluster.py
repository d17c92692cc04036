"""A Dask cluster: where it is, what its workers share, and tasks that outlive a worker."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import musclejax
from musclejax.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT_S = 8
"""How long a scheduler may take to answer."""
WATCH_S = 10
"""After how long a silence it is checked that workers are left."""
KILLED = "its workers were killed again and again; out of memory?"

Task = TypeVar("Task", bound=Hashable)
Result = TypeVar("Result")


def connect(address: str) -> "Client":
    """Return a client of a scheduler.

    Args:
        address: Such as `tcp://10.0.0.1:8786`, or the file that `dask scheduler
            --scheduler-file` has written: a path that ends in .json, `file:` before it or not.

    Raises:
        InputError: If Dask is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        remedy = "pip install 'musclejax[cluster]'"
        raise InputError("--scheduler", "no dask.distributed", "an installed one", remedy) from None
    place = _place(address)
    try:
        return Client(**place, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        found = f"{address}, where no scheduler answers ({reason})"
        remedy = "Start one with `dask scheduler`; it prints its address."
        raise InputError("--scheduler", found, "the address of a Dask scheduler", remedy) from None


def check_workers(client: "Client", files: Iterable[Path]) -> None:
    """Wait for a worker; check that those that have joined share this version and this disk.

    Args:
        client: The cluster.
        files: Files that every worker must see.

    Raises:
        InputError: If one cannot run this version of musclejax or does not see a file.
    """
    client.wait_for_workers(1)
    seen = [str(file) for file in files]
    answers = client.run(_objection, musclejax.__version__, seen, on_error="return")
    for worker, answer in answers.items():
        if answer:
            # Whatever is no text is what kept the worker from answering.
            sees = answer if isinstance(answer, str) else f"cannot run musclejax ({answer})"
            accepted = "workers with the same musclejax and the same disk"
            raise InputError("--scheduler", f"a worker at {worker} that {sees}", accepted)


def run_tasks(
    client: "Client",
    attempt: Callable[[Task], Result],
    tasks: Iterable[Task],
    finish: Callable[[Task, Result | None], Iterable[Task]],
    *,
    priority: Callable[[Task], int] = lambda task: 0,
    alone: Callable[[], None] = lambda: None,
) -> None:
    """Attempt tasks on the cluster, as many at once as it has threads.

    A task whose worker is lost runs again elsewhere. One that is blamed for several lost workers
    runs once more when nothing else does: it may only have waited on them beside the culprit.

    Args:
        client: The cluster.
        attempt: Must be picklable, as tasks and results are.
        tasks: What to do.
        finish: Called in this process with each result as it comes, None for a task that kills
            every worker it runs on; returns further tasks.
        priority: The higher, the sooner; what is equal runs in the order given.
        alone: Called when the cluster has lost all its workers; the tasks wait for new ones.

    Raises:
        InputError: If the cluster fails as such.
    """
    running: dict[Future, Task] = {}
    suspects: deque[Task] = deque()
    judged: set[Task] = set()
    completed: SimpleQueue[Future] = SimpleQueue()

    def submit(task: Task) -> None:
        # pure=False: no result of an earlier command is taken for this one.
        future = client.submit(attempt, task, pure=False, priority=priority(task))
        running[future] = task
        future.add_done_callback(completed.put)

    for task in tasks:
        submit(task)
    try:
        while running:
            future = _next(client, completed, alone)
            if future.status in ("lost", "pending"):
                future.add_done_callback(completed.put)  # its worker died with the result
                continue
            task = running.pop(future)
            result, killed = _outcome(future)
            if killed and task not in judged:
                judged.add(task)
                suspects.append(task)
            else:
                for further in finish(task, result):
                    submit(further)
            if suspects and not running:
                submit(suspects.popleft())
    finally:
        client.cancel([*running])  # after Ctrl-C, what waits shall not begin


def _place(address: str) -> dict[str, str]:
    """Return how `distributed.Client` names the place.

    Raises:
        InputError: If it is a file that does not exist; Dask would wait for it.
    """
    if not address.startswith("file:") and not address.endswith(".json"):
        return {"address": address}
    file = Path(address.removeprefix("file:").removeprefix("//"))
    if not file.is_file():
        remedy = "`dask scheduler --scheduler-file FILE` writes it."
        raise InputError("--scheduler", f"no file {file}", "a scheduler file", remedy)
    return {"scheduler_file": str(file)}


def _objection(version: str, files: list[str]) -> str:
    """Return why this worker cannot take part; nothing if it can."""
    if musclejax.__version__ != version:
        return f"has musclejax {musclejax.__version__}, not {version}"
    unseen = [file for file in files if not Path(file).is_file()]
    return f"does not see {unseen[0]}" if unseen else ""


def _next(
    client: "Client", completed: "SimpleQueue[Future]", alone: Callable[[], None]
) -> "Future":
    """Return the next future that has come to an end; tell, once, if no worker is left."""
    told = False
    while True:
        try:
            return completed.get(timeout=WATCH_S)
        except Empty:
            if not told and not _workers(client):
                told = True
                alone()


def _workers(client: "Client") -> int:
    """Return the number of workers; 1 if the scheduler does not say, which its futures will."""
    try:
        return len(client.nthreads())
    except OSError:
        return 1


def _outcome(future: "Future") -> tuple[Any, bool]:
    """Return what the task returned, or None, and whether it is blamed for killing its workers.

    A task that had finished may be blamed too: if its worker dies before the result is fetched, it
    runs again, maybe beside one that kills.

    Raises:
        InputError: If the cluster failed.
    """
    from distributed import KilledWorker

    try:
        if future.status in ("error", "finished"):
            return future.result(), False
        reason = f"a task was {future.status}"
    except KilledWorker:
        return None, True
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
    found, remedy = f"a cluster that failed ({reason})", "Repeat the command: it goes on."
    raise InputError("--scheduler", found, "a cluster that runs", remedy)
