"""Agents: what one says of itself, what is stored of it, and what others see."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from loominal.model.grant import Visibility
from loominal.model.record import version

MAX_CONCURRENT = 1000
JsonObject = dict[str, Any]  # Any: a JSON object of the caller's own, kept and given back as it came


class AgentStatus(StrEnum):
    """What an agent is doing: `busy` is its own word, `offline` ours."""

    ONLINE = "online"
    BUSY = "busy"
    OFFLINE = "offline"


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the registry keeps of an agent (key `agent.<id>`); presence is not part of it."""

    v: int = version(1)
    id: str
    handle: str
    registered: bool = False
    agent_type: str = ""
    capabilities: tuple[str, ...] = ()  # as given; compared as labels
    boundaries: tuple[str, ...] = ()
    visibility: Visibility = Visibility.PROJECT_ONLY
    max_concurrent: int = 1
    metadata: JsonObject = {}
    status: AgentStatus = AgentStatus.ONLINE  # its own word: online or busy
    task_count: int = 0  # its own word
    user: str = ""
    hostname: str = ""
    launch: str = ""  # the launch that started it
    last_online_at: datetime | None = None
    op: str = ""  # the operation that wrote this record


class HandleRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whose handle it is (key `handle.<h>`), written before the agent's own record."""

    v: int = version(1)
    agent: str
    at: datetime
