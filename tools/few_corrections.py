"""How much few corrected scans gain, and what they cost elsewhere: the table of docs/training.md.

    python tools/few_corrections.py WORK [SCANS...]
    python tools/few_corrections.py WORK --real REAL

Synthetic people, scanned so fast that noise is a fifth of the signal of muscle: of contrasts, pixel
sizes, coils and artifacts, the bundled weights handle this worst. Their true labels stand for the
corrections. Networks are fine-tuned on 3, 5 and 10 scans of as many people, of whom one validates,
without and with synthetic slices, and tested on scans of six other people. About five minutes per
row on one core; a stopped run of the script resumes.

With --real: the drawn slices of real thighs that `tools/real_tests.py` has written to REAL. Each
person in turn is held out; one of the others validates, the rest trains.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from musclejax.anatomy import REGIONS
from musclejax.data.dataset import IGNORE
from musclejax.data.write import save_slices, write_cases, write_index
from musclejax.models.weights import load_weights
from musclejax.phantom.cohort import PROTOCOLS, cases, plan, sample_scan
from musclejax.phantom.options import Cohort
from musclejax.phantom.templates import load_anatomy

SCANS, TEST = (3, 5, 10), 6
SHARES = (0.0, 0.5)
OF_SCANS = 50
"""Slices of scans per epoch, whatever the share."""
NOISE = 0.2
"""Standard deviation of each part of the complex noise; healthy muscle is about 1."""
GAIN = 1000
REAL_SETS = ("thigh_levels", "upper_third")
"""Sets of `tools/real_tests.py` with drawn slices of thighs."""


def write_scans(folder: Path, people: int, group: str, seed: int) -> None:
    """Write one scan of each person as a dataset with true labels."""
    if (folder / "dataset.json").is_file():
        return
    cohort = Cohort(subjects=people, test=0, seed=seed)
    scans = [scan for scan in plan(cohort) if scan.time_point == 1]
    anatomy, rng = load_anatomy("thigh", group), np.random.default_rng(seed)
    for scan in scans:
        made = sample_scan(anatomy, scan, seed, PROTOCOLS["paper"])
        real, imaginary = NOISE * rng.normal(size=(2, *made.image.shape))
        image = (GAIN * np.hypot(made.image + real, imaginary)).round().clip(0, 32767)
        save_slices(
            folder / "imagesTr" / f"{scan.name}_0000.nii.gz", image.astype(np.int16), made.step_mm
        )
        labels = np.where(made.labels == IGNORE, REGIONS["thigh"].num_classes, made.labels)
        save_slices(folder / "labelsTr" / f"{scan.name}.nii.gz", labels, made.step_mm)
    write_cases(folder, cases(scans, "thigh"))
    write_index(folder, "thigh", len(scans), None)


def musclejax(*arguments: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "musclejax", *map(str, arguments)], check=True)


def dice(weights: object, data: Path, scores: Path) -> float:
    """Return the mean Dice of some weights on a dataset."""
    if not (scores / "report.md").is_file():
        musclejax("evaluate", "--weights", weights, "--data", data, "-o", scores)
    return float(pd.read_csv(scores / "cases.csv")["slice_dsc"].mean())


def tune(work: Path, scans: int, share: float) -> Path:
    """Fine-tune the bundled weights on some scans; return the weights."""
    name = f"{scans}_{share:g}"
    data = work / f"scans_{scans}"
    write_scans(data, scans, "train", seed=1)
    return tune_on(data, work, name, share)


def tune_on(data: Path, work: Path, name: str, share: float, absent: str = "") -> Path:
    """Fine-tune the bundled weights on a dataset; return the weights."""
    run, weights = work / f"run_{name}", work / f"weights_{name}"
    if not weights.is_dir():
        slices = round(OF_SCANS / (1 - share))
        sets = ("--set", f"data.synthetic_share={share:g}", "--set", f"train.epoch_slices={slices}")
        sets = (*sets, "--set", f"data.absent={absent}")
        recipe = ("--config", "finetune", "--init", "phantom", *sets, "--threads", 1)
        musclejax("train", *recipe, "--data", data, "--workdir", run, "--resume")
        # Not the best epoch: one validating person chooses it by chance.
        musclejax("weights", "export", run, "-o", weights, "--checkpoint", "last")
    return weights


def synthetic_table(work: Path, counts: Sequence[int]) -> None:
    """Print the table of synthetic people."""
    test = work / "test"
    write_scans(test, TEST, "held_out", seed=2)
    rows = [("none", "", f"{dice('phantom', test, work / 'scores_none'):.3f}", "")]
    for scans in counts:
        for share in SHARES:
            weights = tune(work, scans, share)
            found = dice(weights, test, work / f"scores_{scans}_{share:g}")
            forgotten = load_weights(weights).provenance["thigh"].origin["forgetting"]
            rows.append((str(scans), f"{share:g}", f"{found:.3f}", forgotten))
            print(rows[-1], flush=True)
    columns = ["corrected scans", "synthetic share", "DSC, other people", "elsewhere"]
    print(pd.DataFrame(rows, columns=columns).to_markdown(index=False))


def read_real(real: Path) -> pd.DataFrame:
    """Return a row per scan with drawn slices: set, case, subject."""
    tables = [pd.read_csv(real / name / "cases.csv").assign(set=real / name) for name in REAL_SETS]
    return pd.concat(tables)[["set", "case", "subject"]]


def write_real(folder: Path, scans: pd.DataFrame, validating: str) -> str:
    """Write scans with drawn slices as a dataset; one person validates.

    Returns:
        The muscles that none of the others shows.
    """
    rows, shown = [], set()
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for scan in scans.itertuples():
        case = f"{scan.set.name}_{scan.case}"
        split = "validation" if scan.subject == validating else "train"
        rows.append({"case": case, "subject": scan.subject, "region": "thigh", "split": split})
        for kind, ending in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
            source = scan.set / f"{kind}Ts" / f"{scan.case}{ending}"
            shutil.copyfile(source, folder / f"{kind}Tr" / f"{case}{ending}")
        if split == "train":
            shown |= set(np.unique(nib.load(source).dataobj).tolist())
    write_cases(folder, rows)
    write_index(folder, "thigh", len(rows), None)
    muscles = REGIONS["thigh"].muscles
    return ",".join(m.abbreviation for m in muscles if m.number not in shown)


def real_table(work: Path, real: Path) -> None:
    """Print the table of real people, each held out in turn."""
    scans = read_real(real)
    people, rows = sorted(scans["subject"].unique()), []
    for number, person in enumerate(people):
        test, others = scans["subject"] == person, work / f"without_{person}"
        absent = write_real(others, scans[~test], people[number - 1])
        write_real(work / person, scans[test], person)
        before = dice("phantom", work / person, work / f"scores_{person}_none")
        weights = tune_on(others, work, f"without_{person}", SHARES[-1], absent)
        after = dice(weights, work / person, work / f"scores_{person}")
        rows.append((person, f"{before:.3f}", f"{after:.3f}"))
        print(rows[-1], flush=True)
    columns = ["held-out person", "bundled weights", "after fine-tuning on the others"]
    print(pd.DataFrame(rows, columns=columns).to_markdown(index=False))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("scans", type=int, nargs="*", default=SCANS)
    parser.add_argument("--real", type=Path, help="folder of tools/real_tests.py")
    args = parser.parse_args()
    if args.real:
        real_table(args.work, args.real)
    else:
        synthetic_table(args.work, args.scans)


if __name__ == "__main__":
    main()
