"""How often somebody may ask: a bucket of permits for each asker, which fills up steadily. The doors ask."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 2.0  # seconds' worth of permits that an asker who was quiet has at once
MOST_ASKERS = 10_000  # remembered; whoever was quiet for BURST seconds need not be


class Rate:
    """Lets each asker ask `per_second` times a second, and `BURST` times as often at once after a quiet time."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # asker -> permits, and when there were so many

    def take(self, asker: str) -> float:
        """Take a permit; return 0 if there was one, else the seconds after which there is."""
        now, most = self._clock(), BURST * self.per_second
        permits, since = self._left.get(asker, (most, now))
        permits = min(permits + (now - since) * self.per_second, most)
        if permits < 1:
            self._left[asker] = (permits, now)
            return (1 - permits) / self.per_second
        if len(self._left) >= MOST_ASKERS:
            self._left = {name: left for name, left in self._left.items() if now - left[1] < BURST}
        self._left[asker] = (permits - 1, now)
        return 0.0
