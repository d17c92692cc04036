"""`musclejax phantom`: synthetic scans with known labels, as a dataset to train and test on."""

import click

from musclejax.app.process import configure
from musclejax.app.recipe_options import PhantomJob
from musclejax.cli.options import Command, record_options
from musclejax.phantom.options import Cohort


@click.command(cls=Command)
@record_options("cohort.region", job=PhantomJob, cohort=Cohort)
def phantom(job: PhantomJob, cohort: Cohort) -> None:
    """Make synthetic scans with their labels: a dataset with a known answer.

    Limbs start from real anatomy (see docs/weights.md) and are varied in shape, fat and disease.
    The defaults are the cohort of the paper: 44 people to train on, 10 to test on, half of them
    severe; slices over some 150 mm of the thigh and 10 mm of the leg. A stopped command resumes
    with the same options, which give the same files.

    \b
    In the folder (nnU-Net's raw layout):
      imagesTr/, labelsTr/    scans of people to train on
      imagesTs/, labelsTs/    scans of people to test on; SUBJECT_unseen: more slices (Table 4)
      fat_fraction/           true fat / (fat + water) of each scan, for --fat-fraction
      cases.csv               subject, time point, severity and split of each scan
      dataset.json            names of the labels
      phantom.json            these options; a folder of others is refused

    \b
    Examples:
      musclejax phantom -o phantoms
      musclejax phantom -o phantoms --region both --subjects 8 --test 4 --severity severe
      musclejax dataset check phantoms
      musclejax evaluate --weights phantom --data phantoms --fat-fraction phantoms/fat_fraction -o x
      musclejax train --config tiny --data phantoms --workdir run
    """
    configure(None)  # before jax is imported
    from musclejax.app.phantom import run

    run(job, cohort)
