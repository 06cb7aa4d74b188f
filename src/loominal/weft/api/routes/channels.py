"""Channels by HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Parameter

from loominal.fabric.operations.channels import Channels, History, ListChannels, MessageSent, ReadMessages, SendMessage
from loominal.fabric.operations.types import Arguments, Importance, Text
from loominal.model.agent import JsonObject
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import Cursor, makes, reads


class NewMessage(Arguments, frozen=True, kw_only=True):
    """A message for a channel."""

    message: Text
    create: bool = False
    reply_to: str | None = None
    importance: Importance = Importance.NORMAL
    metadata: JsonObject = {}


@reads("/channels")
async def list_channels(asker: Asker) -> Answer[Channels]:
    """Return every channel of the project."""
    return await asker.answer("list_channels", ListChannels())


@reads("/channels/{channel:str}/messages")
async def read_messages(
    asker: Asker,
    channel: str,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 50,
    cursor: Cursor = None,
    since: str | None = None,
) -> Answer[History]:
    """Return a page of a channel, oldest first: the newest, or those before or after a cursor."""
    wanted = ReadMessages(channel=channel, limit=limit, cursor=cursor, since=since)
    return await asker.answer("read_messages", wanted)


@makes("/channels/{channel:str}/messages")
async def send_message(asker: Asker, channel: str, data: NewMessage) -> Answer[MessageSent]:
    """Tell a channel."""
    fields = {name: getattr(data, name) for name in NewMessage.__struct_fields__}
    return await asker.answer("send_message", SendMessage(channel=channel, **fields))


CHANNELS = (list_channels, read_messages, send_message)
