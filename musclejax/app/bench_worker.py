"""`python -m musclejax.app.bench_worker THREADS SETUP`: one configuration of `bench`.

SETUP is "ours", "trains" or "rival"; see `bench.runner`.
"""

import os
import sys

from musclejax.app.process import configure
from musclejax.system import keep_heap, limit_threads


def main() -> None:
    """Set the process up as our own commands do, or, but for its heap, leave it, and serve."""
    threads, setup = int(sys.argv[1]), sys.argv[2]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        limit_threads(threads)
    # For rivals too: PyTorch's tuning guide recommends a malloc that keeps memory. It gains most:
    # figures in benchmarks/README.md.
    keep_heap()
    if setup != "rival":
        configure(None, trains=setup == "trains")
    # Frameworks count processors when they are imported.
    from musclejax.bench.worker import serve

    serve()


if __name__ == "__main__":
    main()
