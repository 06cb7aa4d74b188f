"""The duties behind an agent. Only `connect` runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)


@asynccontextmanager
async def background(*duties: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run the duties, each in a task, while the block runs; they are cancelled and awaited at its end.

    Not a TaskGroup: that would wrap every exception of the caller's own code into a group. A duty that fails has a bug;
    it is logged when it happens, and raised at the end of the block.
    """
    tasks = [asyncio.create_task(_run(duty), name=duty.__name__) for duty in duties]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _run(duty: Callable[[], Awaitable[None]]) -> None:
    await duty()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("%s ended by a bug", task.get_name(), exc_info=task.exception())
