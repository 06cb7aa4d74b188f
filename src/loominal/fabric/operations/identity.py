"""Who am I: handles, and the one call that starts everything."""

from __future__ import annotations

from loominal.fabric.operations.channels import ChannelView
from loominal.fabric.operations.inbox import MessageView
from loominal.fabric.operations.registry import AgentView
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.operations.work import WorkView
from loominal.model.grant import Visibility


class Hello(Arguments, frozen=True, kw_only=True):
    """What a process says of itself when it connects; sent by the client, not a tool."""

    client: str = ""
    hostname: str = ""
    directory: str = ""  # the project's directory, or its name
    user: str = ""  # believed only in open mode
    person: bool = False
    adopts: bool = False  # it is a new process and takes over what the agent holds


class Welcome(View, frozen=True, kw_only=True):
    """What the hub answers a process that connects."""

    guid: str
    project_id: str
    project: str
    generation: str
    proto_min: int
    proto: int
    heartbeat_seconds: float
    lease_seconds: float
    claims: tuple[WorkView, ...] = ()  # what the process has adopted: ids, lease tokens and cancels, no texts


class SetHandle(Arguments, frozen=True, kw_only=True):
    """Take a handle, or get it back."""

    handle: str


class HandleSet(View, frozen=True, kw_only=True):
    """The handle the agent now has."""

    handle: str
    guid: str


class GetMyHandle(Arguments, frozen=True, kw_only=True):
    """Ask who one is."""


class MyHandle(View, frozen=True, kw_only=True):
    """Who one is, and where."""

    handle: str
    guid: str
    project_id: str
    project: str
    registered: bool


class Join(Arguments, frozen=True, kw_only=True):
    """Register (again) and see what waits."""

    handle: str | None = None
    agent_type: str | None = None
    capabilities: tuple[str, ...] | None = None
    boundaries: tuple[str, ...] | None = None
    visibility: Visibility | None = None


class Joined(View, frozen=True, kw_only=True):
    """The registered agent and what waits for it."""

    agent: AgentView
    unread: int
    messages: tuple[MessageView, ...]
    claims: tuple[WorkView, ...]
    ready: tuple[WorkView, ...]
    channels: tuple[ChannelView, ...]
    note: str
