"""`musclejax dataset`: contents and errors of a dataset, and the samples that training makes."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import DatasetOptions, SamplesOptions
from musclejax.cli.options import Group, record_options


@click.group(cls=Group)
def dataset() -> None:
    """Check a dataset, or draw the samples that training makes of it.

    \b
    A dataset is a folder in nnU-Net's raw layout:
      dataset.json                 {"labels": {"background": 0, "VL": 1, ...}, ...}
      imagesTr/CASE_0000.nii.gz    scans (_0001 and so on: further channels)
      labelsTr/CASE.nii.gz         label maps on the same grid
      imagesTs/, labelsTs/         test cases, if any
      cases.csv                    optional: case,subject,time_point,region,severity,split

    Labels have the abbreviations or full names of labels.json (VL, VM, ... of the thigh; SOL, GM,
    ... of the leg), in any order and with any numbers from 1; pixels with the label "ignore" do not
    count. "musclejax_names": {"femur": "background"} explains other names. Slices without labels
    are taken as not annotated. split is train, validation, test, or unseen (slices of test subjects
    away from the annotated ones).
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
