"""Messages and channels: what is stored of one, and what a message's id says."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

import msgspec

from loominal.model.agent import JsonObject
from loominal.model.errors import NotFound
from loominal.model.names import shown
from loominal.model.record import version

FIRST_CHANNELS = ("general", "updates", "roadmap", "parallel-work", "errors")
INBOX_UNREAD = 1000  # unread messages at which an inbox refuses more
WORK_RESULT = "work-result"  # the message type by which the fabric itself tells of a work item's end

_ID = re.compile(r"m_([cd])([0-9a-f]{6})([1-9][0-9]{0,18})")


class Importance(StrEnum):
    """How much a message matters to its reader."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Kind(StrEnum):
    """Where a message went: to a channel or directly to an agent."""

    CHANNEL = "c"
    DIRECT = "d"


class Receipt(StrEnum):
    """How far a direct message has come."""

    STORED = "stored"
    SURFACED = "surfaced"
    ACKED = "acked"


class Sender(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who sent a message, as authenticated."""

    guid: str
    handle: str
    project: str = ""  # another project's agent: how that is called at the recipient's
    home: str = ""  # and its id
    person: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message as stored; its id and time come from the log."""

    v: int = version(1)
    sender: Sender
    text: str
    message_type: str = "text"
    reply_to: str = ""
    importance: Importance = Importance.NORMAL
    metadata: JsonObject = {}
    ack_required: bool = False


class MessageId(msgspec.Struct, frozen=True):
    """A message's place: its log, the life of the project it belongs to, and its sequence."""

    kind: Kind
    generation: str
    sequence: int

    def __str__(self) -> str:
        return f"m_{self.kind}{self.generation[:6]}{self.sequence}"


def message_id(text: str, generation: str) -> MessageId:
    """Return the place that `text` names. Raises: NotFound if it is no id of this project's present life."""
    match = _ID.fullmatch(text)
    if not match or match[2] != generation[:6]:
        raise NotFound(f"there is no message {shown(text)}", "use an id as a read or a send returned it")
    return MessageId(Kind(match[1]), generation, int(match[3]))


def is_of(text: str | None, generation: str) -> bool:
    """Return whether `text`, if it is a message's id at all, may be one of this project's present life."""
    match = _ID.fullmatch(text or "")
    return match is None or match[2] == generation[:6]


class ChannelRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the registry keeps of a channel (key `chan.<name>`)."""

    v: int = version(1)
    name: str
    description: str = ""
    created_by: str = ""
    created_at: datetime | None = None
