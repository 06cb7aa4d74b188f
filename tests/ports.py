"""TCP ports for what tests start: none that the system gives to a connection, and none of another worker's."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import count

FIRST, EACH, WORKERS = 10_240, 1_400, 16  # Linux gives connections ports from 32 768 on


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens, and which this process has not returned lately.

    One that the system chooses is as good as any to it: until a test's server listens there, or while it is down, a
    connection of whoever is on the machine may have it.
    """
    for port in _ports():
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports never end")


@cache
def _ports() -> Iterator[int]:
    """Return this worker's ports, over and over, from one by chance on: other runs may go on beside this one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    start = random.randrange(EACH)
    return (FIRST + worker * EACH + number % EACH for number in count(start))
