"""The part of `musclejax segment` that a worker of a Dask cluster runs.

As in a command, the process is set up before the program, and jax with it, is imported.
"""

from musclejax.app.process import configure
from musclejax.app.work import Outcome, Scan, Work


def attempt_on_worker(scan: Scan, work: Work) -> Outcome:
    """Segment a scan in this worker; return its outcome, also if it fails."""
    configure(None)
    from musclejax.app.one_scan import attempt_in_worker

    return attempt_in_worker(scan, work)


def lacks_engine(engine: str, precision: str) -> str:
    """Return why this worker cannot use an engine; empty if it can."""
    configure(None)
    from musclejax.prediction.engines import unavailable_reason

    reason = unavailable_reason(engine, precision)
    return reason.found if reason else ""
