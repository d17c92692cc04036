"""`musclejax scan`: what a study holds, before anything runs."""

from pathlib import Path

import click

from musclejax.app.options import ScanOptions
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@click.argument(
    "study", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="STUDY..."
)
@record_options(options=ScanOptions)
def scan(study: tuple[Path, ...], options: ScanOptions) -> None:
    """List the series of each STUDY, and which ones `musclejax segment` takes.

    STUDY is a folder of any tree: patients, visits and series of DICOM, one folder with several
    series, BIDS, or NIfTI files with or without the sidecars of dcm2niix. Headers are read, voxels
    are not. docs/study.md tells how kinds, subjects, visits and the best series are decided.

    Exit code: 0 all listed, 1 something cannot be read, 2 wrong usage.

    \b
    Examples:
      musclejax scan study/
      musclejax scan study/ --csv series.csv
      musclejax scan study/ --json
    """
    from musclejax.app.scan import show_study

    raise SystemExit(show_study(study, options))
