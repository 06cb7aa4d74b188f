"""Everybody who reads live events of this weft: how many they may be, and what ends them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from loominal.model.errors import BrokerUnavailable, Busy, Forbidden, HubUnavailable
from loominal.weft.api.tally import HttpTally
from loominal.weft.api.tokens import Identity, Tokens
from loominal.weft.events.reader import Reader
from loominal.weft.events.watches import Watches

PER_TOKEN = 300  # readers with one bearer token, and
IN_ALL = 500  # in all: what may wait for them is 1 MB each
RETRY_SECONDS = 1.0
PAUSE_SECONDS = 0.0002  # for each reader: a chunk costs weft a third of that, so all of them do not keep it busy


class Readers:
    """Counts readers by bearer token."""

    def __init__(self, tokens: Tokens, tally: HttpTally) -> None:
        self._tokens = tokens
        self._tally = tally
        self._open: Counter[str] = Counter()

    def check(self, identity: Identity) -> None:
        """Return if one more may read. Raises: Busy."""
        if self._open[identity.name] >= PER_TOKEN:
            raise Busy(f"{PER_TOKEN} readers use this bearer token already", "one reader can read several projects")
        if self._tally.readers >= IN_ALL:
            raise Busy(f"this weft has {IN_ALL} readers, which is all it serves", "try another weft, or later")

    @contextmanager
    def counted(self, reader: Reader, identity: Identity) -> Iterator[None]:
        """Count one reader for as long as the block lasts."""
        self._open[identity.name] += 1
        self._tally.readers += 1
        try:
            yield
        finally:
            self._tally.readers -= 1
            if reader.cut:
                self._tally.cut[reader.cut] += 1
            self._open[identity.name] -= 1
            if not self._open[identity.name]:
                del self._open[identity.name]

    def pause(self) -> float:
        """Return for how many seconds a reader gathers events before it sends them."""
        return PAUSE_SECONDS * self._tally.readers

    async def guard(self, reader: Reader, identity: Identity, watches: Watches) -> None:
        """End `reader` when its bearer token is good no more, or this weft leaves."""
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(watches.projects.leaving.wait(), name="weft leaves")
            ended = group.create_task(self._ended(identity), name=f"bearer token {identity.name}")
            await asyncio.wait((leaving, ended), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            ended.cancel()
        if watches.projects.leaving.is_set():
            reader.end(
                "leaving",
                HubUnavailable("this weft ends", "connect again with the id of the last event: nothing is lost"),
            )
        else:
            reader.end("token", Forbidden(f"the bearer token {identity.name!r} is not good any more"))

    async def _ended(self, identity: Identity) -> None:
        while True:
            try:
                await self._tokens.ended(identity)
                return
            except BrokerUnavailable:  # the registry is not read: nobody can tell
                await asyncio.sleep(RETRY_SECONDS)
