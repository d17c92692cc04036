"""The way of a study: in, looked at, corrected, measured again, learned from, joined in one table.

    python journey.py WORK [SLICES]

WORK gets the study (see make_study.py), `out` with the results, `corrected` with a dataset of the
corrections, and `run` with a short training on it. Every command is printed before it runs. The
correction is made by this script where a person would use ITK-SNAP or 3D Slicer. About two minutes
on two cores with 8 slices per scan, which is what the tests of musclejax run.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import make_study
import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

SHORT = ("train.epochs=1", "train.epoch_slices=8", "train.batch_size=2")
"""So short a training that it only shows the way; leave these out for a real one."""


def musclejax(*arguments: object) -> None:
    """Print a command and run it."""
    words = [str(argument) for argument in arguments]
    print("$", shlex.join(["musclejax", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "musclejax", *words], check=True)


def correct(labels: Path, number: int, slices: slice) -> int:
    """Let one muscle grow by a pixel into what is unlabeled, as a person might paint.

    Returns:
        The number of voxels that were changed.
    """
    image = nib.load(labels)
    before = np.asarray(image.dataobj)
    after = before.copy()
    for z in range(before.shape[2])[slices]:
        grown = ndimage.binary_dilation(before[:, :, z] == number)
        after[:, :, z][grown & (before[:, :, z] == 0)] = number
    nib.save(nib.Nifti1Image(after, image.affine, image.header), labels)
    return int((after != before).sum())


def join(out: Path) -> pd.DataFrame:
    """Return a row per subject, visit, muscle and side: volume and fat fraction, ready for R."""
    muscles = pd.read_csv(out / "muscles.csv", dtype={"subject": str, "visit": str})
    kept = muscles[(muscles["kind"] == "muscle") & (muscles["voxels"] > 0)]
    columns = ["subject", "visit", "region", "muscle", "side", "volume_ml", "fat_fraction"]
    return kept[[*columns, "corrected"]]


def main(work: Path, slices: int = 31) -> None:
    """Walk the whole way."""
    study, out, corrected, run = (work / name for name in ("study", "out", "corrected", "run"))
    make_study.main(study, slices)
    musclejax("scan", study)
    musclejax("segment", study, "-o", out)

    scans = pd.read_csv(out / "scans.csv", dtype=str)
    thighs = scans[scans["region"] == "thigh"].groupby("subject")["scan"].first()
    for thigh in thighs:  # two people: one to learn from, one to validate on
        changed = correct(out / f"{thigh}_labels.nii.gz", number=1, slices=slice(2, 5))
        print(f"# corrected by hand: {changed} voxels of {thigh}")
    musclejax("measure", out)

    musclejax("dataset", "make", out, "-o", corrected)
    data = corrected / "thigh"
    musclejax("dataset", "check", data)
    settings = [f"--set={setting}" for setting in SHORT]
    learn = ("--config", "finetune", "--data", data, "--init", "phantom")
    musclejax("train", *learn, "--workdir", run, *settings)
    musclejax("weights", "export", run, "-o", work / "tuned", "--no-check", "--others", "phantom")

    table = join(out)
    table.to_csv(work / "table.csv", index=False)
    print(table.groupby(["subject", "visit", "region"])["volume_ml"].agg(["size", "sum"]))
    assert set(table["subject"]) == {"P01", "P02"}
    assert table["corrected"].any()
    assert table.loc[table["region"] == "thigh", "fat_fraction"].notna().all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, metavar="WORK", help="folder to make")
    parser.add_argument(
        "slices", type=int, nargs="?", default=31, help="of each scan; 31 if left out"
    )
    main(**vars(parser.parse_args()))
