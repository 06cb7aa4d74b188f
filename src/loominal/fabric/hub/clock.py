"""Time as the hub knows it: broker time for what is stored, a monotonic clock for how long something took."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

JUMP_SECONDS = 2.0  # wall and monotonic clock disagree by more: the machine slept or its clock was set
SETTLE_SECONDS = 60.0  # deadlines are not judged for this long after a jump


class Clock:
    """Broker time and durations of one weft."""

    def __init__(self) -> None:
        self.doubtful = False  # a clock has jumped since the broker last told its time
        self._offset = timedelta()
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._jumped_at: float | None = None

    def now(self) -> datetime:
        """Return broker time, as well as we know it."""
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        """Return seconds that only ever grow; only differences mean anything."""
        return time.monotonic()

    def learn(self, broker_now: datetime) -> None:
        """Take the broker's own time, as an answer of it has just told."""
        self._offset = broker_now - datetime.now(UTC)
        self.doubtful = False

    def tick(self) -> None:
        """Compare the two clocks; call it at least every second."""
        wall, monotonic = time.time(), time.monotonic()
        if abs((wall - self._wall) - (monotonic - self._monotonic)) > JUMP_SECONDS:
            self._jumped_at = monotonic
            self.doubtful = True
        self._wall, self._monotonic = wall, monotonic

    @property
    def settled(self) -> bool:
        """Whether deadlines may be judged: no clock jumped lately, nor since the last tick."""
        self.tick()
        return self._jumped_at is None or time.monotonic() - self._jumped_at > SETTLE_SECONDS
