"""`musclejax segment`: scans in, labels, tables and pictures out."""

from pathlib import Path

import click

from musclejax.cli.options import engine_options, memory_option, threads_option, weights_option

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("scans", nargs=-1, required=True, type=_PATH, metavar="SCAN...")
@click.option("-o", "--output", type=_PATH, required=True, help="Folder for the results.")
@weights_option
@click.option(
    "--region",
    type=click.Choice(["auto", "thigh", "leg"]),
    default="auto",
    show_default=True,
    help="Which network; auto asks the classifier.",
)
@click.option(
    "--geometry",
    type=click.Choice(["world", "2021"]),
    default="world",
    show_default=True,
    help="world: orientation from the file, every slice. 2021: as the 2021 code.",
)
@engine_options
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Slices at once; more take more memory.  [default: 4]",
)
@memory_option
@threads_option
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Segment on the workers of this Dask cluster: its address, or its scheduler file (.json)."
    "  [default: here, one scan at a time]",
)
@click.option("--probabilities", is_flag=True, help="Write the probability of every muscle too.")
@click.option(
    "--dicom-seg",
    is_flag=True,
    help="Write NAME_seg.dcm too (DICOM scans; needs musclejax[dicom]).",
)
@click.option(
    "--fat-fraction",
    type=_PATH,
    metavar="FILE",
    help="Fat-fraction map of the scan (NIfTI, 0-1 or percent), or a folder with a "
    "NAME.nii.gz for each scan.",
)
@click.option(
    "--tidy/--no-tidy",
    default=True,
    show_default=True,
    help="Take islands, holes and crumbs of muscles away (not with --geometry 2021).",
)
@click.option(
    "--second-look/--no-second-look",
    default=True,
    show_default=True,
    help="Where the network is not sure of a limb, ask it about the mirror image and the turned "
    "limb too, and weigh in where muscles lie in other people (not with --geometry 2021).",
)
@click.option("--overwrite", is_flag=True, help="Segment finished scans again.")
def segment(scans: tuple[Path, ...], output: Path, **options: object) -> None:
    """Label the muscles of each SCAN and measure them.

    SCAN is a NIfTI file, a folder with the files of one DICOM series, or a folder of either.

    \b
    For each scan NAME, in the output folder:
      NAME_labels.nii.gz   label map on the scan's own grid
      NAME_muscles.csv     volume, cross-section, confidence, fat fraction: per muscle and side
      NAME_slices.csv      the same per slice
      NAME_qc.png          picture to check the result by
      NAME_run.json        versions, settings, engine, seconds and memory
    and once labels.txt (opens in ITK-SNAP) and labels.json.

    A scan that fails is reported and the rest go on. Finished scans are skipped.
    Exit code: 0 all done, 1 some failed, 2 wrong usage.

    \b
    Examples:
      musclejax segment scan.nii.gz -o out
      musclejax segment cohort/ -o out --region thigh --threads 4 --memory 2
      musclejax segment cohort/ -o out --engine auto --precision bfloat16
      musclejax segment dicom_series/ -o out --dicom-seg --fat-fraction ff.nii.gz

    \b
    On a cluster (pip install 'musclejax[cluster]'; docs/scaling.md), here one of two workers on
    this machine; workers elsewhere must see the same folders under the same names:
      dask scheduler --port 8786 &
      dask worker tcp://127.0.0.1:8786 --nworkers 2 --nthreads 1 &
      musclejax segment cohort/ -o out --scheduler tcp://127.0.0.1:8786
    """
    from musclejax.cli.cohort import run
    from musclejax.cli.one_scan import Settings

    raise SystemExit(run(scans, Settings(output=output, **options)))  # type: ignore[arg-type]
