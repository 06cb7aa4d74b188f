"""Nudges: what the hub tells one agent at once. The truth is in the log; a lost nudge is only slower."""

from __future__ import annotations

from contextlib import suppress

from loominal.broker import subjects
from loominal.fabric.hub.project import Project
from loominal.fabric.protocol import PROTO, Control, ControlKind, encode
from loominal.model.errors import BrokerUnavailable
from loominal.model.times import Instant
from loominal.model.work import WorkItem


async def nudge(
    project: Project,
    agent: str,
    kind: ControlKind,
    item: WorkItem | None = None,
    note: str = "",
    *,
    item_id: str = "",
    token: int = 0,
    incarnation: str = "",
    until: Instant | None = None,
) -> None:
    """Tell the agent's process to look: its present one, unless an `incarnation` is named.

    `item_id` is for an item that the project does not know.
    """
    control = Control(
        proto=PROTO,
        kind=kind,
        incarnation=incarnation or project.presence.current(agent),
        item=item.id if item else item_id,
        lease_token=token or (item.token if item else 0),
        note=note,
        until=until,
    )
    try:
        await project.broker.publish(subjects.control(project.id, agent), encode(control))
    except BrokerUnavailable:
        return  # heartbeats and answers tell the same a little later


async def last_word(project: Project, agent: str, note: str) -> None:
    """Tell the agent's process that it is cut off, and return when the broker has that: its connection ends next."""
    await nudge(project, agent, ControlKind.REVOKED, note=note)
    with suppress(BrokerUnavailable):  # it is cut off all the same
        await project.broker.settle()
