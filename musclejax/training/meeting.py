"""How the processes of a distributed run meet: JAX itself aborts if one of them never comes."""

import socket
import time
from contextlib import ExitStack

from musclejax.errors import InputError

PATIENCE_S = 60.0
"""How long the others may take to come. Source: ours; a queue starts them within seconds."""
_PAUSE_S, _GREETING_S, _LONGEST = 0.2, 5.0, 64
_GO = b"go\n"


def meet(address: str, processes: int, process: int, patience_s: float = PATIENCE_S) -> None:
    """Wait until all processes are there; process 0 then frees the port for JAX.

    Args:
        address: HOST:PORT of process 0.
        processes: Number of processes.
        process: Number of this one.
        patience_s: Seconds to wait.

    Raises:
        InputError: If the address is none, cannot be listened on, or somebody does not come.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError("--coordinator", address, "HOST:PORT of process 0")
    until = time.monotonic() + patience_s
    if process == 0:
        _gather(address, int(port), set(range(1, processes)), until)
    else:
        _join(address, (host.strip("[]"), int(port)), process, until)


def _gather(address: str, port: int, missing: set[int], until: float) -> None:
    begin = time.monotonic()
    with ExitStack() as opened:
        try:
            server = opened.enter_context(_listen(port))
        except OSError as error:
            found = f"{address}, where process 0 cannot listen ({error.strerror})"
            raise InputError("--coordinator", found, "a free port of this machine") from None
        come = []
        while missing:
            server.settimeout(max(0.01, until - time.monotonic()))
            try:
                link = opened.enter_context(server.accept()[0])
            except TimeoutError:
                raise _absent(address, missing, time.monotonic() - begin) from None
            number = _greeting(link)
            if number in missing:
                missing.remove(number)
                come.append(link)
        for link in come:
            link.sendall(_GO)


def _listen(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=both)


def _greeting(link: socket.socket) -> int:
    """Return the number that a process sends; -1 if it is something else that calls."""
    link.settimeout(_GREETING_S)
    try:
        text = link.recv(_LONGEST)
    except OSError:
        return -1
    name, _, number = text.strip().partition(b" ")
    return int(number) if name == b"musclejax" and number.isdigit() else -1


def _join(address: str, place: tuple[str, int], process: int, until: float) -> None:
    begin = time.monotonic()
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection(place, timeout=left) as link:
                link.settimeout(left + _GREETING_S)  # process 0 decides
                link.sendall(b"musclejax %d\n" % process)
                if link.recv(_LONGEST) == _GO:
                    return
                found = "process 0, which did not wait for all, or has a process of this number"
                raise InputError(f"--coordinator {address}", found, "one process of each number")
        except OSError:
            time.sleep(min(_PAUSE_S, max(0.0, left)))
    raise _absent(address, {0}, time.monotonic() - begin)


def _absent(address: str, missing: set[int], waited: float) -> InputError:
    numbers = ", ".join(map(str, sorted(missing)))
    found = f"no process {numbers} after {waited:.0f} s"
    remedy = "Start it with the same --coordinator and --processes, then this one again."
    return InputError(f"--coordinator {address}", found, "all of --processes", remedy)
