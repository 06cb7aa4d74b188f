"""Sends and offers whose answer never came. `Agent` asks here: the same one again is that deed, not a second one."""

from __future__ import annotations

import hashlib
import time
from collections import deque

from loominal.fabric.operations import Operation
from loominal.fabric.operations.types import Arguments
from loominal.fabric.protocol import GIVE_UP_SECONDS, content

MAKING = frozenset({"send_message", "send_direct_message", "broadcast_work_offer"})  # each op makes another thing
KEPT = 256


class Unanswered:
    """Ops of deeds of which nobody knows whether they were done, oldest first."""

    def __init__(self) -> None:
        self._ops: deque[tuple[bytes, str, float]] = deque(maxlen=KEPT)  # what was asked, its op, until when it counts

    def keep(self, operation: Operation, args: Arguments, op: str) -> None:
        """Note that `op` was not answered; deeds that change nothing when they are repeated are not noted."""
        if operation.name in MAKING:
            self.forget(op)  # once only, if its caller has named it
            self._ops.append((_asked(operation, args), op, time.monotonic() + GIVE_UP_SECONDS))

    def forget(self, op: str) -> None:
        """Forget a deed: it was answered after all, since its caller asked again under its name."""
        if self._ops:
            self._ops = deque((each for each in self._ops if each[1] != op), maxlen=KEPT)

    def take(self, operation: Operation, args: Arguments) -> str:
        """Return the op of the oldest such deed, once; "" if there is none."""
        if operation.name not in MAKING or not self._ops:
            return ""
        asked, now = _asked(operation, args), time.monotonic()
        found = next((each for each in self._ops if each[0] == asked and each[2] > now), None)
        if found is None:
            return ""
        self._ops.remove(found)
        return found[1]


def _asked(operation: Operation, args: Arguments) -> bytes:
    return hashlib.sha256(operation.name.encode() + b"\0" + content(args)).digest()
