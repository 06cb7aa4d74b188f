"""Who may do what: grants, for operators."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.operations.types import Arguments, View


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
