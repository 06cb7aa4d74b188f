"""Writing read marks: one compare-and-set for a read that changes something, and a flush for what requests told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from loominal.broker import subjects
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord, QuotaExceeded
from loominal.model.read_marks import ReadMarks, settle
from loominal.model.record import encode

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

TRIES = 5  # only another leader, or our own earlier write whose answer was lost, can come between
FLUSH_SECONDS = 3.0  # how long marks that only a request told may stay unwritten


async def change_marks(project: Project, agent: str, change: Callable[[ReadMarks], ReadMarks]) -> ReadMarks:
    """Return an agent's marks after `change`, written if anything is new; the caller has the box's turn.

    A store that is full does not stop reading: the marks stay in memory until they can be written.
    Raises: BrokerUnavailable; they may be written all the same.
    """
    inboxes, box = project.inboxes, project.inboxes.box(agent)
    for _ in range(TRIES):
        before = box.marks
        after = settle(change(before), box.trail.sequences, inboxes.intake.complete)
        if after == before and not box.unwritten:
            return after
        try:
            revision = await project.bucket.write(_key(agent), encode(after, box.extra), revision=box.revision)
        except Conflict:
            await _refresh(project, agent)
        except QuotaExceeded:
            inboxes.learn(agent, after)
            return after
        else:
            inboxes.wrote(agent, before, after, revision)
            return box.marks
    raise BrokerUnavailable(f"the read marks of agent {agent} change faster than they can be written")


async def flush(project: Project, *, at_once: bool = False) -> None:
    """Write the marks that requests told, every FLUSH_SECONDS; every round calls it. Raises: BrokerUnavailable."""
    now, inboxes = project.clock.monotonic(), project.inboxes
    if not at_once and now - inboxes.flushed_at < FLUSH_SECONDS:
        return
    inboxes.flushed_at = now
    for agent in inboxes.unwritten():
        async with inboxes.box(agent).turn:
            await change_marks(project, agent, lambda marks: marks)


async def _refresh(project: Project, agent: str) -> None:
    entry = await project.bucket.get(_key(agent))
    box = project.inboxes.box(agent)
    if entry is None:
        box.revision = 0
        return
    try:
        project.inboxes.apply_entry(entry)
    except CorruptRecord as error:
        project.note_corrupt(subjects.bucket_subject(project.bucket.name, entry.key), error)


def _key(agent: str) -> str:
    return f"in.{agent}"
