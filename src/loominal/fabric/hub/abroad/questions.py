"""What the leaders of two projects ask each other, on behalf of an agent of one about an agent of the other."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from loominal.fabric.operations.inbox import Recipient
from loominal.fabric.operations.registry import AgentView, DiscoverAgents
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import PROTO
from loominal.model.message import Receipt, Sender
from loominal.model.times import Instant


class Question(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every question says: in which version it is asked, and in which project."""

    proto: int = PROTO
    asker: str  # project id


class See(Question, frozen=True, kw_only=True):
    """Who is it that `text` (a guid or handle) names?"""

    text: str
    metadata_bytes: int = 0  # metadata up to this length are wanted, too


class Seen(View, frozen=True, kw_only=True):
    """The agent, if it is public."""

    agent: AgentView | None = None


class Look(Question, frozen=True, kw_only=True):
    """Which agents are there for which all these filters hold, behind the place `after` (handle, guid)?"""

    filters: DiscoverAgents
    after: tuple[str, str] = ("", "")
    limit_bytes: int


class Looked(View, frozen=True, kw_only=True):
    """The public ones among them, as many as the limits allow; `more` says that others follow."""

    agents: tuple[AgentView, ...] = ()
    total: int = 0
    more: bool = False


class Take(Question, frozen=True, kw_only=True):
    """Here is a message for the one whom `text` names."""

    text: str
    sender: Sender
    title: str  # how the sender's project is called in lists
    message: msgspec.Raw  # arguments of send_direct_message, as they were given
    reply_is_known: bool  # replyTo names a message that the sender got or saw in its own project
    dedupe: str


class Taken(View, frozen=True, kw_only=True):
    """It is in the inbox."""

    id: str
    recipient: Recipient


class Tell(Question, frozen=True, kw_only=True):
    """The agent `sender` of yours is to know how far its message has come; nobody answers this."""

    sender: str
    generation: str  # of the project whose log has the message
    sequence: int
    receipt: Receipt
    reader: str  # handle@project
    at: Instant


class What(StrEnum):
    """The kinds of questions, as their subjects name them."""

    SEE = "see"
    LOOK = "look"
    TAKE = "take"
    TELL = "tell"


KINDS: dict[What, type[See | Look | Take | Tell]] = {
    What.SEE: See,
    What.LOOK: Look,
    What.TAKE: Take,
    What.TELL: Tell,
}
