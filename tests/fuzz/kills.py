"""python -m tests.fuzz.kills train 20: kill a command at random moments; nothing may be lost.

One run is left alone. Another folder gets runs that are killed (SIGKILL) at a random moment of the
time that the first took; each begins on what the one before it left. A run that is not killed in
time must have made the files of the first, and the folder is removed; the last run is not killed.
`tools/kill_segment.py` does the same with `segment`, whose results come a scan at a time.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from musclejax.files import flatten
from tests.fuzz.commands import COMMANDS, Command
from tests.limbs import write_dataset

_SPLITS = ("train", "train", "validation")
_TIMES = "second", "wait_share"


def main() -> None:
    """Run the command line; exit code 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        faults = kill_often(options.command, options.kills, options.seed, Path(folder))
    print("\n".join(faults) or "nothing lost, results equal")
    raise SystemExit(bool(faults))


def kill_often(name: str, kills: int, seed: int, work: Path) -> list[str]:
    """Return a line for each fault."""
    command, rng = COMMANDS[name], random.Random(seed)
    write_dataset(work / "data", splits=_SPLITS, scale=0.5)
    if "{run}" in command.arguments:
        _start(COMMANDS["train"], work, work / "run").wait()
    whole, out, faults, killed = work / "whole", work / "killed", list[str](), 0
    begun = time.perf_counter()
    if _start(command, work, whole).wait():
        return ["the run that was left alone failed"]
    seconds = time.perf_counter() - begun
    while killed <= kills:
        process = _start(command, work, out)
        try:
            code = process.wait(rng.uniform(0, seconds) if killed < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            continue
        if code or _facts(out, command) != _facts(whole, command):
            faults.append(f"after kill {killed}: exit code {code}, or other results")
        shutil.rmtree(out, ignore_errors=True)
        killed += killed == kills
    print(f"{name}: {kills} kills in runs of {seconds:.1f} s")
    return faults


def _start(command: Command, work: Path, out: Path) -> "subprocess.Popen[bytes]":
    places = {name: work / name for name in ("data", "run")}
    arguments = [argument.format(out=out, **places) for argument in command.arguments]
    again = command.again if (out / "run.json").exists() else ()
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(work / "xla")}
    program = [sys.executable, "-m", "tests.small", *arguments, *again]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, env=environment)


def _facts(folder: Path, command: Command) -> dict[str, Any]:
    files = [path for path in folder.glob(command.compared) if path.is_file()]
    return {path.relative_to(folder).as_posix(): _fact(path) for path in files}


def _fact(path: Path) -> Any:
    """Return a file's content; rows without their durations, in any order."""
    if path.suffix != ".jsonl":
        return path.read_bytes()
    rows = [flatten(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return sorted(str([pair for pair in row.items() if not _is_time(pair[0])]) for row in rows)


def _is_time(name: str) -> bool:
    return any(word in name for word in _TIMES)


if __name__ == "__main__":
    main()
