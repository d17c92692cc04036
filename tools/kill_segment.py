"""Kill `musclejax segment` at random moments, again and again; check that nothing is lost.

    python tools/kill_segment.py SCANS... --weights DIR --output DIR --kills 50

One run is left alone. Another folder gets runs that are killed (SIGKILL) at a random moment after
their first scan has begun, every third one with --overwrite. After each kill all files that a
record names must be whole; at the end a last run must make the same files as the first.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from musclejax.files import read_json
from musclejax.reports.cohort_tables import OWN
from musclejax.reports.run_record import RECORD, foreign_files, is_complete, read_record

_SUFFIX = RECORD.format(name="")
_COMPARED = ("_labels.nii.gz", "_muscles.csv", "_slices.csv")


def main() -> None:
    """Kill, check, compare; exit code 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", default="musclejax", help="tests.pretend: without a network")
    given = parser.parse_args()
    whole, killed = given.output / "whole", given.output / "killed"
    command = [sys.executable, "-m", given.module, "segment", *map(str, given.scans)]
    command += ["--weights", given.weights, "--region", "thigh"]
    process = _start(command, whole)
    began = time.time()
    process.wait()
    seconds = max(p.stat().st_mtime for p in whole.glob(f"*{_SUFFIX}")) - began
    print(f"a whole run: {seconds:.2f} s with scans")
    moments: Counter[str] = Counter()
    faults: list[str] = []
    chance = random.Random(given.seed)
    for number in range(given.kills):
        options = ["--overwrite"] if number % 3 == 2 else []
        if not options and len(_done(killed)) == len(_done(whole)):
            options = ["--overwrite"]
        before = _done(killed)
        process = _start([*command, *options], killed)
        time.sleep(chance.uniform(0, seconds))
        ended = process.poll() is not None
        process.kill()
        process.wait()
        moments["ended before" if ended else _moment(killed)] += 1
        print(number, dict(moments), len(faults), flush=True)
        faults += [f"kill {number}: {line}" for line in _faults(killed)]
        lost = before - _done(killed) - _begun(killed)
        faults += [f"kill {number}: {name} was done and is not" for name in lost]
    last = subprocess.run([*command, "-o", str(killed)], check=False)
    faults += [f"exit code {last.returncode} of the last run"] * bool(last.returncode)
    faults += _faults(killed) + _differences(whole, killed)
    print(f"{given.kills} kills: {dict(moments)}")
    print("\n".join(faults) or "nothing lost, results equal")
    raise SystemExit(bool(faults))


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a run, and wait until it works on a scan or ends."""
    for old in _locks(folder):
        old.unlink()
    process = subprocess.Popen([*command, "-o", str(folder)], stdout=subprocess.DEVNULL)
    while process.poll() is None and not _locks(folder):
        time.sleep(0.002)
    return process


def _locks(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*.lock") if ".partial." not in path.name]


def _done(folder: Path) -> set[str]:
    return {path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}")}


def _begun(folder: Path) -> set[str]:
    """Return the scans whose complete files wait in a staging folder."""
    return {p.name.removesuffix(_SUFFIX) for p in folder.glob(f".*.partial/*{_SUFFIX}")}


def _moment(folder: Path) -> str:
    stages = [path for path in folder.glob(".*.partial") if path.is_dir()]
    if not stages:
        return "no files staged"
    names = {path.name for stage in stages for path in stage.iterdir()}
    complete = [name for name in names if name.endswith(_SUFFIX)]
    if not complete:
        return "files being staged"
    files = (read_json(next(p for s in stages for p in s.glob(complete[0]))) or {})["files"]
    return "all staged" if set(files) <= names else "files moving out"


def _faults(folder: Path) -> list[str]:
    """Return a line for each scan whose record is not true."""
    lines = []
    for name in sorted(_done(folder)):
        record = read_record(folder, name)
        # Files that are replaced wait in the staging folder with the record of before.
        if record is None or (name not in _begun(folder) and not is_complete(record, folder, name)):
            lines.append(f"{name}: record without files")
        elif name not in _begun(folder) and foreign_files(folder, name, record):
            lines.append(f"{name}: files that are not those of the record")
    return lines


def _differences(whole: Path, killed: Path) -> list[str]:
    hidden = [f"left behind: {path.name}" for path in killed.glob(".*") if path.name != OWN]
    names = {p.name for p in whole.iterdir()} ^ {p.name for p in killed.iterdir()}
    files = (p for p in whole.iterdir() if p.name.endswith(_COMPARED))
    other = [p.name for p in files if (killed / p.name).read_bytes() != p.read_bytes()]
    return hidden + [f"only in one folder: {n}" for n in names] + [f"differs: {n}" for n in other]


if __name__ == "__main__":
    main()
