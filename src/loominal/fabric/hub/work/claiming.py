"""claim_work: match an agent's poll with what is ready, by compare-and-set; hold the poll while nothing is."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from loominal.fabric.hub.agents.candidates import candidate_of, rivals
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import Entry
from loominal.fabric.hub.work.moving import move
from loominal.fabric.hub.work.polls import Poll
from loominal.fabric.hub.work.views import why_nothing, work_view
from loominal.fabric.operations.work import AbandonClaim, ClaimAbandoned, Claimed, ClaimWork
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import names
from loominal.model.errors import BrokerUnavailable, IllegalMove, NotCapable, NotFound
from loominal.model.lifecycle import too_many_moves
from loominal.model.moves import Claim, Exhaust, Release
from loominal.model.routing import Route, claimable_after
from loominal.model.work import Status

UNSURE_SECONDS = 30.0  # an election among the servers takes 4 to 9 s
UNSURE_PAUSE_SECONDS = 0.2


async def claim_work(project: Project, caller: Caller, args: ClaimWork) -> Claimed:
    """Return what the caller now holds, waiting up to `wait_seconds` (at most POLL_SECONDS) for something ready.

    Asked again, it returns what it took then and is still held: nobody may be there any more to hear of anything new.
    """
    capability = names.label(args.capability, "capability") if args.capability is not None else None
    me = candidate_of(project, caller.agent)
    if capability is not None and me is not None and capability not in me.capabilities:
        raise NotCapable(f"you have not registered {args.capability!r}")
    taken = _claimed_before(project, caller)
    if not taken and not caller.again:
        taken = await _wait(project, caller, capability, args)
    work = [await work_view(project, caller, entry.item, caller.limit_bytes // len(taken)) for entry in taken]
    note = None if work else why_nothing(project, caller.agent, capability)
    return Claimed(work=tuple(work), note=note)


async def abandon_claim(project: Project, caller: Caller, args: AbandonClaim) -> ClaimAbandoned:
    """End a claim whose asker was cancelled, and hand back what it took; no attempt counts."""
    await project.polls.abandon(caller.agent, args.op)
    released = []
    for entry in _taken_by(project, caller.agent, args.op):
        event = Release(by=caller.agent, op=caller.op, token=entry.item.token, reason="the claim was cancelled")
        with suppress(IllegalMove, NotFound):  # it moved in this very moment
            released.append((await move(project, entry.item.id, event)).item.id)
    return ClaimAbandoned(released=tuple(released))


def _claimed_before(project: Project, caller: Caller) -> list[Entry]:
    """Return what this very request claimed when it was asked before: its answer was lost."""
    return _taken_by(project, caller.agent, caller.op)


def _taken_by(project: Project, agent: str, op: str) -> list[Entry]:
    held = (project.book.find(item_id) for item_id in project.book.held_by.get(agent, ()))
    return [entry for entry in held if entry.item.claim_op == op]


async def _wait(project: Project, caller: Caller, capability: str | None, args: ClaimWork) -> list[Entry]:
    clock, until = project.clock, project.clock.monotonic() + min(args.wait_seconds, POLL_SECONDS)
    poll = Poll(caller.agent, clock.monotonic(), caller.op)
    project.presence.polled(caller.agent, clock.monotonic())
    try:
        while True:
            project.polls.park(poll)
            poll.look.clear()
            if poll.abandoned:
                return []
            taken = await _take(project, caller, capability, args.limit)
            left = until - clock.monotonic()
            if taken or left <= 0 or caller.agent in project.drains:
                return taken
            try:
                async with asyncio.timeout(left):
                    await poll.look.wait()
            except TimeoutError:
                return []
            if project.presence.current(caller.agent) != caller.incarnation:
                return []  # nobody would hear the answer
    finally:
        project.polls.leave(poll)


async def _take(project: Project, caller: Caller, capability: str | None, limit: int) -> list[Entry]:
    """Claim up to `limit` of the best ready items that the caller may have now."""
    taken: list[Entry] = []
    while len(taken) < limit:
        item_id = _best(project, caller.agent, capability)
        if item_id is None:
            break
        project.book.ready.remove(item_id)  # nobody else is given it while this claim is written
        try:
            entry = await _claim(project, caller, item_id)
        except (IllegalMove, NotFound):
            continue  # it moved in this very moment; the book knows by now
        finally:
            project.book.put_back(item_id)
        if entry.item.status is Status.CLAIMED and entry.item.claim_op == caller.op:
            taken.append(entry)
    return taken


async def _claim(project: Project, caller: Caller, item_id: str) -> Entry:
    """Return the item as the claim left it. Raises: as `move`.

    If the broker did not say whether the claim is stored, that is found out before anything else is tried: the agent
    would hold an item that it is never told of. Its question again joins this one.
    """
    until = project.clock.monotonic() + UNSURE_SECONDS
    while True:
        try:
            if too_many_moves(project.book.find(item_id).item):
                return await move(project, item_id, Exhaust())
            return await move(project, item_id, Claim(by=caller.agent, op=caller.op, incarnation=caller.incarnation))
        except BrokerUnavailable:
            if project.clock.monotonic() >= until:
                raise
            await asyncio.sleep(UNSURE_PAUSE_SECONDS)


def _best(project: Project, agent: str, capability: str | None) -> str | None:
    me = candidate_of(project, agent)
    if me is None:
        return None
    now = project.clock.now()

    def after(route: Route) -> float | None:
        if capability is not None and capability not in route.capabilities:
            return None
        return claimable_after(route, me, project.policy, project.id, now, rivals(project, route))

    return project.book.ready.best(after, now)
