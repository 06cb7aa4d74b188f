"""Waiting for something to happen instead of asking again and again."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, View


class EventKind(StrEnum):
    """What one can wait for."""

    MESSAGE = "message"
    WORK = "work"
    CANCEL = "cancel"
    CHANNEL = "channel"
    RECEIPT = "receipt"


class WaitForEvents(Arguments, frozen=True, kw_only=True):
    """Wait until something of these kinds is there."""

    kinds: tuple[EventKind, ...] = (EventKind.MESSAGE, EventKind.WORK, EventKind.CANCEL)
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=50)] = 50
    cursor: str | None = None


class EventView(View, frozen=True, kw_only=True):
    """Something that happened; it says where to look and carries no text of a peer."""

    kind: EventKind
    id: str = ""
    summary: str = ""
    at: datetime | None = None


class Events(View, frozen=True, kw_only=True):
    """What happened since the cursor."""

    events: tuple[EventView, ...]
    cursor: str
    unread: int
    ready: int
    waited_seconds: float
