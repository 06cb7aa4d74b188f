"""A list of agents that is put together from several projects' parts, however each of them is cut."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.hub.abroad.elsewhere import merged
from loominal.fabric.hub.agents.listing import VIEW_PLACE, Page
from loominal.fabric.operations.registry import AgentView
from loominal.model.agent import AgentStatus

PLENTY = 1_000_000  # bytes

handles = st.lists(st.sampled_from("abcdef"), max_size=6)


def agents(project: int, named: list[str]) -> list[AgentView]:
    views = (
        AgentView(guid=f"{project}-{number}", handle=handle, status=AgentStatus.ONLINE)
        for number, handle in enumerate(named)
    )
    return sorted(views, key=VIEW_PLACE)


@given(
    st.lists(handles, min_size=1, max_size=4), st.integers(1, 5), st.lists(st.integers(1, 5), min_size=4, max_size=4)
)
def test_page_after_page_shows_everybody_once_and_in_order(named: list[list[str]], limit: int, cuts: list[int]) -> None:
    projects = [agents(number, each) for number, each in enumerate(named)]
    found: list[AgentView] = []
    after = ("", "")
    while True:
        parts = []
        for everybody, cut in zip(projects, cuts, strict=False):
            behind = [agent for agent in everybody if VIEW_PLACE(agent) > after]
            shown = tuple(heapq.nsmallest(min(limit, cut), behind, key=VIEW_PLACE))  # cut by its bytes
            parts.append(Page(shown, len(everybody), len(behind) > len(shown)))
        page = merged(parts, limit, PLENTY)
        assert page.total == sum(map(len, projects))
        assert len(page.agents) <= limit
        found += page.agents
        if not page.more:
            break
        assert page.agents
        after = VIEW_PLACE(page.agents[-1])

    assert found == sorted((agent for everybody in projects for agent in everybody), key=VIEW_PLACE)
