"""`musclejax demo`: the sample scans, the bundled weights, one command."""

from pathlib import Path

import click

from musclejax.bundled import DEFAULT_WEIGHTS
from musclejax.cli.options import memory_option, threads_option


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("musclejax-demo"),
    show_default=True,
    help="Folder for the results.",
)
@memory_option
@threads_option
def demo(output: Path, threads: int | None, memory_gb: float | None) -> None:
    """Segment the two sample scans that ship with the package.

    test_up shows both thighs, test_low both lower legs (QMRITools, BSD 3-clause licence).
    """
    import musclejax
    from musclejax.cli.cohort import run
    from musclejax.cli.one_scan import Settings

    samples = Path(musclejax.__file__).parent / "samples"
    settings = Settings(
        output, weights=DEFAULT_WEIGHTS, threads=threads, memory_gb=memory_gb, overwrite=True
    )
    code = run([samples], settings)
    if not code:
        click.echo(_NEXT.format(output=output))
    raise SystemExit(code)


_NEXT = """
Results are in {output}/ : open test_up_qc.png and test_low_qc.png first, then the tables
test_up_muscles.csv and test_low_muscles.csv. In ITK-SNAP, load NAME_labels.nii.gz over the scan
and labels.txt as label descriptions.

Next:
  musclejax segment YOUR_SCAN.nii.gz -o out     your own scan, or a DICOM folder, or a cohort
  musclejax weights list                        what these weights are, and their licence
  musclejax describe                            the networks: parameters, fields, cost
"""
