"""`musclejax measure`: corrected labels, or anybody's, as `segment` writes its results."""

import click

from musclejax.app.options import MeasureOptions
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=MeasureOptions)
def measure(options: MeasureOptions) -> None:
    """Measure LABELS again after a correction, or labels from any other tool. No network runs.

    \b
    LABELS is one of
      OUT                    folder of `segment`: every label map that was edited since
      OUT/NAME_labels.nii.gz one of them, whether edited or not
      FILE                   a label map by anybody, with its --scan and an -o

    To correct a result: open the scan and NAME_labels.nii.gz in ITK-SNAP or 3D Slicer, paint, save
    under the same name, and run `musclejax measure OUT`. It writes NAME_muscles.csv,
    NAME_slices.csv, NAME_sections.csv, NAME_qc.png and NAME_run.json again, marked as corrected,
    and says which muscles changed and by how much, against NAME_labels_original.nii.gz. Leave that
    file as it is.

    The label map stays the person's: `segment` says "already done, corrected", and --overwrite
    does not touch it. Levels are those of NAME_slices.csv, maps those that `segment` was given if
    they are still there; --fat-fraction, --water and --fat, or --map with OUT measure all its scans
    with new maps. Estimates of the DSC and flags are the network's; changed muscles have none.
    OUT/review.csv and OUT/NAME_review.csv (scan, slice, mark, comment), as OUT/report.html saves
    them, say which scans are right.

    What the numbers mean is read from the header, from a dataset.json (nnU-Net) or _dseg.tsv (BIDS)
    beside FILE, or given:

    \b
      --names FILE           ITK-SNAP label description, 3D Slicer color table (.ctbl, .txt, .csv),
                             dataset.json, _dseg.tsv, or rows of number,name
      --names muscles        the usual ones of `segment`; left and right from the anatomy
      --names sides          left as these, right 100 higher
      --names musclemap, huashan, totalsegmentator

    VL_left, left_vastus_lateralis, "Vastus lateralis, right", BF-LH and fibularis longus are
    understood. Structures that are no muscles of ours, and groups such as quadriceps_femoris, are
    left out with a warning; a number that nothing explains is an error.

    Exit code: 0 all done, 1 some failed, 2 wrong usage, 130 stopped by Ctrl-C.

    \b
    Examples:
      musclejax measure out
      musclejax measure out --scan /new/place/of/the/scans
      musclejax measure out --fat-fraction maps/
      musclejax measure P01_nnunet.nii.gz --scan P01.nii.gz -o measured --names dataset.json
      musclejax measure P01_dseg.nii.gz --scan P01.nii.gz -o measured --names musclemap
    """
    configure(None)
    from musclejax.app.measure import run

    raise SystemExit(run(options))
