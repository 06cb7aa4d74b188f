"""Grants: what a user's agents may be and do. The hub keeps them; an agent's own word only narrows them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from loominal.model.record import version
from loominal.model.times import Instant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CORPORATE = "corporate"  # the one boundary that only an explicit listing grants


class Role(StrEnum):
    """What a grant's holder is to the fabric."""

    AGENT = "agent"  # works
    OPERATOR = "operator"  # works, and runs the fabric
    OBSERVER = "observer"  # looks on


RIGHTS = (Role.OBSERVER, Role.AGENT, Role.OPERATOR)  # from the fewest to the most


def narrower(one: Role, other: Role) -> Role:
    """Return whichever role may do less."""
    return min(one, other, key=RIGHTS.index)


class Visibility(StrEnum):
    """Who may see an agent, from the narrowest to the widest."""

    PRIVATE = "private"
    USER_ONLY = "user-only"
    PROJECT_ONLY = "project-only"
    PUBLIC = "public"


class Grant(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user (on one machine, if named) was granted; an empty list of anything but boundaries means any of it."""

    v: int = version(1)
    id: str
    user: str
    machine: str = ""  # empty: on any machine
    role: Role = Role.AGENT
    projects: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()  # these, beside what `every_boundary` gives; nothing here means none
    every_boundary: bool = False  # all but `corporate`
    capabilities: tuple[str, ...] = ()
    visibility: Visibility = Visibility.PUBLIC  # the widest an agent under it may choose
    granted_at: Instant | None = None  # None: since the fabric began
    expires_at: Instant | None = None
    by: str = ""  # who granted it; empty: the fabric itself


def own_user_grant(user: str) -> Grant:
    """Return the grant of the fabric's own user: operator everywhere, every boundary but `corporate`."""
    return Grant(id=f"own-{user}", user=user, role=Role.OPERATOR, every_boundary=True)


def grants_boundary(grant: Grant, boundary: str) -> bool:
    """Return whether `grant` holds `boundary`."""
    return boundary in grant.boundaries or (grant.every_boundary and boundary != CORPORATE)


def in_force(grant: Grant, *, project: str, now: Instant) -> bool:
    """Return whether this grant, at `now`, lets anybody into that project."""
    return (grant.expires_at is None or now < grant.expires_at) and _any_or_in(grant.projects, project)


def reach(grants: Iterable[Grant], *, project: str, now: Instant) -> tuple[str, ...]:
    """Return the projects that `grants` let somebody of `project` into at `now`; none: every one."""
    found = {project}
    for grant in grants:
        if grant.expires_at is None or now < grant.expires_at:
            if not grant.projects:
                return ()
            found.update(grant.projects)
    return tuple(sorted(found))


def admits(grant: Grant, *, project: str, agent_type: str, now: Instant) -> bool:
    """Return whether this grant, at `now`, lets an agent of that type take part in that project."""
    return (
        grant.role is not Role.OBSERVER
        and in_force(grant, project=project, now=now)
        and _any_or_in(grant.agent_types, agent_type)
    )


def covers(
    grant: Grant, *, project: str, agent_type: str, boundary: str, capabilities: Iterable[str], now: Instant
) -> bool:
    """Return whether this one grant, at `now`, lets an agent of that type do such work in that project."""
    return (
        admits(grant, project=project, agent_type=agent_type, now=now)
        and grants_boundary(grant, boundary)
        and all(_any_or_in(grant.capabilities, capability) for capability in capabilities)
    )


def allows(
    grants: Iterable[Grant],
    *,
    project: str,
    agent_type: str,
    boundary: str,
    capabilities: Collection[str],
    now: Instant,
) -> bool:
    """Return whether one of `grants` alone covers all of it; two halves do not add up."""
    return any(
        covers(grant, project=project, agent_type=agent_type, boundary=boundary, capabilities=capabilities, now=now)
        for grant in grants
    )


def within(wanted: Visibility, widest: Visibility) -> bool:
    """Return whether `wanted` shows an agent to nobody whom `widest` would hide it from."""
    order = list(Visibility)
    return order.index(wanted) <= order.index(widest)


def _any_or_in(listed: tuple[str, ...], name: str) -> bool:
    return not listed or name in listed
