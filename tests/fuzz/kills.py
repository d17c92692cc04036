"""python -m tests.fuzz.kills train 20: kill a command at random moments; nothing may be lost.

Two runs are left alone: the second, whose functions are compiled, tells the time. Another folder
gets runs that are killed (SIGKILL) at a random moment of that time; each begins on what the one
before it left. A run that is not killed in time must have made the files of the first, and the
folder is removed; the last run is not killed. Of commands on a cluster the workers are killed.
`tools/kill_segment.py` does the same with `segment`, whose results come a scan at a time.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_cache_path

from musclejax.files import flatten, is_private
from tests.fuzz.commands import COMMANDS, Command
from tests.limbs import write_dataset

_SPLITS = ("train", "train", "validation")
_TIMES = "second", "wait_share"
_CACHE = user_cache_path("musclejax-tests") / "kills"
"""Compiled functions, for all runs: none of them is worth the time of compiling. Not those of the
suite, as a run may be killed while it writes them."""
_WORKERS = 2
_SETTINGS = {
    # All kills may meet the same task.
    "distributed.scheduler.allowed-failures": 1000,
    # The variants of `tests.small`, which the command has.
    "distributed.worker.preload": ["tests.fuzz.worker"],
}
Kill = Callable[["subprocess.Popen[bytes]"], bool]
"""Kills something of a run that is at work; says whether it did."""


def main() -> None:
    """Run the command line; exit code 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not is_private(_CACHE):
        parser.error(f"{_CACHE} is no folder of this user")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)
    with tempfile.TemporaryDirectory() as folder:
        faults = kill_often(options.command, options.kills, options.seed, Path(folder))
    print("\n".join(faults) or "nothing lost, results equal")
    raise SystemExit(bool(faults))


def kill_often(name: str, kills: int, seed: int, work: Path) -> list[str]:
    """Return a line for each fault."""
    command, rng = COMMANDS[name], random.Random(seed)
    _prepare(command, work)
    # Whoever is left alone has the same workers: other threads change the last digits of training.
    place = _workers(rng) if command.on_workers else nullcontext(((), _kill_run))
    with place as (more, kill):
        for attempt in ("first", "whole"):
            begun = time.perf_counter()
            if _start(command, work, work / attempt, *more).wait():
                return ["a run that was left alone failed"]
            seconds = time.perf_counter() - begun
        whole = _facts(work / "whole", command)
        if whole != _facts(work / "first", command):
            return ["two runs that were left alone differ"]
        print(
            f"{name}: {kills} kills in runs of {seconds:.1f} s that make {len(whole)} things",
            flush=True,
        )
        return _killed(command, work, whole, _Chance(kills, seconds, rng, kill), *more)


class _Chance(NamedTuple):
    """What is killed, how often, within how many seconds of the start or of the last kill."""

    kills: int
    seconds: float
    rng: random.Random
    kill: Kill


def _killed(
    command: Command, work: Path, whole: dict[str, Any], chance: _Chance, *more: str
) -> list[str]:
    """Kill again and again; return a line for each run whose results are not those of `whole`."""
    out, faults, killed, process = work / "killed", list[str](), 0, None
    seconds = chance.seconds
    while killed <= chance.kills:
        if process is None:
            process, begun = _start(command, work, out, *more), time.perf_counter()
        moment = chance.rng.uniform(0, seconds) if killed < chance.kills else None
        try:
            code = process.wait(moment)
        except subprocess.TimeoutExpired:
            killed += chance.kill(process)
            process = None if process.poll() is not None else process
            print(f"kill {killed} after {moment:.1f} s", flush=True)
            continue
        # Workers keep what they have compiled: runs become shorter.
        seconds = min(seconds, time.perf_counter() - begun)
        differ = [n for n, fact in whole.items() if _facts(out, command).get(n) != fact]
        if code or differ or _facts(out, command).keys() - whole.keys():
            faults.append(f"after kill {killed}: exit code {code}, or other results: {differ}")
        shutil.rmtree(out, ignore_errors=True)
        killed, process = killed + (killed == chance.kills), None
    return faults


def _kill_run(process: "subprocess.Popen[bytes]") -> bool:
    process.kill()
    process.wait()
    return True


@contextmanager
def _workers(rng: random.Random) -> Iterator[tuple[tuple[str, ...], Kill]]:
    """Yield the options for a cluster on this machine, and what kills one of its workers."""
    import dask
    import distributed

    def kill(process: "subprocess.Popen[bytes]") -> bool:
        alive = [nanny.pid for nanny in cluster.workers.values() if nanny.pid]
        if not alive:
            return False
        os.kill(rng.choice(alive), signal.SIGKILL)
        return True

    with (
        dask.config.set(_SETTINGS),
        distributed.LocalCluster(
            n_workers=_WORKERS, threads_per_worker=1, dashboard_address="localhost:0"
        ) as cluster,
    ):
        yield ("--scheduler", cluster.scheduler_address), kill


def _prepare(command: Command, work: Path) -> None:
    """Make what the command reads."""
    write_dataset(work / "data", splits=_SPLITS, scale=0.5)
    if "{run}" in command.arguments:
        _start(COMMANDS["train"], work, work / "run").wait()
    if "{weights}" in command.arguments:
        random_weights = ("weights", "init", "--variant", "compact4", "-o", "{weights}")
        _start(Command(random_weights, ()), work, work / "none").wait()


def _start(command: Command, work: Path, out: Path, *more: str) -> "subprocess.Popen[bytes]":
    places = {name: work / name for name in ("data", "run", "weights")}
    arguments = [argument.format(out=out, **places) for argument in command.arguments]
    again = command.again if (out / "run.json").exists() else ()
    program = [sys.executable, "-m", "tests.small", *arguments, *again, *more]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL)


def _facts(folder: Path, command: Command) -> dict[str, Any]:
    """Return what must be equal: files by their content, checkpoints by their arrays."""
    files = {path for pattern in command.compared for path in folder.glob(pattern)}
    facts = {path.relative_to(folder).as_posix(): _fact(path) for path in files if path.is_file()}
    kinds = [path for path in folder.rglob("checkpoints/*") if path.is_dir()]
    return facts | {path.relative_to(folder).as_posix(): _arrays(path) for path in kinds}


def _arrays(checkpoints: Path) -> str | None:
    """Return the checksum of the arrays of a checkpoint, without its times."""
    from musclejax.training.checkpoint import checksum_of, load

    saved = load(checkpoints.parents[1], checkpoints.name)
    return saved and checksum_of(saved[0], {})


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
