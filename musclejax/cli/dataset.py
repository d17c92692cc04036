"""`musclejax dataset`: contents and errors of a dataset, and the samples that training makes."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import CorrectionsJob, DatasetOptions, SamplesOptions
from musclejax.cli.options import Group, record_options


@click.group(cls=Group)
def dataset() -> None:
    """Check a dataset, make one of corrected scans, or draw the samples that training makes.

    \b
    A dataset is a folder in nnU-Net's raw layout:
      dataset.json                 {"labels": {"background": 0, "VL": 1, ...}, ...}
      imagesTr/CASE_0000.nii.gz    scans (_0001 and so on: further channels)
      labelsTr/CASE.nii.gz         label maps on the same grid
      imagesTs/, labelsTs/         test cases, if any
      cases.csv                    optional: case,subject,time_point,region,severity,split

    Labels have the abbreviations or full names of labels.json (VL, VM, ... of the thigh; SOL, GM,
    ... of the leg), in any order and with any numbers from 1; pixels with the label "ignore" do not
    count. Other spellings (BF-LH, fibularis) are understood, and left and right apart (VL_left) are
    read as one muscle. --map femur=ignore, or "musclejax_names": {"femur": "background"} in the
    file, explains other names. Slices without labels are taken as not annotated. split is train,
    validation, test, or unseen (slices of test subjects away from the annotated ones).
    """


@dataset.command("check")
@record_options(options=DatasetOptions)
def check_command(options: DatasetOptions) -> None:
    """Report contents, warnings and errors of the dataset in FOLDER.

    Grids that differ between image and labels, label values without a name, slices that are not
    annotated, muscles that never occur, subjects in two splits, the same scan twice or under two
    subjects, files that are left out. Exit code: 0 fit for training, 1 errors to mend first.
    """
    configure(None)  # before jax is imported
    from musclejax.app.dataset import check

    raise SystemExit(check(options))


@dataset.command("make")
@record_options(job=CorrectionsJob)
def make_command(job: CorrectionsJob) -> None:
    """Make a training dataset of the corrected scans in FOLDER, the -o of musclejax segment.

    Only slices that a person changed, or marked "right" in FOLDER/review.csv, carry labels; all
    others are "ignore". A slice that was changed anywhere counts as right everywhere: correct it
    whole. Slices are numbered from 0, as in NAME_slices.csv; viewers often count from 1.

    The command may be repeated when more scans are corrected: it adds them, and replaces only what
    it has written itself. Rows of cases.csv that exist stay as they are. Exit code: 0 done, 1 some
    scans failed.

    \b
    Examples:
      musclejax dataset make out -o corrected
      musclejax dataset make out -o corrected --slices P01=3-8,12 --slices changed
      musclejax dataset check corrected
      musclejax train --config finetune --data corrected --workdir run --init phantom
    """
    configure(None)  # before jax is imported
    from musclejax.app.corrections import make

    raise SystemExit(make(job))


@dataset.command("show")
@record_options(options=SamplesOptions)
def show_command(options: SamplesOptions) -> None:
    """Draw training slices with labels, weight maps (the paper's Fig. 6) and augmented samples.

    \b
    Example:
      musclejax dataset show --config thigh --data DATA -o samples.png
    """
    configure(None)  # before jax is imported
    from musclejax.app.dataset import show

    show(options)
