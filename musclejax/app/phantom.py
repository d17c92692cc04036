"""`musclejax phantom`: write cohorts of synthetic scans, or resume them."""

from dataclasses import replace

from musclejax.app import console
from musclejax.app.process import check_output, usage, writing
from musclejax.app.recipe_options import PhantomJob
from musclejax.phantom.cohort import plan
from musclejax.phantom.options import Cohort
from musclejax.phantom.write import write_phantoms_steps


def run(job: PhantomJob, cohort: Cohort) -> None:
    """Write a dataset per region.

    Raises:
        BadUsage: If the folder cannot be written, or holds another cohort.
    """
    check_output(job.output)
    for own in _cohorts(job, cohort):
        folder = job.output / own.region if job.region == "both" else job.output
        with usage(), writing(folder):
            console.follow(write_phantoms_steps(folder, own), f"{own.region} scans")
        scans = plan(own)
        slices = sum(len(scan.heights) for scan in scans)
        people = f"{cohort.subjects} people to train on, {cohort.test} to test on"
        console.say(f"{folder}: {len(scans)} scans, {slices} slices, {people}")


def _cohorts(job: PhantomJob, cohort: Cohort) -> list[Cohort]:
    if job.region == "both":
        return [replace(cohort, region="thigh"), replace(cohort, region="leg")]
    return [replace(cohort, region=job.region)]
