"""Who is there: registering, discovering, presence."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, Limit100, View
from loominal.model.agent import AgentStatus, JsonObject
from loominal.model.grant import Visibility


class Scope(StrEnum):
    """Where to look for agents."""

    PROJECT = "project"
    MINE = "mine"  # those of the same user in the project
    FABRIC = "fabric"  # and the public ones of every project that takes part


class AgentView(View, frozen=True, kw_only=True):
    """An agent as others see it."""

    guid: str
    handle: str
    agent_type: str = ""
    capabilities: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    status: AgentStatus
    hostname: str = ""
    project_id: str = ""
    current_task_count: int = 0
    free: int = 0  # items it could take now
    current_work: tuple[str, ...] = ()
    last_seen: datetime | None = None
    visibility: Visibility = Visibility.PROJECT_ONLY
    max_concurrent: int = 1
    metadata: JsonObject = {}
    metadata_bytes: int = 0  # its size, where it is left out


class RegisterAgent(Arguments, frozen=True, kw_only=True):
    """Say what one is and can do."""

    agent_type: str
    capabilities: tuple[str, ...] = ()
    boundaries: tuple[str, ...] | None = None
    handle: str | None = None
    visibility: Visibility = Visibility.PROJECT_ONLY
    max_concurrent: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    metadata: JsonObject = {}


class Registered(View, frozen=True, kw_only=True):
    """The agent as registered."""

    guid: str
    handle: str
    agent_type: str
    capabilities: tuple[str, ...]
    boundaries: tuple[str, ...]
    visibility: Visibility
    hostname: str
    project_id: str


class DiscoverAgents(Arguments, frozen=True, kw_only=True):
    """Find agents; all filters given must hold."""

    agent_type: str | None = None
    capability: str | None = None
    boundary: str | None = None
    hostname: str | None = None
    status: AgentStatus | None = None
    handle: str | None = None
    scope: Scope = Scope.PROJECT
    include_offline: bool = False
    limit: Limit100 = 20
    cursor: str | None = None


class Discovered(View, frozen=True, kw_only=True):
    """A page of agents; `note` says why some of other projects may be missing."""

    agents: tuple[AgentView, ...]
    total: int
    next_cursor: str | None = None
    note: str | None = None


class GetAgentInfo(Arguments, frozen=True, kw_only=True):
    """Ask about one agent."""

    guid: str


class UpdatePresence(Arguments, frozen=True, kw_only=True):
    """Say how one is doing."""

    status: AgentStatus | None = None
    current_task_count: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    capabilities: tuple[str, ...] | None = None


class Presence(View, frozen=True, kw_only=True):
    """What an agent says of itself."""

    status: AgentStatus
    current_task_count: int
    capabilities: tuple[str, ...]


class PresenceUpdated(View, frozen=True, kw_only=True):
    """Before and after."""

    before: Presence
    after: Presence


class DeregisterAgent(Arguments, frozen=True, kw_only=True):
    """Leave the registry and hand everything back."""


class Deregistered(View, frozen=True, kw_only=True):
    """What was handed back."""

    guid: str
    released: tuple[str, ...]
