"""Freezing processes: SIGSTOP, then waiting until they really stand still, which takes a loaded machine a while."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.patience import SOON


def freeze(*pids: int) -> None:
    """Return when the processes stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + SOON
    while not all(_stopped(pid) for pid in pids):
        assert time.monotonic() < until, f"of {pids} some do not stop"
        time.sleep(0.001)


def _stopped(pid: int) -> bool:
    """Return whether every thread of `pid` is stopped."""
    tasks = Path(f"/proc/{pid}/task")
    return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] in "TtZ" for task in tasks.iterdir())
