"""Finding and ending everything that a process has started, also what left its group. Standard library only.

Whatever descends from a run carries its mark in its environment. Where there is no /proc, a process's group is all.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARK = "LOOMINAL_RUN"  # in the environment: "runner.run"


def marked(mark: str) -> set[int]:
    """Return the processes of a run, or with "runner." as the mark those of all its runs; zombies are none."""
    entry = f"{MARK}={mark}".encode()
    whole = not mark.endswith(".")
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            environ = file.read_bytes()
            if entry in environ and _carries(environ, entry, whole=whole):
                found.add(int(file.parent.name))
    return found - {os.getpid()}


def send(number: signal.Signals, groups: set[int], processes: set[int]) -> None:
    """Signal process groups and processes; what has ended is passed over."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies is not permitted
            os.killpg(group, number)
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _carries(environ: bytes, entry: bytes, *, whole: bool) -> bool:
    return any(each == entry if whole else each.startswith(entry) for each in environ.split(b"\0"))
