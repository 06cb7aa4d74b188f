"""Who may do what: grants, for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, View
from loominal.model.grant import Role


class GrantAccess(Arguments, frozen=True, kw_only=True):
    """Let a user's agents of these types work on these boundaries of these projects."""

    user: str | None = None  # default: the operator's own
    projects: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    expires: str | None = None


class ListGrants(Arguments, frozen=True, kw_only=True):
    """Ask which grants there are."""


class RevokeGrant(Arguments, frozen=True, kw_only=True):
    """Take a grant back."""

    id: str


class RevokeAgent(Arguments, frozen=True, kw_only=True):
    """Cut an agent off for good: its connection ends, its claims are handed back."""

    guid: str


class Revoked(View, frozen=True, kw_only=True):
    """What was cut."""

    guid: str


class ShutdownAgent(Arguments, frozen=True, kw_only=True):
    """Have an agent end: it gets nothing new, is told, and after the grace what it holds is handed back."""

    guid: str
    graceful: bool = True  # False: without a grace
    grace_period_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 30.0
    reason: str = ""


class ShuttingDown(View, frozen=True, kw_only=True):
    """Which agent is to end, and by when."""

    guid: str
    status: str = "draining"
    until: datetime


class Invite(Arguments, frozen=True, kw_only=True):
    """Let one more machine join; nothing named is any agent type, capability and project that the asker is for.

    Of boundaries it is every one but corporate.

    With `launch` it lets one agent enrol, in one project: by default the asker's.
    """

    key: str  # public half of the one-time secret; the asker keeps the other half
    role: Role = Role.AGENT
    projects: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    expires: str | None = None  # default: an hour
    launch: str = ""  # which starts the agent; "": it is for a machine


class Invited(View, frozen=True, kw_only=True):
    """An invitation: with this JWT and the one-time secret a machine may join, or that agent enrol."""

    id: str
    jwt: str
    expires_at: datetime
    agent: str = ""  # of a launch's: the agent's id


class RevokeInvitation(Arguments, frozen=True, kw_only=True):
    """Take back an invitation that nobody has used; its holder cannot connect any more."""

    id: str


class InvitationRevoked(View, frozen=True, kw_only=True):
    """What was taken back."""

    id: str


class ListMachines(Arguments, frozen=True, kw_only=True):
    """Ask which machines there are."""


class RevokeMachine(Arguments, frozen=True, kw_only=True):
    """Cut a machine off for good, with all its agents."""

    name: str


class MachineRevoked(View, frozen=True, kw_only=True):
    """What was cut."""

    name: str
    agents: int


class MachineView(View, frozen=True, kw_only=True):
    """A machine, or an invitation that no machine has used (`name` is empty then)."""

    name: str
    user: str = ""
    role: str
    since: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None  # of an invitation
    refused_at: datetime | None = None  # when another machine showed its invitation last
    invitation: str = ""  # its id, of one that nobody has used
    launch: str = ""  # of an enrolment: the launch whose agent may use it


class Machines(View, frozen=True, kw_only=True):
    """Every machine, and every invitation that is still good."""

    machines: tuple[MachineView, ...]


class GrantView(View, frozen=True, kw_only=True):
    """A grant."""

    id: str
    user: str
    projects: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    every_boundary: bool = False
    agent_types: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    expires_at: datetime | None = None


class Grants(View, frozen=True, kw_only=True):
    """Every grant that concerns the project."""

    grants: tuple[GrantView, ...]
