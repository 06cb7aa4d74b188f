"""Offering: one item, or the lines of a file in their order, and what is printed of it. `shuttle submit` calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import BroadcastWorkOffer, Offered, OfferPreview
from loominal.model.errors import LoominalError
from loominal.model.work import WAITING
from loominal.shuttle.offering.offers import Line, Wrong, refusal
from loominal.shuttle.offering.prospects import of_many, of_targets, outlook, whereabouts
from loominal.shuttle.tables import Column, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.shuttle.fleet import Fleet

AT_ONCE = 100  # lines that are checked at the same time
MANY = 50  # items, above which one is told how far it is: after so many, and at most twenty times
PLAN = (
    Column("TASK", 3), status(), Column("PRIORITY"), Column("CAPABILITIES", 2), Column("BOUNDARY", 1),
    Column("CAN TAKE IT"), Column("DESCRIPTION", 4),
)  # fmt: skip


class Items(View, frozen=True, kw_only=True):
    """What became of the lines of a file."""

    items: tuple[View, ...]


class Planned(View, frozen=True, kw_only=True):
    """What would be offered, and what would come of it."""

    offer: BroadcastWorkOffer
    preview: OfferPreview


def offer_one(fleet: Fleet, offer: BroadcastWorkOffer, *, document: bool) -> Offered:
    """Offer an item and say who can take it, or why nobody can and who else could.

    Its id is printed, or as JSON, if this `document` is wanted, the answer.
    """

    async def ask(agent: Agent) -> Offered:
        offered = await _offer(agent, offer)
        if not fleet.wants_json:
            click.echo(offered.id)
        said = [f"it was offered before: {offered.id}"] if offered.duplicate else []
        said.append(outlook(offered))
        if offered.status in WAITING and not offered.eligible:
            try:
                said += await whereabouts(agent, offer)
                if not offered.spin_up_triggered:
                    said += of_targets((await agent.explain_work(offered.id)).targets)
            except LoominalError as error:  # it is offered all the same
                said.append(f"who else could is not known: {error.message}")
        for line in said:
            fleet.say(line)
        return offered

    offered = fleet.run(ask, acts=True)
    if document and fleet.wants_json:
        fleet.show_json(offered)
    return offered


def offer_lines(fleet: Fleet, lines: Sequence[Line], name: str, *, document: bool) -> list[Offered]:
    """Offer the lines of the file `name` in their order, after a look whether one would be refused.

    The ids are printed, or as JSON, if this `document` is wanted, the answers. If it ends in between, what was offered
    is shown, and said. Raises: what would be refused, as one error.
    """
    taken: list[Offered] = []

    async def ask(agent: Agent) -> None:
        for line in lines:
            offered = await _offer(agent, line.offer)
            taken.append(offered)
            if not fleet.wants_json:
                click.echo(offered.id)
            if len(taken) % max(MANY, len(lines) // 20) == 0 and len(taken) < len(lines):
                fleet.say(f"{len(taken)} of {len(lines)} are offered")

    fleet.run(lambda agent: _previews(agent, lines, name))
    try:
        fleet.run(ask, acts=True)
    finally:
        cut_short = len(taken) < len(lines)
        if fleet.wants_json and (document or cut_short):
            fleet.show_json(Items(items=tuple(taken)))
        if cut_short:
            what = f"{len(taken)} of {len(lines)} items are offered, but not line {lines[len(taken)].number}"
            click.echo(f"shuttle: {what}; the same command again goes on there, and offers none twice", err=True)
    for told in of_many(taken):
        fleet.say(told)
    return taken


def show_plan(fleet: Fleet, lines: Sequence[Line], name: str) -> None:
    """Show what would be offered, and who can take it; nothing is offered. Raises: what would be refused."""

    async def ask(agent: Agent) -> list[OfferPreview]:
        previews = await _previews(agent, lines, name)
        if len(lines) == 1:
            fleet.say(outlook(previews[0]))
            if previews[0].status in WAITING and not previews[0].eligible:
                for line in [*await whereabouts(agent, lines[0].offer), *of_targets(previews[0].targets)]:
                    fleet.say(line)
        return previews

    previews = fleet.run(ask)
    planned = [Planned(offer=line.offer, preview=preview) for line, preview in zip(lines, previews, strict=True)]
    rows = [
        (
            offer.task_id, "blocked" if line.after else preview.status, offer.priority, offer.capabilities,
            offer.boundary, preview.eligible or "nobody", offer.description,
        )
        for line, (offer, preview) in zip(lines, ((each.offer, each.preview) for each in planned), strict=True)
    ]  # fmt: skip
    fleet.show(Items(items=tuple(planned)), PLAN, rows, "no work")


async def _offer(agent: Agent, offer: BroadcastWorkOffer) -> Offered:
    offered = await agent.call("broadcast_work_offer", offer)
    assert isinstance(offered, Offered)
    return offered


async def _previews(agent: Agent, lines: Sequence[Line], name: str) -> list[OfferPreview]:
    """Return what would come of each line. Raises: what is wrong with some, as one error."""
    previews: list[OfferPreview] = []
    wrong: list[Wrong] = []
    for first in range(0, len(lines), AT_ONCE):
        part = lines[first : first + AT_ONCE]
        asked = (agent.preview_work_offer(line.alone) for line in part)
        for line, found in zip(part, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(found, OfferPreview):
                previews.append(found)
            elif isinstance(found, LoominalError) and line.number:
                wrong.append(Wrong(line.number, found))
            else:
                raise found
    if wrong:
        raise refusal(wrong, name)
    return previews
