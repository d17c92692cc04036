"""python -m tests.fuzz: read many malformed inputs, count what came, keep what failed."""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from tests.fuzz.attempt import FAULTS, FINE
from tests.fuzz.kinds import KINDS, Input
from tests.fuzz.runner import Outcome, Runner

_SEPARATOR = "--"


def fuzz(runner: Runner, kinds: Sequence[str], count: int, seed: int) -> Iterable[Outcome]:
    """Return the outcomes of `count` inputs, of some kinds in turn."""
    chosen = [(kinds[n % len(kinds)], n // len(kinds)) for n in range(count)]
    return runner.outcomes([partial(runner.make, *each, seed) for each in chosen])


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the counts by kind and class."""
    counts = Counter((outcome.kind, outcome.result) for outcome in outcomes)
    counts.update(("all", outcome.result) for outcome in outcomes)
    rows: list[Sequence[object]] = [("kind", *FINE, *FAULTS)]
    rows += [(kind, *(counts[kind, c] for c in (*FINE, *FAULTS))) for kind in (*KINDS, "all")]
    return "\n".join(f"{kind:>15}" + "".join(f"{c:>10}" for c in cells) for kind, *cells in rows)


def summary(faults: Iterable[Outcome]) -> str:
    """Return a line for each kind, class and place of faults, with the first input of it."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in faults:
        place = outcome.detail.split(":")[:2] if outcome.result == "traceback" else ()
        groups.setdefault((outcome.kind, outcome.result, *place), []).append(outcome)
    return "\n".join(_line(group[0], len(group)) for group in groups.values())


def _line(first: Outcome, count: int) -> str:
    where = f"{first.change} of {first.file}, input {first.number}"
    return f"{count} x {first.kind}, {first.result} ({where}): {first.detail}"


def keep(runner: Runner, outcome: Outcome, seed: int, folder: Path) -> None:
    """Write the input of an outcome under a name that `kept` understands."""
    made = runner.make(outcome.kind, outcome.number, seed)
    name = _SEPARATOR.join([made.kind, str(made.number), *Path(made.file).parts])
    (folder / name).write_bytes(made.content)


def kept(file: Path) -> Input:
    """Return the input of a file that `keep` wrote."""
    kind, number, *parts = file.name.split(_SEPARATOR)
    return Input(kind, int(number), str(Path(*parts)), "replay", file.read_bytes())


def main() -> None:
    """Run the command line; exit code 1 if an input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS, help="all if not given")
    parser.add_argument("--failures", type=Path, help="folder for the inputs that failed")
    parser.add_argument("--replay", type=Path, nargs="+", help="files of such a folder")
    options = parser.parse_args()
    again = [kept(file) for file in options.replay or ()]
    kinds = list(dict.fromkeys(made.kind for made in again)) or options.kind or list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), kinds)
        if again:
            outcomes = list(runner.outcomes([partial(Input, *made) for made in again]))
        else:
            outcomes = list(fuzz(runner, kinds, options.count, options.seed))
        faults = [outcome for outcome in outcomes if outcome.result in FAULTS]
        if options.failures:
            options.failures.mkdir(parents=True, exist_ok=True)
            for outcome in faults:
                keep(runner, outcome, options.seed, options.failures)
    if again:
        print("\n".join(_line(outcome, 1) for outcome in outcomes))
    else:
        print(f"{table(outcomes)}\n\n{summary(faults)}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
