"""Train the same network for the same short time with one thing changed at a time.

    python tools/ablation.py --real real -o ablation.csv --workdir ablation
    python tools/ablation.py --real real -o ablation.csv --workdir ablation --only width
    python tools/ablation.py ... --slices 18000 --set train.batch_size=16    with a GPU

Each row is a run of `musclejax train --config phantom`, cut short, judged on the real test sets of
`tools/real_tests.py`. validation_dsc is of each run's own kind of slices: no measure between rows.
Runs that are done are not done again; a stopped one resumes. Short runs show what matters early,
not where each would end.

Source: ours.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from musclejax.evaluation.run import evaluate, from_weights
from musclejax.models.provenance import Provenance
from musclejax.models.weights import Weights, load_weights
from musclejax.training.to_weights import export_runs
from musclejax.training.workdir import read_metrics

RUNS: dict[str, tuple[str, ...]] = {
    "as shipped": (),
    "templates of one person": ("phantom.people=1",),
    "templates of five people": ("phantom.people=5",),
    "out-of-phase images only": ("phantom.contrast=narrow",),
    "no deformation": ("phantom.deformation=0.0",),
    "half the deformation": ("phantom.deformation=0.5",),
    "no artifacts": ("phantom.artifacts=0.0",),
    "twice the width": ("variant=half32",),
    "full resolution, half the width": ("variant=compact8",),
}
"""Change -> settings."""


def main() -> None:
    """Train, judge and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder of tools/real_tests.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--workdir", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--slices", type=int, default=6000, help="to learn from, in each run")
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--set", action="append", default=[], help="setting of all runs, KEY=VALUE")
    args = parser.parse_args()
    sets = sorted(path for path in args.real.iterdir() if path.name in ("echoes", "thigh_levels"))
    rows = pd.read_csv(args.output).to_dict("records") if args.output.is_file() else []
    for number, (name, changes) in enumerate(RUNS.items()):
        if args.only not in name:
            continue
        work = args.workdir / f"run{number}"
        train(work, (*args.set, *changes), args.slices)
        last = read_metrics(work)[-1]
        row = {"run": name, "settings": " ".join(changes), "slices": args.slices}
        row |= {"validation_dsc": last["validation_dsc"], "minutes": minutes(work)}
        weights = export(work)
        row |= {path.name + "_dsc": judge(weights, path) for path in sets}
        rows = [other for other in rows if other["run"] != name] + [row]
        pd.DataFrame(rows).round(3).to_csv(args.output, index=False)
        print(row, flush=True)


def train(work: Path, changes: tuple[str, ...], slices: int) -> None:
    """Run `musclejax train`, or what is left of it."""
    settings = ("train.epochs=3", f"train.epoch_slices={slices // 3}", *changes)
    command = [sys.executable, "-m", "musclejax", "train", "--config", "phantom"]
    command += ["--workdir", str(work), *(f"--set={setting}" for setting in settings)]
    subprocess.run([*command, *(["--resume"] if work.exists() else [])], check=True)


def minutes(work: Path) -> float:
    """Return how long a run's epochs took."""
    return sum(m["seconds"] for m in read_metrics(work)) / 60


def export(work: Path) -> Weights:
    """Return the last state of a run as weights."""
    export_runs([work], work / "weights", "last", Provenance())
    return load_weights(work / "weights")


def judge(weights: Weights, data: Path) -> float:
    """Return the mean DSC over slices of a dataset's scans."""
    return float(evaluate(from_weights(weights, data)).comparison.slices["dsc"].mean())


if __name__ == "__main__":
    main()
