"""Handles: whose each is, how an agent gets one, and when one may be taken from another agent.

A handle's key is written first, the agent's record after; a handle is the agent's when both say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.broker.bucket import Deleted, Entry
from loominal.fabric.hub.agents.records import TRIES, identified, refresh, remember, save
from loominal.fabric.hub.agents.registry import handle_key
from loominal.fabric.hub.agents.visibility import user_of
from loominal.model import names
from loominal.model.agent import AgentRecord, HandleRecord
from loominal.model.errors import BrokerUnavailable, Conflict, HandleTaken
from loominal.model.record import encode

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project

KEPT = timedelta(days=30)  # a handle stays its agent's for so long after that was last online
SETTLED = timedelta(minutes=1)  # a key that no record bears by then was left behind by a write that never finished
STEM_CHARACTERS = 56  # leaves room for a number behind it


async def set_handle(project: Project, caller: Caller, wanted: str) -> AgentRecord:
    """Give the caller the handle `wanted` and return its record; the handle it had before becomes free.

    Taken over from an agent of the same user without a living process; that one gets a default handle.
    Raises: InvalidArgument, HandleTaken with a free suggestion, BrokerUnavailable.
    """
    names.handle(wanted)
    async with project.agents.naming(caller.agent):
        if not await _take(project, caller.agent, wanted, user_of(project, caller)):
            free = next(_free_handles(project, wanted, start=2))
            raise HandleTaken(f"handle {wanted!r} belongs to another agent", f"{free!r} is free")
        record = await _bear(project, caller, caller.agent, wanted)
    for other in project.agents.bearing(wanted):
        if other.id != caller.agent:
            await _give_default(project, caller, other.id, other.agent_type)
    return record


async def ensure_handle(project: Project, caller: Caller) -> AgentRecord:
    """Return the caller's record, with the handle it has or else a default one (`<client>-<directory>-<n>`)."""
    record = project.agents.get(caller.agent)
    if record is not None and project.agents.owns(caller.agent, record.handle):
        return record
    hello = project.presence.greeting(caller.agent)
    return await _give_default(project, caller, caller.agent, f"{hello.client}-{PurePath(hello.directory).name}")


async def _give_default(project: Project, caller: Caller, agent: str, stem: str) -> AgentRecord:
    """Give `agent` the first free handle that is `stem` and a number; one that it owns by now stays."""
    async with project.agents.naming(agent):
        record = project.agents.get(agent)
        if record is not None and project.agents.owns(agent, record.handle):
            return record
        handle = next(_free_handles(project, stem, start=1))
        while not await _take(project, agent, handle, None):
            handle = next(_free_handles(project, stem, start=1))
        return await _bear(project, caller, agent, handle)


def _free_handles(project: Project, stem: str, start: int) -> Iterator[str]:
    plain = names.handle_like(stem)[:STEM_CHARACTERS].rstrip("-")
    numbered = (f"{plain}-{number}" for number in count(start))
    return (handle for handle in numbered if _is_free(project, handle))


def _is_free(project: Project, handle: str) -> bool:
    holder = project.agents.holder(handle)
    return holder is None or _may_be_taken(project, handle, holder, None)


def _may_be_taken(project: Project, handle: str, holder: HandleRecord, user: str | None) -> bool:
    """Return whether a new agent (of `user`, if it asks for this very handle) may have what `holder` has."""
    record, now = project.agents.get(holder.agent), project.clock.now()
    if record is None or record.handle != handle:
        return now - holder.at > SETTLED
    if not project.presence.is_gone(holder.agent, project.clock.monotonic(), project.timings):
        return False
    online_at = max(holder.at, record.last_online_at or holder.at)
    return record.user == user or now - online_at > KEPT


async def _take(project: Project, agent: str, handle: str, user: str | None) -> bool:
    """Make the handle's key name `agent`; return False if it belongs to another agent."""
    key = handle_key(handle)
    for _ in range(TRIES):
        holder = project.agents.holder(handle)
        if holder is not None and holder.agent == agent:
            return True
        if holder is not None and not _may_be_taken(project, handle, holder, user):
            return False
        value = encode(HandleRecord(agent=agent, at=project.clock.now()))
        try:
            revision = await project.bucket.write(key, value, revision=project.agents.handle_revision(handle))
        except Conflict:
            await refresh(project, key)
            continue
        remember(project, Entry(key=key, value=value, revision=revision))
        return True
    raise BrokerUnavailable(f"handle {handle!r} changes faster than it can be written")


async def _bear(project: Project, caller: Caller, agent: str, handle: str) -> AgentRecord:
    """Write `handle`, whose key names `agent`, into the agent's record, and free the handles it had before."""

    def change(record: AgentRecord) -> AgentRecord:
        known = identified(project, caller, record) if agent == caller.agent else record
        return replace(known, handle=handle)

    saved = await save(project, agent, change, op=caller.op)
    for old in project.agents.handles_of(agent) - {handle}:
        await _free(project, old)
    return saved.after


async def _free(project: Project, handle: str) -> None:
    """Delete the handle's key, unless somebody else has just taken it."""
    key = handle_key(handle)
    try:
        revision = await project.bucket.delete(key, revision=project.agents.handle_revision(handle))
    except Conflict:
        await refresh(project, key)
        return
    remember(project, Deleted(key=key, revision=revision))
