"""Weft as chaos runs it: it leaves a project soon after its last agent, and its clock can be set.

Both are what its environment cannot ask for. `processes.py` starts it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path
from types import SimpleNamespace

from msgspec.structs import replace

from loominal.fabric.hub import clock
from loominal.weft.main import run
from loominal.weft.settings import Settings

UNLOAD_SECONDS = 1.0  # after whatever was left undone has lapsed
CLOCK_MARK = "clock-is-set"  # a file in weft's home: while it is there, its machine's clock is wrong
JUMP_SECONDS = 50.0  # longer than what an item is given, short enough to wait for
SETTLE_SECONDS = 6.0  # shortened tenfold


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.from_env(os.environ)
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format=log_format)
    set_clock(settings.home / CLOCK_MARK)
    asyncio.run(run(replace(settings, timings=replace(settings.timings, unload_seconds=UNLOAD_SECONDS))))


def set_clock(mark: Path) -> None:
    """Let the hub's clock be wrong while `mark` is there."""

    def wrong_by() -> float:
        return JUMP_SECONDS if mark.exists() else 0.0

    def now(zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(time.time() + wrong_by(), zone)

    setattr(clock, "SETTLE_SECONDS", SETTLE_SECONDS)  # noqa: B010  (a constant for everybody else)
    setattr(clock, "datetime", SimpleNamespace(now=now))  # noqa: B010
    setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + wrong_by(), monotonic=time.monotonic))  # noqa: B010


if __name__ == "__main__":
    main()
