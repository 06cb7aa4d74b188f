"""The wefts of one home, each with a locked file: one that was killed is known to be dead at once, without waiting."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from loominal.model.names import SUBJECT_TOKEN

KEPT_SECONDS = 3600.0  # the file of a weft that was killed: others may start and die while its record is still there


class Living:
    """This weft's file, and a look at the others'."""

    def __init__(self, directory: Path, weft: str, ended: set[str]) -> None:
        self.weft = weft
        self._directory = directory
        self._ended = ended  # those that are known to have ended

    def has_ended(self, weft: str) -> bool:
        """Return whether `weft` ran in this home and does not any more; False if nothing is known of it."""
        if weft not in self._ended and SUBJECT_TOKEN.fullmatch(weft) and _is_free(self._directory / weft):
            self._ended.add(weft)
        return weft in self._ended


@contextlib.contextmanager
def living(home: Path, weft: str) -> Iterator[Living]:
    """Yield this weft's life, which is over when the block or the process ends."""
    directory = home / "wefts"
    directory.mkdir(mode=0o700, exist_ok=True)
    ended = {path.name for path in directory.iterdir() if _is_free(path)}
    for path in (directory / name for name in ended):
        if time.time() - path.stat().st_mtime > KEPT_SECONDS:
            path.unlink(missing_ok=True)
    own = directory / weft
    descriptor = os.open(own, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Living(directory, weft, ended)
    finally:
        own.unlink(missing_ok=True)
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    """Return whether the file is there and nobody holds its lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
