"""Registering, presence, discovery: what agents say of themselves and what others find."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from loominal.fabric.hub.abroad import elsewhere, publishing
from loominal.fabric.hub.agents import handles
from loominal.fabric.hub.agents.admission import Bounds
from loominal.fabric.hub.agents.events_log import EventKind, record_event
from loominal.fabric.hub.agents.listing import VIEW_PLACE, Place, page
from loominal.fabric.hub.agents.records import Saved, identified, save
from loominal.fabric.hub.agents.registry import Facet
from loominal.fabric.hub.agents.views import agent_view
from loominal.fabric.hub.agents.visibility import find, sees, user_of
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.arrivals import arriving, target_of
from loominal.fabric.hub.work.judging import hand_back
from loominal.fabric.operations.registry import (
    AgentView,
    DeregisterAgent,
    Deregistered,
    DiscoverAgents,
    Discovered,
    GetAgentInfo,
    Presence,
    PresenceUpdated,
    RegisterAgent,
    Registered,
    Scope,
    UpdatePresence,
)
from loominal.fabric.protocol import encode
from loominal.model.agent import AgentRecord, AgentStatus
from loominal.model.cursor import cursor, position
from loominal.model.errors import BadCursor, NotRegistered
from loominal.model.grant import Role


async def register_agent(project: Project, caller: Caller, args: RegisterAgent) -> Registered:
    """Register the caller, or change what it is registered as."""
    async with arriving(project, caller):
        record = await enter(project, caller, args)
    return Registered(
        guid=record.id,
        handle=record.handle,
        agent_type=record.agent_type,
        capabilities=record.capabilities,
        boundaries=record.boundaries,
        visibility=record.visibility,
        hostname=record.hostname,
        project_id=project.id,
    )


async def enter(project: Project, caller: Caller, args: RegisterAgent) -> AgentRecord:
    """Return the caller's record, registered as `args` says within its grants.

    Raises: InvalidArgument, TooLarge, Forbidden, BoundaryRefused, HandleTaken, BrokerUnavailable.
    """
    bounds = bounds_of(project, caller)
    agent_type = bounds.agent_type(args.agent_type)
    boundaries = bounds.boundaries(agent_type, args.boundaries)
    capabilities = bounds.capabilities(agent_type, boundaries, args.capabilities)
    visibility = bounds.visibility(agent_type, args.visibility, args.visibility)
    if args.handle is None:
        await handles.ensure_handle(project, caller)
    else:
        await handles.set_handle(project, caller, args.handle)

    def register(record: AgentRecord) -> AgentRecord:
        return replace(
            identified(project, caller, record),
            registered=True,
            agent_type=agent_type,
            capabilities=capabilities,
            boundaries=boundaries,
            visibility=visibility,
            max_concurrent=args.max_concurrent,
            metadata=args.metadata,
            status=AgentStatus.ONLINE,
            task_count=0,
        )

    saved = await save(project, caller.agent, register, op=caller.op)
    await publishing.publish(project, saved.after)
    await _tell(project, saved, EventKind.AGENT_UPDATED if saved.before.registered else EventKind.AGENT_REGISTERED)
    return saved.after


def bounds_of(project: Project, caller: Caller) -> Bounds:
    """Return what bounds the caller's own word now."""
    standing = caller.standing
    return Bounds(
        grants=standing.grants,
        policy=project.policy,
        project=project.id,
        now=project.clock.now(),
        may_be_person=standing.role is Role.OPERATOR or project.authority.open_mode,
        target=target_of(project, caller),
    )


async def update_presence(project: Project, caller: Caller, args: UpdatePresence) -> PresenceUpdated:
    """Change what the caller says of itself; what is left out stays.

    Who says offline is not found and given no work until it says otherwise or registers again; its claims go on.
    """
    bounds = bounds_of(project, caller)

    def change(record: AgentRecord) -> AgentRecord:
        if not record.registered:
            raise NotRegistered(f"{project.agents.shown(caller.agent)} is not registered")
        wanted = record.capabilities if args.capabilities is None else args.capabilities
        return replace(
            record,
            status=record.status if args.status is None else args.status,
            task_count=record.task_count if args.current_task_count is None else args.current_task_count,
            capabilities=bounds.capabilities(record.agent_type, record.boundaries, wanted),
        )

    saved = await save(project, caller.agent, change, op=caller.op)
    await _tell(project, saved, EventKind.AGENT_UPDATED)
    return PresenceUpdated(before=_presence(saved.before), after=_presence(saved.after))


async def deregister_agent(project: Project, caller: Caller, _args: DeregisterAgent) -> Deregistered:
    """Take the caller out of the registry, its handle apart, and hand back at once what it holds."""
    record = project.agents.get(caller.agent)
    if record is None or not (record.registered or record.op == caller.op):
        raise NotRegistered(f"{project.agents.shown(caller.agent)} is not registered")
    saved = await save(project, caller.agent, lambda each: replace(each, registered=False), op=caller.op)
    await publishing.publish(project, saved.after)
    released = await hand_back(project, caller.agent, "its agent deregistered")
    await _tell(project, saved, EventKind.AGENT_SHUTDOWN)
    return Deregistered(guid=caller.agent, released=tuple(released))


async def get_agent_info(project: Project, caller: Caller, args: GetAgentInfo) -> AgentView:
    """Return one agent, registered or not, with its metadata unless that is too long for the answer.

    One of another project is found while it is public and both projects take part.
    """
    record, room = find(project, caller, args.guid), caller.limit_bytes // 3
    if record is None:
        return (await elsewhere.see(project, args.guid, metadata_bytes=room)).agent
    return agent_view(project, record, metadata_bytes=room)


async def discover_agents(project: Project, caller: Caller, args: DiscoverAgents) -> Discovered:
    """Return the registered agents that all filters hold for, the caller among them, by handle.

    Those of the whole fabric, if that is the scope: beside this project's own the public ones of all that take part.
    """
    query = encode(replace(args, limit=20, cursor=None)).decode()
    after = _after(args.cursor, query, project.generation)
    mine = {Facet.USER: user_of(project, caller)} if args.scope is Scope.MINE else {}
    found, note = page(project, args, partial(sees, project, caller), after, caller.limit_bytes, beside=mine), None
    if args.scope is Scope.FABRIC:
        found, note = await elsewhere.with_others(project, args, after, caller.limit_bytes, found)
    last = cursor(query, project.generation, *VIEW_PLACE(found.agents[-1])) if found.more else None
    return Discovered(agents=found.agents, total=found.total, next_cursor=last, note=note)


def _after(text: str | None, query: str, generation: str) -> Place:
    if text is None:
        return "", ""
    match position(text, query, generation):
        case (str(handle), str(agent)):
            return handle, agent
    raise BadCursor("this cursor was not made by discover_agents")


def _presence(record: AgentRecord) -> Presence:
    return Presence(status=record.status, current_task_count=record.task_count, capabilities=record.capabilities)


async def _tell(project: Project, saved: Saved, kind: EventKind) -> None:
    """Record the event of a change, unless nothing changed."""
    if saved.after != saved.before:
        await record_event(project, kind, agent_view(project, saved.after))
