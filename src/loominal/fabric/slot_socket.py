"""The Unix socket by which other processes of its user reach an agent's process, in the folder of its slot.

Beside it `process` says whose it is. The process listens, hooks and attached processes find it and connect. Imports
nothing of ours beyond the standard library, for a hook that waits must be small.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

SOCKET = "socket"
PROCESS = "process"
ANCESTORS = 20  # of a hook: its shell, the client, and whatever started that


@contextlib.contextmanager
def listening(folder: Path, session: str | None = None) -> Iterator[socket.socket]:
    """Yield a socket that listens in `folder`, for this user alone; it is gone after the block. Raises: OSError.

    Hooks find it by the client's `session`, "" if that tells none, or by the client; with None they do not.
    """
    path = folder / SOCKET
    path.unlink(missing_ok=True)  # the slot's lock is ours, so whoever listened there has ended
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        before = os.umask(0o177)
        try:
            with _short(path) as name:
                server.bind(name)
        finally:
            os.umask(before)
        try:
            server.listen()
            if session is not None:
                (folder / PROCESS).write_text(json.dumps({"session": session, "client": os.getppid()}), "utf-8")
            yield server
        finally:
            (folder / PROCESS).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def connected(path: Path) -> socket.socket | None:
    """Return a connection to the socket at `path`; None if no process of this user listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.stat().st_uid != os.getuid():
            raise PermissionError(path)
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        return None
    return connection


def is_same_user(connection: socket.socket) -> bool:
    """Return whether the other end is a process of this user; where the system does not say, the file's mode holds."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little") == os.getuid()  # struct ucred: pid, uid, gid


def find(home: Path, session: str, ancestors: Sequence[int]) -> Path | None:
    """Return the socket of the process that serves a client's session, None if there is none.

    It is the one that was started for `session` (a client may begin another in the same process), else one that was
    started by one of the `ancestors` of who asks, the nearest; of several the latest.
    """
    best: tuple[int, float, Path] | None = None
    for place in home.glob(f"agents/*/*/*/{PROCESS}"):
        try:
            told = json.loads(place.read_text("utf-8"))
            rank = 0 if session and told["session"] == session else 1 + ancestors.index(told["client"])
            since = -place.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it has just ended, or serves another client
        if best is None or (rank, since) < best[:2]:
            best = rank, since, place.with_name(SOCKET)
    return best[2] if best else None


def ancestors() -> list[int]:
    """Return the processes above this one, its parent first; where the system does not tell them, the parent."""
    found = [os.getppid()]
    with contextlib.suppress(OSError, ValueError, IndexError):
        while found[-1] > 1 and len(found) < ANCESTORS:
            status = Path(f"/proc/{found[-1]}/stat").read_text("utf-8", "replace")
            found.append(int(status.rpartition(")")[2].split()[1]))
    return [pid for pid in found if pid > 1]


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of the socket that fits into a socket's address, which has room for some hundred bytes."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
