"""Ports for what tests start: below those that the system takes for outgoing connections, and in a block that no other process
of tests on this machine has, so that nobody takes one between the look at it and its use."""

import fcntl
import http.server
import itertools
import os
import pathlib
import socket
import tempfile


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server that is up to many clients at once: with the library's queue of five the sixth connects a second later."""

    request_queue_size = 128
    daemon_threads = True


FIRST, EACH, BLOCKS = 10_000, 1_000, 20
# Locks count until this process ends.
locks: list[int] = []


def claim() -> range:
    """A block of ports that is this process's own."""
    for block in range(BLOCKS):
        file = pathlib.Path(tempfile.gettempdir()) / f"custody-test-ports-{block}"
        try:
            lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except PermissionError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        locks.append(lock)
        first = FIRST + block * EACH
        return range(first, first + EACH)
    raise AssertionError(f"more than {BLOCKS} processes run tests on this machine")


block = claim()
# The one before in this block may have left connections that linger on the first ones.
start = os.getpid() % EACH
numbers = itertools.cycle([*block[start:], *block[:start]])


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
