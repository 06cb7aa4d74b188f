"""The leader's judgements: which claims have lapsed, timed out, stalled, were never heard of, or must be fenced.

`rounds.py` calls it, as of an instant until which the leader could listen all the time: a frozen leader judges nobody.
"""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from datetime import timedelta

from loominal.fabric.hub.agents.control import nudge
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.leases import Lease
from loominal.fabric.hub.work.matching import look_again, offer
from loominal.fabric.hub.work.moving import move
from loominal.fabric.protocol import ControlKind
from loominal.model.errors import BrokerUnavailable, IllegalMove, LoominalError, NotFound
from loominal.model.lifecycle import LAPSE_DELAY_SECONDS, backoff_seconds
from loominal.model.moves import AskCancel, Cancel, Expire, Lapse, Release, TimeOut, WorkEvent
from loominal.model.work import ENDED, Status, WorkItem

log = logging.getLogger(__name__)


async def judge(project: Project, now: float) -> None:
    """Do one round over the claims and the waiting items, as of `now`, until when everybody was heard (`Pulse`)."""
    for lease in project.leases:
        if event := verdict(project, lease, now):
            await _carry_out(project, lease, event)
    await _stalled(project, now)
    await _expire(project)


def verdict(project: Project, lease: Lease, now: float) -> WorkEvent | None:
    """Return what has to happen to a claim at `now`, None if it lives on."""
    entry, times = project.book.get(lease.item), project.timings
    if entry is None or entry.item.status is not Status.CLAIMED or entry.item.token != lease.token:
        return None
    item, jitter = entry.item, random.uniform(-1, 1)
    if project.authority.is_cut_off(lease.agent):
        return Release(by=lease.agent, token=lease.token, reason="its agent was cut off")
    if project.presence.has_left(lease.agent, now, times):
        return Release(by=lease.agent, token=lease.token, reason="its agent left")
    if project.presence.seen_to_end(lease.agent, now, times):
        return Lapse(seen_to_end=True, delay_seconds=LAPSE_DELAY_SECONDS * times.pace)
    if now - lease.renewed_at > times.lease_seconds:
        return Lapse(delay_seconds=LAPSE_DELAY_SECONDS * times.pace)
    if project.leases.unnamed(lease, times.unheard_claim_seconds):
        return Release(by=lease.agent, token=lease.token, reason="its holder does not know of it")
    if project.clock.settled and item.timeout_at and item.timeout_at <= project.clock.now():
        seconds = f"{item.timeout_seconds:g} s"
        return TimeOut(error=f"not done within {seconds}", delay_seconds=_backoff(project, item, jitter))
    if project.clock.settled and _asked_long_ago(project, item):
        return Cancel(reason=item.cancel_reason)
    idle_seconds = project.policy.hand_back_seconds * times.pace
    if now - lease.active_at > idle_seconds:
        return TimeOut(error=f"no sign of work for {idle_seconds:g} s", delay_seconds=_backoff(project, item, jitter))
    return None


async def hand_back(project: Project, agent: str, reason: str) -> list[str]:
    """Hand back at once whatever `agent` holds; return the items' ids. No attempt is counted."""
    released = []
    for item_id in list(project.book.held_by.get(agent, ())):
        token = project.book.find(item_id).item.token
        try:
            await move(project, item_id, Release(by=agent, token=token, reason=reason))
            released.append(item_id)
        except (IllegalMove, NotFound):
            continue  # it ended in this very moment
    return released


async def cancel(project: Project, item: WorkItem, by: str, op: str, reason: str) -> WorkItem:
    """Call an item off: at once while it waits, by asking its holder first while it is claimed."""
    while True:
        claimed = item.status is Status.CLAIMED
        event = AskCancel(by=by, op=op, reason=reason) if claimed else Cancel(by=by, op=op, reason=reason)
        try:
            called_off = (await move(project, item.id, event)).item
        except IllegalMove:
            item = project.book.find(item.id).item
            if item.status in ENDED or (item.status is Status.CLAIMED) is claimed:
                raise
            continue  # it was claimed, or handed back, in this very moment
        if called_off.status is Status.CLAIMED:
            await nudge(project, called_off.claimed_by, ControlKind.CANCEL, called_off, reason)
        return called_off


async def wake_due(project: Project) -> None:
    """Offer what has become ready by time, and what still waits although somebody polls for it."""
    notice_due(project)
    if len(project.book.ready):
        look_again(project)


def notice_due(project: Project) -> None:
    """Offer what has become ready by time."""
    for item_id in project.book.due(project.clock.now()):
        if entry := project.book.get(item_id):
            offer(project, entry.item)
            project.movements.note(item_id)
            project.wakes.wake(item_id)


async def _carry_out(project: Project, lease: Lease, event: WorkEvent) -> None:
    try:
        entry = await move(project, lease.item, event)
    except (IllegalMove, NotFound):
        return  # the holder was quicker
    except BrokerUnavailable:
        raise
    except LoominalError as error:  # this item cannot be moved now; the others can
        log.warning("%s: no %s yet: %s", lease.item, event.move, error, extra={"work": lease.item})
        return
    about = {"work": lease.item, "agent": lease.agent}
    log.info("%s: %s of %s's claim, now %s", lease.item, event.move, lease.agent, entry.item.status, extra=about)
    if not isinstance(event, Lapse):  # a lapsed holder may come back, and learns from its next heartbeat if it cannot
        await nudge(project, lease.agent, ControlKind.LEASE_LOST, entry.item, event.note, token=lease.token)


async def _stalled(project: Project, now: float) -> None:
    """Wake the holders of claims about which nothing was done for long."""
    limit = project.policy.stalled_seconds * project.timings.pace
    for lease in project.leases:
        if not lease.nudged and now - lease.active_at > limit:
            lease.nudged = True
            if entry := project.book.get(lease.item):
                await nudge(project, lease.agent, ControlKind.STALLED, entry.item, "nothing was heard of it for long")
                project.wakes.wake(lease.agent)


async def _expire(project: Project) -> None:
    if not project.clock.settled:
        return
    expired = project.book.expired(project.clock.now())
    try:
        while expired:
            with suppress(IllegalMove, NotFound):  # it was claimed, or ended, in this very moment
                await move(project, expired[-1], Expire())
            expired.pop()
    finally:
        for item_id in expired:
            project.book.watch_deadline(item_id)


def _asked_long_ago(project: Project, item: WorkItem) -> bool:
    asked = item.cancel_asked_at
    return asked is not None and asked + timedelta(seconds=project.timings.cancel_seconds) < project.clock.now()


def _backoff(project: Project, item: WorkItem, jitter: float) -> float:
    return backoff_seconds(item.attempt, jitter) * project.timings.pace
