"""Background duties: functions that do one round. `every` alone owns the loop."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from loominal.model.errors import LoominalError

log = logging.getLogger(__name__)


async def every(period_s: float, duty: Callable[[], Awaitable[None]], name: str, failures: Counter[str]) -> None:
    """Do `duty` once every `period_s` seconds until cancelled.

    A LoominalError is logged and counted in `failures` under `name`; any other exception is a bug and ends it.
    """
    failures[name] += 0  # so that it is there before the first one
    while True:
        try:
            await duty()
        except LoominalError as error:
            failures[name] += 1
            log.warning("%s: %s", name, error)
        await asyncio.sleep(period_s)
