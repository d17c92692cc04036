"""Trials on a Dask cluster: the runner of `hyperband.search` that `--scheduler` asks for."""

from pathlib import Path
from typing import TYPE_CHECKING

from musclejax.cluster import KILLED, check_workers, run_tasks
from musclejax.tuning.hyperband import Attempt, Finish, Outcome, Task

if TYPE_CHECKING:
    from distributed import Client


def run_on(
    client: "Client", file: Path, tasks: list[Task], attempt: Attempt, finish: Finish
) -> None:
    """Attempt tasks on the cluster, as many at once as it has threads.

    A task whose worker is lost runs again elsewhere and goes on from its checkpoint; a trial that
    kills every worker it runs on has failed.

    Args:
        client: The cluster.
        file: A file of this search, which every worker must see.
        tasks: See `hyperband.Runner`, as for the others.
        attempt: Must be picklable.
        finish: Is called in this process.

    Raises:
        InputError: If the cluster fails as such; what has finished stays finished.
    """

    def came(task: Task, outcome: Outcome | None) -> list[Task]:
        return finish(task, outcome or Outcome({}, 0.0, KILLED))

    check_workers(client, [file])
    # Earlier trials go first: the bracket that halves most has the longest way to go.
    run_tasks(client, attempt, tasks, came, priority=lambda task: -task.trial)
