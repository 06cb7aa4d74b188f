"""Agents' records in the bucket: the one way to change them, so that overlapping requests lose no update."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.bucket import Deleted, Entry
from loominal.fabric.hub.agents.registry import AGENT, agent_key
from loominal.fabric.hub.agents.visibility import user_of
from loominal.model.agent import AgentRecord
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord
from loominal.model.record import encode

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project

TRIES = 40  # an agent has 32 requests in flight; a lost round means that another one was written

Change = Callable[[AgentRecord], AgentRecord]


class Saved(NamedTuple):
    """A record as it was before a change, and as it is now."""

    before: AgentRecord
    after: AgentRecord


async def save(project: Project, agent: str, change: Change, *, op: str) -> Saved:
    """Change the agent's record as `change` says; it is asked again with the newer record when somebody wrote first.

    A change that is there already is not written, so the same operation again has one effect. An agent without a
    record starts from an empty one.
    Raises: BrokerUnavailable (it may be written all the same), and what `change` raises.
    """
    key = agent_key(agent)
    for _ in range(TRIES):
        stored = project.agents.stored(agent)
        before = stored.value if stored else AgentRecord(id=agent, handle="")
        after = change(before)
        if stored and after == before:
            return Saved(before, after)
        value = encode(replace(after, op=op), stored.extra if stored else None)
        try:
            revision = await project.bucket.write(key, value, revision=project.agents.revision(agent))
        except Conflict:
            await refresh(project, key)
            continue
        remember(project, Entry(key=key, value=value, revision=revision))
        return Saved(before, replace(after, op=op))
    raise BrokerUnavailable(f"the record of agent {agent} changes faster than it can be written")


def identified(project: Project, caller: Caller, record: AgentRecord) -> AgentRecord:
    """Return the caller's `record` with what is known of its process: whose it is, where it runs, what started it."""
    hostname = project.presence.greeting(caller.agent).hostname or record.hostname
    return replace(record, user=user_of(project, caller), hostname=hostname, launch=caller.standing.launch)


async def refresh(project: Project, key: str) -> None:
    """Read a key anew into memory, noting one that cannot be read. Raises: BrokerUnavailable."""
    entry = await project.bucket.get(key)
    if entry is None:
        project.agents.absent(key)
        project.crowd.touch(key.partition(".")[2])
    else:
        remember(project, entry)


def remember(project: Project, change: Entry | Deleted) -> None:
    """Take a change of the bucket into memory; one that cannot be read is noted and passed over."""
    subject = subjects.bucket_subject(subjects.registry_bucket(project.id), change.key)
    kind, _, name = change.key.partition(".")
    if kind == AGENT:
        project.crowd.touch(name)
        project.polls.room(name)  # it may be registered for more
    project.corrupt.pop(subject, None)
    try:
        project.agents.apply(change)
    except CorruptRecord as error:
        project.note_corrupt(subject, error)
