"""Followers: every record of a log, in order, as it is stored, across every fault of the broker.

The hub's memory of a project is filled by them. A follower keeps its own cursor; the consumer on the server is only a
means, and is made anew whenever it may have been lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from loominal.broker.consumer import Consumer
from loominal.broker.event import Event
from loominal.broker.log import Log, Record
from loominal.model.errors import BrokerUnavailable, LoominalError, NotFound

UP_SECONDS = 30.0  # how long one try waits for the connection
FIRST_PAUSE_SECONDS = 0.05  # before the next try; doubled up to LAST_PAUSE_SECONDS
LAST_PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 1.0  # in a cluster, before a stream that seems to have lost records is believed to have

log = logging.getLogger(__name__)


class Follower:
    """Hands every record of `filters` to `handler`, in order and once, while `run` runs.

    Starts behind the sequence `after`, or (`last_per_subject`) with the newest record of each subject. `on_reset` is
    called when the stream was replaced, removed or went back: what was handled is void, and all comes again from the
    start.
    What `handler` raises is logged and counted in `failures`; the record counts as handled.
    """

    def __init__(
        self,
        source: Log,
        filters: str | tuple[str, ...],
        handler: Callable[[Record], None],
        *,
        after: int = 0,
        last_per_subject: bool = False,
        headers_only: bool = False,
        on_reset: Callable[[], None] = lambda: None,
    ) -> None:
        self.position = after  # sequence of the last record handled
        self.failures = 0
        self._log = source
        self._filters = (filters,) if isinstance(filters, str) else filters
        self._handler = handler
        self._last_per_subject = last_per_subject
        self._headers_only = headers_only
        self._on_reset = on_reset
        self._created = ""  # of the stream that was read so far
        self._stored_at: datetime | None = None  # when the record at `position` was stored; None: none was handled
        self._consumer: Consumer | None = None
        self._reconnected = Event()
        self._loaded = Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Follow until cancelled. Neither a broker that is away nor a stream that is not there yet ends it."""
        remove = self._log.broker.on_connect(self._start_over)
        try:
            while True:
                consumer = await self._attach()
                await consumer.pull()
        finally:
            remove()
            await self._detach()

    async def caught_up(self, seconds: float) -> None:
        """Return when all that was in the stream as `run` began (or the stream was replaced) has been handled.

        A stream that does not exist holds nothing. Raises: BrokerUnavailable after `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._loaded.wait()
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._log.stream} was not read within {seconds:g} s") from error

    async def passed(self, sequence: int, seconds: float) -> None:
        """Return when the record at `sequence` or a later one has been handled.

        A sequence that the filters do not match is passed with the next one that they do.
        Raises: BrokerUnavailable after `seconds`.
        """
        if self.position >= sequence:
            return
        waiter = (sequence, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter[1]
        except TimeoutError as error:
            where = f"{self._log.stream} is read up to {self.position}, not {sequence}"
            raise BrokerUnavailable(f"{where}, after {seconds:g} s") from error
        finally:
            self._waiting.remove(waiter)

    async def up_to_date(self, seconds: float) -> None:
        """Return when all that is in the stream now has been handled; its filters must match every record.

        Raises: BrokerUnavailable after `seconds`.
        """
        state = await self._log.state()
        if state is None or self.position >= state.last or await self._log.at(state.last) is None:
            return  # the newest record goes last, by age: then nothing is left
        await self.passed(state.last, seconds)

    async def _attach(self) -> Consumer:
        """Return a new consumer behind the cursor, however long that takes."""
        pause, told = FIRST_PAUSE_SECONDS, ""
        while True:
            await self._detach()
            self._reconnected.clear()
            try:
                await self._log.broker.wait_up(UP_SECONDS)
                consumer = self._consumer = Consumer(self._log.broker, self._log.stream, self._handle, self._loaded.set)
                await consumer.create(self._start())
                # Looked at only now: a stream made after the consumer cannot be mistaken for the consumer's own.
                if not await self._went_back():
                    return consumer
                self._reset()
                continue
            except NotFound:  # the stream
                if self._created:
                    self._created = ""
                    self._reset()
                self._loaded.set()
            except LoominalError as error:
                if error.code != told:  # the message names another consumer each time
                    log.info("cannot follow %s yet: %s", self._log.stream, error)
                    told = error.code
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._reconnected.wait()
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _detach(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.remove()

    def _start_over(self) -> None:
        self._reconnected.set()
        if self._consumer is not None:
            self._consumer.lose()

    def _start(self) -> dict[str, object]:
        where: dict[str, object] = {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position + 1}
        if self._last_per_subject and self.position == 0:
            where = {"deliver_policy": "last_per_subject"}
        return {"filter_subjects": self._filters, "headers_only": self._headers_only, **where}

    async def _went_back(self) -> bool:
        """Return whether the stream is not the one read so far, or has lost records that were read."""
        state = await self._log.state()
        if state is None:
            raise NotFound(f"the stream {self._log.stream} is gone")
        if state.last < self.position and self._log.broker.clustered:  # a new leader may not have all of its log yet
            await asyncio.sleep(SETTLE_SECONDS)
            state = await self._log.state() or state
        before, self._created = self._created or state.created, state.created
        if state.created != before or state.last < self.position:
            return True
        at, stored_at = self.position, self._stored_at
        if stored_at is None:
            return False
        # It may have lost its newest records and grown again: then another one stands where the last one was.
        record = await self._log.at(at)
        return record is not None and record.stored_at != stored_at

    def _reset(self) -> None:
        log.warning("%s was replaced, removed or lost records; reading it from the start", self._log.stream)
        self.position, self._stored_at = 0, None
        self._loaded.clear()
        self._on_reset()

    def _handle(self, record: Record) -> None:
        if record.sequence <= self.position:
            return
        try:
            self._handler(record)
        except BaseException:
            self.failures += 1
            raise
        finally:
            self.position, self._stored_at = record.sequence, record.stored_at
            for sequence, reached in self._waiting:
                if sequence <= record.sequence and not reached.done():
                    reached.set_result(None)
