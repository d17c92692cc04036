"""`musclejax evaluate`: how good labels are, against a reference."""

import click

from musclejax.app.options import EvaluateOptions
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options
from musclejax.prediction.options import SegmentOptions


@click.command(cls=Command)
@record_options("how.region", "how.probabilities", options=EvaluateOptions, how=SegmentOptions)
def evaluate(options: EvaluateOptions, how: SegmentOptions) -> None:
    """Compare labels with a reference: DSC, distances, volume and fat fraction, with pictures.

    Give --reference and --prediction, or --weights and --data. The options after --threads say how
    --weights segment, as for `musclejax segment`.

    The reference is a dataset in nnU-Net's raw layout (dataset.json, imagesTr, labelsTr; subject,
    severity and split of each case in cases.csv), or, with --region, a folder of label maps
    CASE.nii.gz in the numbers of labels.json. 255, or the dataset's "ignore", is left out. The
    prediction is CASE_labels.nii.gz, as `musclejax segment` writes it, or CASE.nii.gz. A
    dataset.json beside the predictions, as nnU-Net leaves it, names their numbers; where nothing
    does and the dataset's differ from ours, --numbers must.

    Who the weights were trained on is read from their record: by the scan's voxels, then by dataset
    and subject, then from cases.csv. The split is "unknown" where neither tells.

    \b
    In the output folder:
      report.html           all tables and pictures in one page; open this first
      report.md             the same as Markdown
      muscles.csv           a row per case, muscle and side (left, right, both):
                            hard dsc, jaccard, hd95_mm, msd_mm, volumes and fat fractions
                            of reference and prediction, and their errors
      slices.csv cases.csv  means per slice and per case, with the number of muscles in each
      summary.csv           mean, sd, median and number of cases (n) per muscle, n for each
                            measure; 95 % limits of agreement of errors (lower, upper)
      table2 ... table4     the paper's tables, .csv and .md: train and validation;
                            test subjects by severity; unseen slices. A table that no case
                            belongs into is shown with --paper-tables only
      overlays_REGION.png   best, median and worst slice
      agreement_REGION.png  errors of volume and fat fraction against their means (Bland, Altman)
      subjects_REGION.png   bottom, inner and top slice of test subjects
      views_CASE.png        coronal and sagittal, of the best, median and worst case
      labels/               with --save-labels: CASE_labels.nii.gz and CASE_run.json
      evaluate.json         versions, settings and what failed

    Fat fractions, with --fat-fraction, are means of the map within the reference and within the
    prediction; a map is named like the scan's file (CASE_0000) or the case (CASE). A case without a
    map is compared without it.

    An empty cell is a measure that does not exist: no muscle in either map or, for distances, in
    one of them; means leave it out and name their n. Where the stack cuts a muscle there is no
    surface, so distances say nothing on what lies beyond. Only annotated slices count, unless
    --all-slices is given. A case that fails is reported and left out.
    Exit code: 0 all done, 1 some failed, 2 wrong usage.

    \b
    Examples:
      musclejax segment DATASET/imagesTs -o out
      musclejax evaluate --reference DATASET --prediction out -o scores
      musclejax evaluate --reference manual/ --prediction out --region thigh -o scores
      musclejax evaluate --weights phantom --data DATASET -o scores
      musclejax evaluate --weights phantom --data DATASET --fat-fraction maps/ -o scores
    """
    configure(options.threads)  # before jax is imported
    from musclejax.app.evaluate import run

    raise SystemExit(run(options, how))
