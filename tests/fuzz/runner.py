"""Many inputs, one after the other in a child process, which is replaced when it dies."""

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.fuzz.attempt import attempt, quiet
from tests.fuzz.kinds import KINDS, Input, make_input
from tests.fuzz.limits import limit_memory

_HARNESS = 70
"""Exit code of a child that failed outside a reader."""
_HANGS = (signal.SIGALRM, signal.SIGPROF)
Maker = Callable[[], Input]


class Outcome(NamedTuple):
    """What came of an input; see `attempt.FINE` and `attempt.FAULTS`."""

    kind: str
    number: int
    file: str
    change: str
    result: str
    detail: str = ""


class Runner:
    """Valid inputs of some kinds in a folder, and the answers to them."""

    def __init__(self, folder: Path, kinds: Sequence[str]) -> None:
        self._folder = folder
        self._files: dict[str, dict[Path, bytes]] = {}
        for kind in kinds:
            (folder / kind).mkdir()
            KINDS[kind].make(folder / kind)
            files = [path for path in (folder / kind).rglob("*") if path.is_file()]
            self._files[kind] = {path: path.read_bytes() for path in files}
        with quiet():
            self._valid = {kind: KINDS[kind].read(folder / kind) for kind in kinds}
        self._restore(*kinds)

    def make(self, kind: str, number: int, seed: int) -> Input:
        """Return an input."""
        return make_input(kind, self._folder / kind, seed, number)

    def outcomes(self, makers: Sequence[Maker]) -> Iterator[Outcome]:
        """Yield what comes of each input, in their order."""
        done = 0
        while done < len(makers):
            receive, send = os.pipe()
            child = os.fork()
            if not child:
                os.close(receive)
                self._work(makers[done:], send)
            os.close(send)
            with os.fdopen(receive, encoding="utf-8") as lines:
                for line in lines:
                    yield Outcome(*json.loads(line))
                    done += 1
            _, status = os.waitpid(child, 0)
            if status:
                self._restore(*self._files)
                yield _death(makers[done](), status)
                done += 1

    def _work(self, makers: Sequence[Maker], send: int) -> NoReturn:
        """Send a line per input, in the child."""
        limit_memory()
        try:
            with os.fdopen(send, "w", encoding="utf-8") as lines, quiet():
                for make in makers:
                    made = make()
                    found = attempt(made, self._folder / made.kind, self._valid[made.kind])
                    self._restore(made.kind)
                    print(json.dumps([*made[:4], *found]), file=lines, flush=True)
        except BaseException:
            traceback.print_exc()
            os._exit(_HARNESS)
        os._exit(0)

    def _restore(self, *kinds: str) -> None:
        for kind in kinds:
            for path, content in self._files[kind].items():
                path.write_bytes(content)


def _death(made: Input, status: int) -> Outcome:
    """Return the outcome of an input at which the child ended."""
    number = os.WTERMSIG(status)
    if not number:
        raise RuntimeError(f"the harness failed at {made.kind} {made.number} ({made.change})")
    result = "hang" if number in _HANGS else "signal"
    return Outcome(*made[:4], result, signal.Signals(number).name)
