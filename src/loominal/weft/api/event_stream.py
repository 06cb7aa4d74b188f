"""The answer that never ends by itself: live events as `text/event-stream`, written as fast as the client reads."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from loominal.weft.api.tokens import Identity
from loominal.weft.events.reader import Reader
from loominal.weft.events.readers import Readers
from loominal.weft.events.watches import Watches

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy in between must hold nothing back


class EventStream(Response[str]):
    """Lets `reader` send until its client goes or it is ended."""

    def __init__(self, reader: Reader, readers: Readers, identity: Identity, watches: Watches) -> None:
        super().__init__("", media_type=MEDIA_TYPE)
        self._sending = reader, readers, identity, watches

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Return what sends. Any: as Litestar declares it."""
        return _Sending(*self._sending)


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, reader: Reader, readers: Readers, identity: Identity, watches: Watches) -> None:
        super().__init__(media_type=MEDIA_TYPE, headers=HEADERS)
        self._reader, self._readers, self._identity, self._watches = reader, readers, identity, watches

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send until the client goes or the reader ends."""

        async def out(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        try:
            with self._readers.counted(self._reader, self._identity):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_until_gone(receive), name="client of events")
                    group.create_task(self._readers.guard(self._reader, self._identity, self._watches), name="guard")
                    await self._reader.run(out, self._readers.pause)
                    raise _Over
        except* _Over:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Over(Exception):
    """The stream has ended; raised in its task group, it ends every task."""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Over
