"""What agents of this project ask about those of others: seeing them, listing them, telling them.

The operations come here for whom they do not find at home. What comes back is what the other project's leader says.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loominal.fabric.hub.abroad.directory import Place
from loominal.fabric.hub.abroad.naming import meant
from loominal.fabric.hub.abroad.questions import Look, Looked, See, Seen, Take, Taken, What
from loominal.fabric.hub.agents.listing import VIEW_PLACE, Page, fitted
from loominal.fabric.hub.agents.visibility import nobody
from loominal.fabric.operations.registry import AgentView, DiscoverAgents
from loominal.model.agent import AgentStatus
from loominal.model.errors import InvalidArgument, LoominalError, NotFound
from loominal.model.names import shown

if TYPE_CHECKING:
    from loominal.fabric.hub.abroad.asking import Abroad
    from loominal.fabric.hub.project import Project

LOOK_SECONDS = 4.0  # for one project's part of a list: the others are not kept waiting for a dead leader's

log = logging.getLogger(__name__)

APART = "this project's policy keeps it to itself (crossProject)"


class Found(NamedTuple):
    """An agent of another project."""

    place: Place
    agent: AgentView


async def see(project: Project, text: str, *, metadata_bytes: int = 0) -> Found:
    """Return the public agent of another project that `text` names. Raises: as `place_of`."""
    abroad = _way_out(project, text)
    place = await place_of(project, text)
    seen = await abroad.ask(place.project, What.SEE, _see(project, text, metadata_bytes), Seen)
    if seen.agent is None:
        raise nobody(text)
    return Found(place, seen.agent)


async def place_of(project: Project, text: str) -> Place:
    """Return the project that is meant by a guid or `handle@project`, which is not known here.

    Raises: NotFound; InvalidArgument, naming the candidates, if projects that take part share the name; HubUnavailable.
    """
    abroad = _way_out(project, text)
    if not (places := meant(project, abroad.directory, text)):
        await abroad.directory.catch_up()  # it may have become public just now
        places = meant(project, abroad.directory, text)
    if len(places) > 1:
        places = await _taking_part(project, abroad, places, text)
    if not places:
        raise nobody(text)
    if len(places) > 1:
        name = text.strip().partition("@")[0]
        candidates = " or ".join(f"{name}@{place.project}" for place in places)
        raise InvalidArgument(f"{shown(text)} may be of {len(places)} projects", f"name one by its id: {candidates}")
    return places[0]


async def with_others(
    project: Project, args: DiscoverAgents, after: tuple[str, str], limit_bytes: int, own: Page
) -> tuple[Page, str | None]:
    """Return the page of the whole fabric's list that begins like `own`, this project's part of it.

    And, in words, why some may be missing.
    """
    if project.abroad is None or not project.policy.takes_part:
        return own, APART
    abroad = project.abroad
    await abroad.directory.catch_up()
    offline_too = args.include_offline or args.status is AgentStatus.OFFLINE
    places = [each for each in abroad.directory.places() if each.project != project.id and (each.awake or offline_too)]
    filters = msgspec.structs.replace(args, cursor=None)
    question = Look(asker=project.id, filters=filters, after=after, limit_bytes=limit_bytes)
    answers = await asyncio.gather(*(_look(abroad, place, question) for place in places))
    parts = [own, *(Page(part.agents, part.total, part.more) for part in answers if part is not None)]
    note = f"of {missing} other projects it is not known who is there" if (missing := answers.count(None)) else None
    return merged(parts, args.limit, limit_bytes), note


def merged(parts: list[Page], limit: int, limit_bytes: int) -> Page:
    """Return the page that `parts`, pages of several projects, make together.

    Nothing is taken that lies behind the end of a part of which more follows: what is between would be passed over.
    """
    total = sum(part.total for part in parts)
    ends = [VIEW_PLACE(part.agents[-1]) for part in parts if part.more]
    everybody = [agent for part in parts for agent in part.agents]
    near = [agent for agent in everybody if not ends or VIEW_PLACE(agent) <= min(ends)]
    fit = fitted(heapq.nsmallest(limit, near, key=VIEW_PLACE), limit_bytes)
    return Page(fit, total, bool(fit) and (bool(ends) or len(everybody) > len(fit)))


async def send(project: Project, take: Take) -> tuple[Place, Taken]:
    """Have the leader of another project put a message into the inbox of its agent, once for each dedupe id.

    Raises: NotFound (recipient, replyTo), InboxFull, QuotaExceeded, InvalidArgument, HubUnavailable.
    """
    abroad = _way_out(project, take.text)
    place = await place_of(project, take.text)
    return place, await abroad.ask(place.project, What.TAKE, take, Taken)


def _way_out(project: Project, text: str) -> Abroad:
    """Return the way to other projects. Raises: NotFound if this one does not take part."""
    if project.abroad is None or not project.policy.takes_part:
        raise nobody(text)
    return project.abroad


async def _taking_part(project: Project, abroad: Abroad, places: list[Place], text: str) -> list[Place]:
    """Return those of `places` that take part: the names of others are nobody's business."""

    async def takes_part(place: Place) -> bool:
        try:
            await abroad.ask(place.project, What.SEE, _see(project, text, 0), Seen)
        except NotFound:
            return False
        return True

    taking = await asyncio.gather(*map(takes_part, places))
    return [place for place, yes in zip(places, taking, strict=True) if yes]


async def _look(abroad: Abroad, place: Place, question: Look) -> Looked | None:
    """Return a project's part of a list, None if its leader does not answer in time."""
    try:
        return await abroad.ask(place.project, What.LOOK, question, Looked, seconds=LOOK_SECONDS)
    except NotFound:  # it does not take part any more
        return Looked()
    except LoominalError as error:  # the list says that something is missing
        log.info("project %s is not asked who is there: %s", place.project, error)
        return None


def _see(project: Project, text: str, metadata_bytes: int) -> See:
    return See(asker=project.id, text=text.strip().lower().partition("@")[0], metadata_bytes=metadata_bytes)
