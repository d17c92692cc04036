"""`musclejax demo`: the sample scans, the bundled weights, one command."""

import click

from musclejax.app.options import DemoJob
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(job=DemoJob)
def demo(job: DemoJob) -> None:
    """Segment the two sample scans that ship with the package.

    test_up shows both thighs, test_low both lower legs (QMRITools, BSD 3-clause license).
    """
    configure(job.threads)  # before jax is imported
    from musclejax.app.demo import run

    raise SystemExit(run(job))
