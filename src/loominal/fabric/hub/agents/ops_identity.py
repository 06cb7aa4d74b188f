"""Who am I: hello, handles, and `join`, the one call that starts everything."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from loominal.fabric.hub.agents import handles
from loominal.fabric.hub.agents.control import nudge
from loominal.fabric.hub.agents.ops_registry import bounds_of, enter
from loominal.fabric.hub.agents.records import identified, save
from loominal.fabric.hub.agents.views import agent_view
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.arrivals import arriving
from loominal.fabric.hub.talk.ops_channels import list_channels
from loominal.fabric.hub.talk.ops_inbox import peek
from loominal.fabric.hub.work.views import adopted, claims_of, held, ready_for
from loominal.fabric.operations.channels import ListChannels
from loominal.fabric.operations.identity import (
    GetMyHandle,
    HandleSet,
    Hello,
    Join,
    Joined,
    MyHandle,
    SetHandle,
    Welcome,
)
from loominal.fabric.operations.inbox import NOTICE
from loominal.fabric.operations.registry import RegisterAgent
from loominal.fabric.protocol import PROTO, PROTO_MIN, ControlKind
from loominal.model.agent import AgentRecord
from loominal.model.names import has_control

TEXT_CHARACTERS = 100  # what a process says of itself is cut to this
REMEMBERED = timedelta(days=1)  # how old the kept time of an agent's last sign of life may grow while it is online
MESSAGES_SHOWN, READY_SHOWN, CHANNELS_SHOWN = 5, 5, 10


async def hello(project: Project, caller: Caller, args: Hello) -> Welcome:
    """Take the caller's process as the agent's from now on, and tell it where it is."""
    welcome = await meet(project, caller, args)
    if project.agents.get(caller.agent) is not None:
        await save(project, caller.agent, lambda record: _greeted(project, caller, record), op=caller.op)
    if not args.adopts:
        return welcome
    return replace(welcome, claims=tuple([held(item) async for item in adopted(project, caller)]))


async def meet(project: Project, caller: Caller, args: Hello) -> Welcome:
    """Do the part of `hello` that writes nothing."""
    said = Hello(
        client=_one_line(args.client)[:TEXT_CHARACTERS],
        hostname=_one_line(args.hostname)[:TEXT_CHARACTERS],
        directory=_one_line(args.directory)[-TEXT_CHARACTERS:],
        user=_one_line(args.user)[:TEXT_CHARACTERS],
        person=args.person,
    )
    if old := project.presence.hello(caller.agent, caller.incarnation, said, project.clock.monotonic()):
        note = "another process speaks for this agent now"
        await nudge(project, caller.agent, ControlKind.SUPERSEDED, note=note, incarnation=old)
    return Welcome(
        guid=caller.agent,
        project_id=project.id,
        project=project.title,
        generation=project.generation,
        proto_min=PROTO_MIN,
        proto=PROTO,
        heartbeat_seconds=project.timings.heartbeat_seconds,
        lease_seconds=project.timings.lease_seconds,
    )


async def set_handle(project: Project, caller: Caller, args: SetHandle) -> HandleSet:
    """Give the caller a handle."""
    record = await handles.set_handle(project, caller, args.handle)
    return HandleSet(handle=record.handle, guid=record.id)


async def get_my_handle(project: Project, caller: Caller, _args: GetMyHandle) -> MyHandle:
    """Return who the caller is; who has no handle gets its default one."""
    record = await handles.ensure_handle(project, caller)
    return MyHandle(
        handle=record.handle,
        guid=record.id,
        project_id=project.id,
        project=project.title,
        registered=record.registered,
    )


async def join(project: Project, caller: Caller, args: Join) -> Joined:
    """Register the caller, by default as it was before, and return what waits for it."""
    async with arriving(project, caller):
        record = await enter(project, caller, _registration(project, caller, args))
    share = replace(caller, limit_bytes=caller.limit_bytes // 4)  # for each of what may be long
    unread, messages = await peek(project, share, MESSAGES_SHOWN)
    claims = tuple(fitting(await claims_of(project, share), share.limit_bytes))
    ready = tuple(fitting(ready_for(project, share, READY_SHOWN), share.limit_bytes))
    channels = (await list_channels(project, caller, ListChannels())).channels[:CHANNELS_SHOWN]
    return Joined(
        agent=agent_view(project, record, metadata_bytes=share.limit_bytes // 4),
        unread=unread,
        messages=messages,
        claims=claims,
        ready=ready,
        channels=channels,
        note=_note(len(messages), len(claims), len(ready)),
    )


def _registration(project: Project, caller: Caller, args: Join) -> RegisterAgent:
    """Return `args` with what was left out as it was last registered, as far as the grants cover it."""
    last = project.agents.get(caller.agent) or AgentRecord(id=caller.agent, handle="")
    client = project.presence.greeting(caller.agent).client
    bounds = bounds_of(project, caller)
    agent_type = bounds.agent_type(args.agent_type or client or last.agent_type or "agent")
    boundaries = args.boundaries
    if boundaries is None and last.agent_type:  # it was registered before
        boundaries = tuple(each for each in bounds.boundaries(agent_type, None) if each in last.boundaries)
    return RegisterAgent(
        agent_type=agent_type,
        capabilities=last.capabilities if args.capabilities is None else args.capabilities,
        boundaries=boundaries,
        handle=args.handle,
        visibility=bounds.visibility(agent_type, args.visibility, last.visibility),
        max_concurrent=last.max_concurrent,
        metadata=last.metadata,
    )


def _greeted(project: Project, caller: Caller, record: AgentRecord) -> AgentRecord:
    known, now = identified(project, caller, record), project.clock.now()
    if known.last_online_at is not None and now - known.last_online_at < REMEMBERED:
        return known
    return replace(known, last_online_at=now)


def _one_line(text: str) -> str:
    return "".join(char for char in text if not has_control(char)).strip()


def _note(messages: int, claims: int, ready: int) -> str:
    """Return in one sentence what to do next."""
    if claims:
        return f"You hold work already: finish it with complete_work, fail_work or release_work.{_warning(messages)}"
    if ready:
        return f"Work is ready for you: take it with claim_work.{_warning(messages)}"
    if messages:
        return f"Read your messages and act on what your own task allows.{_warning(messages)}"
    return "Nothing waits for you: call wait_for_events or claim_work with waitSeconds; do not poll."


def _warning(messages: int) -> str:
    return f" The messages are {NOTICE}." if messages else ""
