"""Lists of agents: which of a project's the filters of discover_agents hold for, in the order of all such lists."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from loominal.fabric.hub.agents.registry import Facet
from loominal.fabric.hub.agents.views import agent_view
from loominal.fabric.hub.parts import fitting
from loominal.fabric.operations.registry import AgentView, DiscoverAgents
from loominal.model.agent import AgentRecord, AgentStatus
from loominal.model.names import label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loominal.fabric.hub.project import Project

LABELS = {  # what is compared as a label, and how an error calls it
    Facet.TYPE: "agentType",
    Facet.CAPABILITY: "capability",
    Facet.BOUNDARY: "boundary",
}
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

    Raises: InvalidArgument for a filter that is no label.
    """
    is_there = _presence(project, args)
    wanted = {**_wanted(args), **(beside or {})}
    found = [record for record in project.agents.having(wanted) if visible(record) and is_there(record)]
    behind = [record for record in found if PLACE(record) > after] if after != ("", "") else found
    views = (agent_view(project, record) for record in heapq.nsmallest(args.limit, behind, key=PLACE))
    fit = fitted(views, limit_bytes)
    return Page(fit, len(found), bool(fit) and len(behind) > len(fit))


def fitted(views: Iterable[AgentView], limit_bytes: int) -> tuple[AgentView, ...]:
    """Return the first of `views`, as many as an answer of `limit_bytes` holds."""
    cut = fitting(views, limit_bytes, cut=lambda view, _: replace(view, capabilities=(), current_work=()))
    return tuple(cut)


def _presence(project: Project, args: DiscoverAgents) -> Callable[[AgentRecord], bool]:
    """Return what tells whether an agent is there in the sense of the filters."""
    now, is_online, timings = project.clock.monotonic(), project.presence.is_online, project.timings

    def accepts(record: AgentRecord) -> bool:
        status = record.status if is_online(record.id, now, timings) else AgentStatus.OFFLINE
        if args.status is None:
            return args.include_offline or status is not AgentStatus.OFFLINE
        return status is args.status

    return accepts


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
