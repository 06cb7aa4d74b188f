"""Talking to everyone: channels and their history."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.operations.types import Arguments, Importance, Limit1000, Offset, Text, View
from loominal.model.agent import JsonObject


class ListChannels(Arguments, frozen=True, kw_only=True):
    """Ask which channels there are."""


class ChannelView(View, frozen=True, kw_only=True):
    """A channel and how much is in it."""

    name: str
    description: str = ""
    messages: int = 0
    last_at: datetime | None = None


class Channels(View, frozen=True, kw_only=True):
    """Every channel of the project."""

    channels: tuple[ChannelView, ...]
    total: int = 0


class SendMessage(Arguments, frozen=True, kw_only=True):
    """Tell a channel."""

    channel: str
    message: Text
    create: bool = False
    reply_to: str | None = None
    importance: Importance = Importance.NORMAL
    metadata: JsonObject = {}


class MessageSent(View, frozen=True, kw_only=True):
    """Where the message is."""

    id: str
    channel: str
    timestamp: datetime


class ReadMessages(Arguments, frozen=True, kw_only=True):
    """Read a channel's history; with `id` one message, from `offset` characters on."""

    channel: str
    limit: Limit1000 = 50
    cursor: str | None = None
    since: str | None = None
    id: str | None = None
    offset: Offset = 0


class ChannelMessage(View, frozen=True, kw_only=True, omit_defaults=True):
    """A channel message as read: an entry of a list only, its time a whole second."""

    id: str
    handle: str
    message: str
    timestamp: datetime
    reply_to: str | None = None
    importance: Importance = Importance.NORMAL
    metadata: JsonObject = {}
    truncated: bool = False
    chars: int = 0  # the whole text's length, when this is a part of it
    next_offset: int = 0  # where the next part begins, when truncated


class History(View, frozen=True, kw_only=True):
    """A page of a channel, oldest first."""

    messages: tuple[ChannelMessage, ...]
    senders: dict[str, str]
    next_cursor: str | None = None  # older ones
    new_cursor: str | None = None  # only what comes later
