"""`python -m musclejax.cli.bench_worker THREADS ours|rival`: one configuration of `bench`."""

import sys


def main() -> None:
    """Set the process up as our own commands do, or leave it as it comes, and serve."""
    threads, setup = int(sys.argv[1]), sys.argv[2]
    from musclejax.bench.worker import limit_threads, serve

    limit_threads(threads)
    if setup == "ours":
        from musclejax.cli.process import configure

        configure(None)
    serve()


if __name__ == "__main__":
    main()
