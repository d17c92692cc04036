"""Trials on a Dask cluster: the runner of `search_steps` for `--scheduler`."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from musclejax.cluster import KILLED, TaskDone, check_workers, run_tasks_steps
from musclejax.errors import InputError, one_line
from musclejax.tuning.hyperband import Attempt, Outcome, Outcomes, Task

if TYPE_CHECKING:
    from distributed import Client


def run_on(
    client: "Client",
    file: Path,
    tasks: list[Task],
    attempt: Attempt,
    check: Callable[[], None] | None = None,
) -> Outcomes:
    """Attempt tasks on the cluster, as many at once as it has threads.

    A task whose worker is lost runs again elsewhere and resumes from its checkpoint; a trial that
    kills every worker it runs on has failed.

    Args:
        client: The cluster.
        file: A file of this search, which every worker must see.
        tasks: See `hyperband.Runner`.
        attempt: Must be picklable.
        check: Called in each worker that has joined; raises if none of its trials can succeed.

    Raises:
        InputError: If the cluster fails as such, or by `check`; finished tasks stay finished.
    """
    check_workers(client, [file])
    if check is not None:
        _check_trials(client, check)
    events = run_tasks_steps(
        client,
        attempt,
        tasks,
        key=lambda task: f"trial {task.trial} rung {task.rung}",
        # Earlier trials go first: the bracket that halves most has the longest way to go.
        priority=lambda task: -task.trial,
    )
    further: list[Task] | None = None
    with closing(events):
        while True:
            try:
                event = events.send(further)
            except StopIteration:
                return
            further = None
            if isinstance(event, TaskDone):
                further = yield event.task, event.result or Outcome({}, 0.0, KILLED)


def _check_trials(client: "Client", check: Callable[[], None]) -> None:
    for worker, error in client.run(check, on_error="return").items():
        if isinstance(error, InputError):
            subject = f"{error.subject}, worker {worker}"
            raise InputError(subject, error.found, error.accepted, error.remedy)
        if error is not None:
            found = f"a worker at {worker} that cannot train ({one_line(error)})"
            raise InputError("--scheduler", found, "workers that can")
