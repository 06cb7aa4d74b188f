"""Receipts across projects: how far a message has come is told to the leader of its sender's project."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loominal.fabric.hub.abroad.directory import Place
from loominal.fabric.hub.abroad.naming import handle_abroad
from loominal.fabric.hub.abroad.publishing import is_public
from loominal.fabric.hub.abroad.questions import Tell, What
from loominal.model.errors import LoominalError

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


async def tell_senders(project: Project) -> None:
    """Let agents of other projects know of their messages to public agents of this one; every round calls it."""
    for each in project.inboxes.receipts.leaving():
        reader = project.agents.get(each.reader)
        if reader is None or not is_public(reader) or project.abroad is None or not project.policy.takes_part:
            continue
        tell = Tell(
            asker=project.id,
            sender=each.sender,
            generation=project.generation,
            sequence=each.sequence,
            receipt=each.receipt,
            reader=reader.handle,
            at=each.at,
        )
        with suppress(LoominalError):  # a convenience: nobody waits for it
            await project.abroad.tell(each.home, What.TELL, tell)


def take(project: Project, tell: Tell) -> None:
    """Note a receipt that another project tells of, for the agent of this one that sent the message."""
    known = project.abroad.directory.place(tell.asker) if project.abroad else None
    place = known or Place(project=tell.asker, title=tell.asker)
    reader = handle_abroad(project, tell.reader, place)
    project.inboxes.receipts.add(tell.sender, tell.sequence, tell.receipt, reader, tell.at, generation=tell.generation)
    project.wakes.wake(tell.sender)
