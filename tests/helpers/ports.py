"""Ports for what tests start: below those that the system takes for outgoing connections, and each worker's own, so that nobody
takes one between the look at it and its use."""

import itertools
import os
import socket

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
EACH = 1_000
FIRST = 10_000 + WORKER * EACH
# Another run may have left connections that linger on the first ones.
numbers = itertools.cycle([*range(FIRST + os.getpid() % EACH, FIRST + EACH), *range(FIRST, FIRST + os.getpid() % EACH)])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody uses now. Nodes keep theirs over restarts."""
    return next(port for port in itertools.islice(numbers, EACH) if is_free(port))


def free_ports(count: int) -> str:
    """A range of ports that nobody uses now, as the setting takes it."""
    found: list[int] = []
    for port in itertools.islice(numbers, EACH):
        follows = is_free(port) and (not found or port == found[-1] + 1)
        found = [*found, port] if follows else []
        if len(found) == count:
            return f"{found[0]}-{found[-1]}"
    raise AssertionError("no free ports")
