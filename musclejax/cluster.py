"""A Dask cluster: its address, its workers, and tasks that outlive a worker."""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import uuid4

import musclejax
from musclejax.errors import DiskError, InputError, one_line

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT_S = 8
"""How long a scheduler may take to answer."""
WATCH_S = 10
"""After how long a silence it is checked that workers are left."""
_START = "Start one with `dask scheduler`; it prints its address."
_TLS = "Name its certificate in DASK_DISTRIBUTED__COMM__TLS__CA_FILE; see docs/scaling.md."
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

    class QuietClient(Client):  # type: ignore[misc]
        def __del__(self) -> None:  # one that never connected would wait, and print a traceback
            if self.status == "running":
                super().__del__()

    place = _place(address)
    try:
        return QuietClient(**place, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        # TypeError: TLS without its files; ImportError: a protocol that is not installed
        reason = one_line(error)
        found = f"{address}, where no scheduler answers ({reason})"
        remedy = _TLS if "ssl_context" in reason else _START
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
            # No text: the error that kept the worker from answering.
            sees = answer if isinstance(answer, str) else f"cannot run musclejax ({answer})"
            accepted = "workers with the same musclejax and the same disk"
            raise InputError("--scheduler", f"a worker at {worker} that {sees}", accepted)


class TaskDone(NamedTuple, Generic[Task, Result]):
    """A task is done; the result is None if it kills every worker it runs on."""

    task: Task
    result: Result | None


class NoWorkers(NamedTuple):
    """The cluster has lost all its workers; the tasks wait for new ones."""


def run_tasks_steps(
    client: "Client",
    attempt: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    key: Callable[[Task], str] = str,
    priority: Callable[[Task], int] = lambda task: 0,
) -> Generator[TaskDone[Task, Result] | NoWorkers, Iterable[Task] | None, None]:
    """Attempt tasks on the cluster, as many at once as it has threads.

    Yields each task that is done, and may be sent further tasks in return. A task whose worker is
    lost runs again elsewhere. One that is blamed for several lost workers runs once more when
    nothing else does: it may only have waited on them beside the culprit.

    Args:
        client: The cluster.
        attempt: Must be picklable, as tasks and results are.
        tasks: First tasks.
        key: Names a task on the cluster's dashboard.
        priority: The higher, the sooner; tasks of equal priority run in the order given.

    Raises:
        InputError: If the cluster fails as such.
    """
    running: dict[Future, Task] = {}
    suspects: deque[Task] = deque()
    judged: set[Task] = set()
    completed: SimpleQueue[Future] = SimpleQueue()

    def submit(task: Task) -> None:
        # A number of its own: no result of an earlier command is taken for this one.
        name = f"{key(task)}-{uuid4().hex}"
        future = client.submit(attempt, task, key=name, priority=priority(task))
        running[future] = task
        future.add_done_callback(completed.put)

    for task in tasks:
        submit(task)
    try:
        while running:
            future = _next(client, completed)
            if future is None:
                yield NoWorkers()
                future = completed.get()
            if future.status in ("lost", "pending"):
                future.add_done_callback(completed.put)  # its worker died with the result
                continue
            task = running.pop(future)
            result, killed = _outcome(future)
            if killed and task not in judged:
                judged.add(task)
                suspects.append(task)
            else:
                for further in (yield TaskDone(task, result)) or ():
                    submit(further)
            if suspects and not running:
                submit(suspects.popleft())
    finally:
        client.cancel([*running])  # after Ctrl-C, waiting tasks shall not begin


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


def _next(client: "Client", completed: "SimpleQueue[Future]") -> "Future | None":
    """Return the next future that has come to an end, or None if no worker is left."""
    while True:
        try:
            return completed.get(timeout=WATCH_S)
        except Empty:
            if not _workers(client):
                return None


def _workers(client: "Client") -> int:
    """Return the number of workers; 1 if the scheduler is gone, which its futures will show."""
    try:
        return len(client.nthreads())
    except OSError:
        return 1


def _outcome(future: "Future") -> tuple[Any, bool]:
    """Return the result of a task, or None, and whether it is blamed for killing its workers.

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
    except DiskError:
        raise  # a line that says what to do
    except Exception as error:
        reason = one_line(error, 200)
    found, remedy = f"a cluster that failed ({reason})", "Repeat the command: it resumes."
    raise InputError("--scheduler", found, "a cluster that runs", remedy)
