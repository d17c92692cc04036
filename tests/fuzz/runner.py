"""Many inputs, one after the other in a child process, which is replaced when it dies."""

import json
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tests.fuzz.attempt import attempt, quiet
from tests.fuzz.kinds import KINDS, Input, make_input
from tests.fuzz.limits import limit_memory
from tests.fuzz.readers.scans import Answer

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
        self._valid: dict[str, Answer] = {}
        for kind in kinds:
            (folder / kind).mkdir()
            _in_child(partial(KINDS[kind].make, folder / kind))
            files = [path for path in (folder / kind).rglob("*") if path.is_file()]
            self._files[kind] = {path: path.read_bytes() for path in files}
            self._valid[kind] = _in_child(partial(KINDS[kind].read, folder / kind))
            self._restore(kind)

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


def _in_child(function: Callable[[], Any]) -> Any:
    """Return what a function returns: libraries start threads, which children would not have."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(send, "wb") as out, quiet():
                pickle.dump(function(), out)
        except BaseException:
            traceback.print_exc()
            os._exit(_HARNESS)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        content = answer.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the harness failed at a valid input")
    return pickle.loads(content)


def _death(made: Input, status: int) -> Outcome:
    """Return the outcome of an input at which the child ended."""
    number = os.WTERMSIG(status)
    if not number:
        raise RuntimeError(f"the harness failed at {made.kind} {made.number} ({made.change})")
    result = "hang" if number in _HANGS else "signal"
    return Outcome(*made[:4], result, signal.Signals(number).name)
