"""Grants and revocation, for operators. The fabric's registry keeps them; open mode refuses them."""

from __future__ import annotations

import hashlib
from functools import partial

from loominal.fabric.hub.agents.control import last_word
from loominal.fabric.hub.agents.draining import drain
from loominal.fabric.hub.agents.visibility import resolve
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.judging import hand_back
from loominal.fabric.operations.access import (
    GrantAccess,
    Grants,
    GrantView,
    ListGrants,
    RevokeAgent,
    Revoked,
    RevokeGrant,
    ShutdownAgent,
    ShuttingDown,
)
from loominal.model import names, times
from loominal.model.errors import InvalidArgument, NotFound
from loominal.model.grant import Grant, Role


async def grant_access(project: Project, caller: Caller, args: GrantAccess) -> GrantView:
    """Let a user's agents do more; without `projects` it holds for this one, whose policy must name the boundaries.

    Raises: InvalidArgument; BoundaryRefused; Forbidden for projects that are not the caller's.
    """
    if not args.boundaries:
        raise InvalidArgument("a grant names at least one boundary", "for example boundaries: ['corporate']")
    boundaries = tuple(names.label(each, "boundary") for each in args.boundaries)
    if not args.projects:
        for each in boundaries:
            project.policy.rule(each)
    projects = tuple(names.subject_token(each, "project") for each in args.projects) or (project.id,)
    caller.check_reach(projects, "the grant")
    now = project.clock.now()
    grant = Grant(
        id="g_" + hashlib.sha256(f"{caller.agent}:{caller.op}".encode()).hexdigest()[:16],
        user=args.user or caller.standing.user,
        role=Role.AGENT,
        projects=projects,
        agent_types=tuple(names.label(each, "agent type") for each in args.agent_types),
        boundaries=boundaries,
        capabilities=tuple(names.label(each, "capability") for each in args.capabilities),
        granted_at=now,
        expires_at=times.instant(args.expires, now, past=False) if args.expires else None,
        by=caller.standing.user,
    )
    await project.authority.grant(grant)
    project.crowd.touch_all()
    project.polls.look_all()
    return _view(grant)


async def list_grants(project: Project, caller: Caller, args: ListGrants) -> Grants:
    """Return the grants that concern the project."""
    return Grants(grants=tuple(_view(grant) for grant in project.authority.grants(project.id)))


async def revoke_grant(project: Project, caller: Caller, args: RevokeGrant) -> GrantView:
    """Take a grant back; claims made under it go on, new ones are refused.

    Raises: NotFound; Forbidden if it holds in projects that are not the caller's.
    """
    known = next((each for each in project.authority.grants(project.id) if each.id == args.id), None)
    if known is not None:
        caller.check_reach(known.projects, f"grant {known.id}")
    elif caller.projects:
        raise NotFound(f"there is no grant {names.shown(args.id)} in this project", "list_grants shows them")
    grant = await project.authority.revoke_grant(args.id)
    project.crowd.touch_all()
    return _view(grant)


async def revoke_agent(project: Project, caller: Caller, args: RevokeAgent) -> Revoked:
    """Cut an agent off: it is told, its credential is void, its connection ends, its claims are handed back.

    A guid names also one that hides, or that has done nothing but enrol. Raises: NotFound.
    """
    agent = args.guid if names.AGENT_ID.fullmatch(args.guid) else resolve(project, caller, args.guid).id
    await project.authority.revoke_agent(project.id, agent, partial(last_word, project, agent, "it was cut off"))
    project.presence.left(agent, project.clock.monotonic())
    await hand_back(project, agent, "its agent was cut off")
    return Revoked(guid=agent)


async def shutdown_agent(project: Project, caller: Caller, args: ShutdownAgent) -> ShuttingDown:
    """Have an agent end by itself; asked again, it keeps the time that it was given first.

    Raises: NotFound, also for an agent that is not there any more.
    """
    agent = args.guid if names.AGENT_ID.fullmatch(args.guid) else resolve(project, caller, args.guid).id
    if project.presence.is_gone(agent, project.clock.monotonic(), project.timings):
        raise NotFound(f"agent {names.shown(args.guid)} is not online", "discover_agents shows who is")
    await drain(project, agent, args.reason, args.grace_period_seconds if args.graceful else 0.0)
    return ShuttingDown(guid=agent, until=project.drains[agent].until)


def _view(grant: Grant) -> GrantView:
    return GrantView(
        id=grant.id,
        user=grant.user,
        projects=grant.projects,
        boundaries=grant.boundaries,
        every_boundary=grant.every_boundary,
        agent_types=grant.agent_types,
        capabilities=grant.capabilities,
        expires_at=grant.expires_at,
    )
