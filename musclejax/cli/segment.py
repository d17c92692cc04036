"""`musclejax segment`: scans in, labels, tables and pictures out."""

from pathlib import Path

import click

from musclejax.app.options import ScanOptions, SegmentJob
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options
from musclejax.prediction.options import SegmentOptions


class _Segment(Command):
    """Needs no -o with --list."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        unneeded = ["-o", "."] if "--list" in args else []
        return super().parse_args(ctx, [*unneeded, *args])


@click.command(cls=_Segment)
@click.argument(
    "scans", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCAN..."
)
@record_options(job=SegmentJob, options=SegmentOptions)
def segment(scans: tuple[Path, ...], job: SegmentJob, options: SegmentOptions) -> None:
    """Label the muscles of each SCAN and measure them.

    SCAN is a NIfTI file, a folder with the files of one DICOM series, or a study: a folder that
    holds either at any depth. Of a study, the best series of each subject, visit and place is
    segmented: in phase or an early echo first, water last (docs/study.md); --series and --echo
    choose otherwise, --list shows all.

    \b
    For each scan NAME, in the output folder:
      NAME_labels.nii.gz   label map on the scan's own grid; correct it in place, then `measure`
      NAME_labels_original.nii.gz   the same, to stay as it is
      NAME_muscles.csv     volume, cross-section, estimated DSC, fat fraction: per muscle, group
      NAME_slices.csv      the same per slice, with its level (0 hip, 1 knee, 2 ankle)
      NAME_sections.csv    cross-sections at 30, 50, 70 % of the thigh or lower leg
      NAME_qc.png          picture to check the result by
      NAME_run.json        versions, settings, engine, seconds and memory
    and once, for each region, labels_REGION.txt (ITK-SNAP) and labels_REGION.ctbl (3D Slicer), and
    labels.json; and the tables of all scans:
      muscles.csv, slices.csv   theirs, one below the other
      scans.csv, summary.csv    a row per scan; left against right, and visits
    and pages for a browser: report.html of all scans, NAME_report.html of each (docs/report.md).
    A name of --muscles is an abbreviation, a full name or a group of docs/output.md.

    A scan that fails is reported, and the others are segmented. Scans that are done are skipped;
    one that another process is at work on is waited for. Files that were edited since, or that
    musclejax did not write, are not replaced. NAME is that of the file, or subject, visit and
    series in a study; another scan of the same NAME gets the name of its folder before it.
    Exit code: 0 all done, 1 some failed, 2 wrong usage, 130 stopped by Ctrl-C.

    \b
    Examples:
      musclejax segment scan.nii.gz -o out
      musclejax segment cohort/ -o out --region thigh --threads 4 --batch-size 2
      musclejax segment study/ -o out --series '*dixon*_opp'
      musclejax segment cohort/ -o out --engine auto -v
      musclejax segment dicom_series/ -o out --dicom-sr --fat-fraction ff.nii.gz
      musclejax segment cohort/ -o out --labels sides --naming bids --muscles VL,VM,VI,RF
      musclejax segment water.nii.gz -o out --water water.nii.gz --fat fat.nii.gz --map T2=t2.nii.gz

    \b
    On a cluster (pip install 'musclejax[cluster]'; docs/scaling.md), here one of two workers on
    this machine; workers elsewhere must see the same folders under the same names:
      dask scheduler --port 8786 &
      dask worker tcp://127.0.0.1:8786 --nworkers 2 --nthreads 1 &
      musclejax segment cohort/ -o out --scheduler tcp://127.0.0.1:8786
    """
    if job.list:
        from musclejax.app.scan import show_study

        raise SystemExit(show_study(scans, ScanOptions(), job.choice))
    configure(job.threads)  # before jax is imported
    from musclejax.app.segment import run

    raise SystemExit(run(scans, job, options))
