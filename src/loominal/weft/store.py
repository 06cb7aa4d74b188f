"""The broker's store as weft watches it: how full it is, and whether a stream has died of a full disk.

`fabric.py` measures, by whatever its broker offers, and hands the share over.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import disk_usage

from loominal.broker.accounts import StoreUse
from loominal.broker.log import Log
from loominal.fabric.hub.fullness import Fullness

MEASURE_SECONDS = 5.0  # between two looks at the store: it can fill by 100 MB/s
SPARE_BYTES = 8 << 20  # of the disk that count as used: items that exist need them to end
FULL = 0.95  # above it a restart of the broker would not help
DEAD_AFTER = 2  # measurements that the broker answered while a stream left appends unanswered
RESTART_SECONDS = 30.0  # between two restarts

log = logging.getLogger(__name__)


def use_of(told: StoreUse, store: Path) -> float:
    """Return how full a store is, between 0 and 1: of its own limit, or of what its disk holds if that is less.

    `store` is the broker's directory; one that is not on this machine does not count.
    """
    room = told.limit_bytes
    if store.exists():
        room = min(room, told.stored_bytes + max(disk_usage(store).free - SPARE_BYTES, 0))
    return min(told.stored_bytes / room, 1.0) if room > 0 else 1.0


class StoreWatch:
    """Keeps `fullness` up to date, and has the broker restarted when a stream that met a full disk stays dead.

    Such a stream answers no append ever again, while everything else does. `restart` returns whether somebody will.
    """

    def __init__(self, fullness: Fullness, logs: Callable[[], Iterable[Log]], restart: Callable[[], bool]) -> None:
        self._fullness = fullness
        self._logs = logs
        self._restart = restart
        self._was_full = False
        self._unanswered: dict[str, int] | None = None  # stream -> appends, at the last measurement
        self._grown: Counter[str] = Counter()  # stream -> measurements at which there were more of them
        self._restarted_at = -RESTART_SECONDS

    def unmeasured(self) -> None:
        """Take note that the broker did not answer: what streams leave unanswered then says nothing about them."""
        self._unanswered = None
        self._grown.clear()

    def measured(self, use: float) -> None:
        """Take how full the store is, between 0 and 1."""
        self._fullness.use = use
        self._was_full = self._was_full or use >= FULL
        unanswered = {each.stream: each.unanswered for each in self._logs() if each.unanswered}
        before, self._unanswered = self._unanswered, unanswered
        self._grown = Counter({stream: self._grown[stream] for stream in unanswered})
        if before is not None:
            self._grown.update(stream for stream, count in unanswered.items() if count > before.get(stream, 0))
        dead = [stream for stream in unanswered if self._was_full or self._grown[stream] >= DEAD_AFTER]
        if dead and use < FULL and time.monotonic() - self._restarted_at >= RESTART_SECONDS and self._restart():
            log.warning("%s answer no append any more; the supervisor restarts the broker", ", ".join(dead))
            self._restarted_at = time.monotonic()
            self._was_full = False
            self.unmeasured()
