"""Talking to everyone."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.channels import Channels, History, MessageSent
from loominal.model.agent import JsonObject
from loominal.model.message import Importance


class ChannelCalls(Calls):
    """Channels and their history."""

    async def list_channels(self) -> Channels:
        """Return every channel of the project."""
        return await self._ask("list_channels", Channels)

    async def send_message(
        self,
        channel: str,
        message: str,
        *,
        create: bool = False,
        reply_to: str | None = None,
        importance: Importance | str = Importance.NORMAL,
        metadata: JsonObject | None = None,
    ) -> MessageSent:
        """Tell a channel; with `create` it need not exist. Raises: UnknownChannel, QuotaExceeded."""
        return await self._ask(
            "send_message",
            MessageSent,
            channel=channel,
            message=message,
            create=create,
            reply_to=reply_to,
            importance=importance,
            metadata=metadata,
        )

    async def read_messages(
        self,
        channel: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        since: datetime | str | None = None,
        id: str | None = None,  # noqa: A002  # the tool's name for it
        offset: int = 0,
    ) -> History:
        """Return a page of a channel, oldest first: the newest `limit`, or what `cursor` continues.

        `since` is a time or a duration back (`"2h"`). With `id` one message, from `offset` characters on.
        Raises: UnknownChannel, BadCursor.
        """
        return await self._ask(
            "read_messages", History, channel=channel, limit=limit, cursor=cursor, since=since, id=id, offset=offset
        )
