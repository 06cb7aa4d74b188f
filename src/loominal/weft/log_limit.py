"""Keeps one kind of line from filling the log: whoever may send to weft decides how often it has reason to complain."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

LINES = 200  # of one kind in WINDOW_SECONDS; a start with many projects and garbage in their logs stays below
WINDOW_SECONDS = 60.0
KINDS = 1000  # counted apart; our own texts are fewer


class LogLimit(logging.Filter):
    """Lets the first LINES of each kind pass in each window: of one logger, with one text before its values are in it.

    The last one that passes says that others are held back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = clock()
        self._passed: Counter[tuple[str, object]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS or len(self._passed) > KINDS:
            self._since = now
            self._passed.clear()
        kind = record.name, str(record.msg)
        self._passed[kind] += 1
        if self._passed[kind] == LINES:
            record.msg = f"{record.msg} (more of these are held back for up to {WINDOW_SECONDS:g} s)"
        return self._passed[kind] <= LINES
