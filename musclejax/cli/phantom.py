"""`musclejax phantom`: synthetic scans with known labels, as a dataset to train and test on."""

from functools import partial
from pathlib import Path

import click


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the dataset; with --region both, of one dataset for each region.",
)
@click.option(
    "--region",
    type=click.Choice(["thigh", "leg", "both"]),
    default="thigh",
    show_default=True,
    help="What the scans show.",
)
@click.option(
    "--subjects",
    type=click.IntRange(min=0),
    default=44,
    show_default=True,
    help="People to train on, with two or three visits each.",
)
@click.option(
    "--test",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="People to test on, whose anatomy is in no training scan (legs: other levels of the "
    "same two people); one visit each.",
)
@click.option(
    "--severity",
    type=click.Choice(["mild", "severe", "mixed"]),
    default="mixed",
    show_default=True,
    help="Of the fat replacement; mixed: every second person is severe.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "any"]),
    default="paper",
    show_default=True,
    help="Who is scanned and how. paper: both limbs of patients, gradient echoes of any echo time. "
    "any: whatever the networks learn from, also one limb, limbs of two people, any contrast, "
    "strong artefacts.",
)
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    help="Slices of a scan.  [default: as in the paper, 7 of a thigh, 3 of a leg]",
)
@click.option("--seed", default=0, show_default=True, help="The same seed, the same scans.")
def phantom(
    output: Path,
    region: str,
    subjects: int,
    test: int,
    severity: str,
    protocol: str,
    slices: int | None,
    seed: int,
) -> None:
    """Draw synthetic scans with their labels: a dataset with a known answer.

    Limbs start from real anatomy (see docs/weights.md) and are varied in shape, fat and disease.
    The defaults are the cohort of the paper: 44 people to train on, 10 to test on, half of them
    severe; slices over some 150 mm of the thigh and 10 mm of the leg. A stopped run goes on
    where it was; the same options give the same files.

    \b
    In the folder (nnU-Net's raw layout):
      imagesTr/, labelsTr/    scans of people to train on
      imagesTs/, labelsTs/    scans of people to test on; SUBJECT_unseen: more slices (Table 4)
      cases.csv               subject, time point, severity and split of each scan
      dataset.json            names of the labels
      phantom.json            these options; a folder of others is refused

    \b
    Examples:
      musclejax phantom -o phantoms
      musclejax phantom -o phantoms --region both --subjects 8 --test 4 --severity severe
      musclejax dataset check phantoms
      musclejax train --config tiny --data phantoms --workdir run
    """
    from musclejax.cli.process import check_output, configure, progress_bar, usage
    from musclejax.errors import InputError

    check_output(output)
    with usage():
        if subjects + test == 0:
            raise InputError("--subjects and --test", "0 and 0", "at least one person")
        configure(None)
    from musclejax.data.phantom_write import write_phantoms
    from musclejax.phantom.cohort import Cohort, plan

    for name in ("thigh", "leg") if region == "both" else (region,):
        folder = output / name if region == "both" else output
        cohort = Cohort(name, subjects, test, severity, protocol, slices, seed)
        scans = plan(cohort)
        with usage(), progress_bar() as progress:
            advance = partial(
                progress.advance, progress.add_task(f"{name} scans", total=len(scans))
            )
            write_phantoms(folder, cohort, advance)
        drawn = sum(len(scan.heights) for scan in scans)
        people = f"{subjects} people to train on, {test} to test on"
        click.echo(f"{folder}: {len(scans)} scans, {drawn} slices, {people}")
