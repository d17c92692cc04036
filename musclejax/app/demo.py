"""Segment the sample scans with the bundled weights; name their files and the next steps."""

from musclejax.app import console
from musclejax.app.options import DemoJob, SegmentJob
from musclejax.app.segment import run as segment
from musclejax.prediction.options import SegmentOptions
from musclejax.samples import SAMPLES

NEXT = """
Results are in {output}/ : pictures test_up_qc.png and test_low_qc.png, tables test_up_muscles.csv
and test_low_muscles.csv. In ITK-SNAP, load NAME_labels.nii.gz over the scan and labels_thigh.txt
or labels_leg.txt as label descriptions.

Next:
  musclejax segment YOUR_SCAN.nii.gz -o out     your own scan, or a DICOM folder, or a cohort
  musclejax weights list                        the bundled weights and their license
  musclejax describe                            the networks: parameters, fields, cost
"""


def run(job: DemoJob) -> int:
    """Segment the samples; return the exit code."""
    whole = SegmentJob(job.output, threads=job.threads, overwrite=True)
    code = segment(sorted(SAMPLES.values()), whole, SegmentOptions())
    if not code:
        console.say(NEXT.format(output=job.output).rstrip())
    return code
