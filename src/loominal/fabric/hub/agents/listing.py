"""Lists of agents: which of a project's the filters of discover_agents hold for, in the order of all such lists."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from loominal.fabric.hub.agents.registry import Facet
from loominal.fabric.hub.agents.views import agent_view
from loominal.fabric.hub.parts import fitting
from loominal.fabric.operations.registry import AgentView, DiscoverAgents
from loominal.model.agent import AgentRecord, AgentStatus
from loominal.model.grant import Visibility
from loominal.model.names import label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loominal.fabric.hub.project import Project

LABELS = {  # what is compared as a label, and how an error calls it
    Facet.TYPE: "agentType",
    Facet.CAPABILITY: "capability",
    Facet.BOUNDARY: "boundary",
}
HIDING = (Visibility.PRIVATE, Visibility.USER_ONLY)  # all others are seen by everybody in the project
PLACE = attrgetter("handle", "id")  # what a list of agents is sorted by
VIEW_PLACE = attrgetter("handle", "guid")

Place = tuple[str, str]  # in such a list: handle and guid


class Page(NamedTuple):
    """A part of a list of agents; `total` counts the whole list, `more` says whether others follow."""

    agents: tuple[AgentView, ...]
    total: int
    more: bool


def page(
    project: Project,
    args: DiscoverAgents,
    visible: Callable[[AgentRecord], bool],
    after: Place,
    limit_bytes: int,
    *,
    beside: Mapping[Facet, str] | None = None,
) -> Page:
    """Return those of the project's agents behind `after` for which the filters hold, and what stands `beside` them.

    `visible` is asked of those that hide from some. Raises: InvalidArgument for a filter that is no label.
    """
    wanted = {**_wanted(args), **(beside or {})}
    found = _seen(project, _there(project, args, project.agents.having(wanted)), visible)
    first = _first(project, found, after, args.limit + 1)
    fit = fitted((agent_view(project, record) for record in first[: args.limit]), limit_bytes)
    return Page(fit, len(found), 0 < len(fit) < len(first))


def fitted(views: Iterable[AgentView], limit_bytes: int) -> tuple[AgentView, ...]:
    """Return the first of `views`, as many as an answer of `limit_bytes` holds."""
    cut = fitting(views, limit_bytes, cut=lambda view, _: replace(view, capabilities=(), current_work=()))
    return tuple(cut)


def _there(project: Project, args: DiscoverAgents, agents: AbstractSet[str]) -> AbstractSet[str]:
    """Return those of `agents` whose status is what the filters say."""
    if args.status is None and args.include_offline:
        return agents
    online = project.presence.among(agents, project.clock.monotonic(), project.timings)
    if args.status in (AgentStatus.ONLINE, AgentStatus.BUSY):
        return online & project.agents.having({Facet.STATUS: args.status})
    awake = online - project.agents.having({Facet.STATUS: AgentStatus.OFFLINE})
    return agents - awake if args.status is AgentStatus.OFFLINE else awake


def _seen(project: Project, agents: AbstractSet[str], visible: Callable[[AgentRecord], bool]) -> AbstractSet[str]:
    """Return `agents` without those that hide, unless they are `visible` all the same."""
    hiding = [agents & project.agents.having({Facet.VISIBILITY: each}) for each in HIDING]
    hidden = {each for some in hiding for each in some if not visible(project.agents.known(each))}
    return agents - hidden if hidden else agents


def _first(project: Project, agents: AbstractSet[str], after: Place, limit: int) -> list[AgentRecord]:
    """Return the first `limit` of `agents` behind `after`: sorted, or found in the order of all if they are many."""
    if len(agents) ** 2 < limit * project.agents.registered_count:
        records = (project.agents.known(each) for each in agents)
        return heapq.nsmallest(limit, (each for each in records if PLACE(each) > after), key=PLACE)
    in_order = (each for each in project.agents.in_order(after) if each in agents)
    return [project.agents.known(each) for each in islice(in_order, limit)]


def _wanted(args: DiscoverAgents) -> dict[Facet, str]:
    given = {
        Facet.TYPE: args.agent_type,
        Facet.CAPABILITY: args.capability,
        Facet.BOUNDARY: args.boundary,
        Facet.HOSTNAME: args.hostname,
        Facet.HANDLE: args.handle,
    }
    return {
        facet: label(text, LABELS[facet]) if facet in LABELS else text.strip().casefold()
        for facet, text in given.items()
        if text is not None
    }
