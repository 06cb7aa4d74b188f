"""The processes of a fabric, found by their command lines. `up` and `down` end what an earlier supervisor left.

A pid out of a file is never trusted: a process counts only if its command line names this very home.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

WEFT_MODULE = "loominal.weft.main"
TERM_SECONDS = 7.0  # weft takes up to five to answer what is in flight


class Found(msgspec.Struct, frozen=True):
    """A process of a home's fabric; `what` is "weft" or "broker"."""

    pid: int
    what: str


def weft_command(home: Path) -> list[str]:
    """Return the arguments, after the interpreter, that start the weft of `home`."""
    return ["-m", WEFT_MODULE, "--home", str(home)]


def broker_directory(home: Path) -> Path:
    """Return where the embedded broker of `home` keeps everything."""
    return home / "broker"


def running(home: Path) -> list[Found]:
    """Return the weft and broker processes of `home`, weft first."""
    found = [Found(pid, what) for pid in _pids() if (what := _what(pid, home))]
    return sorted(found, key=lambda process: process.what, reverse=True)


def alive(pid: int) -> bool:
    """Return whether there is a process `pid` that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end(home: Path, process: Found, seconds: float = TERM_SECONDS) -> None:
    """End a process that `running` found, by force after `seconds`; one that is another by now is left alone."""
    with _handle(process.pid) as handle:
        if handle is None or _what(process.pid, home) != process.what:
            return
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, seconds)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], patience)[0]:
                return


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """Yield a handle that means this process for ever, unlike its pid; None if there is none."""
    try:
        handle = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError, OSError):
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _pids() -> list[int]:
    own = os.getuid()
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _owner(path) == own]


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return -1


def _what(pid: int, home: Path) -> str:
    """Return what a process is to `home`; empty for a stranger."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return ""
    if arguments[1:3] == ["-c", str(broker_directory(home) / "nats.conf")]:
        return "broker"
    return "weft" if arguments[1:5] == weft_command(home) else ""
