"""An operator who only looks need not be an agent that others see, and sees which projects there are."""

from __future__ import annotations

import inspect

import pytest

from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments
from loominal.fabric.operations.work import BroadcastWorkOffer
from loominal.model.errors import NotFound, NotRegistered
from tests.integration.fabric import Fabric

GIVEN: dict[str, dict[str, object]] = {
    "read_messages": {"channel": "general"},
    "get_agent_info": {"guid": "boss"},
    "get_target": {"target": "none"},
    "get_spin_up": {"id": "none"},
    "preview_work_offer": {"offer": BroadcastWorkOffer(description="look")},
    "follow_work": {"work_ids": ("none",)},
    "wait_for_events": {"wait_seconds": 0},
}


async def test_an_operator_looks_without_being_seen(fabric: Fabric, project_id: str) -> None:
    async with (
        fabric.connect("boss", project=project_id, capabilities=["boss"]) as boss,
        fabric.connect(project=project_id, operator=True) as visitor,
    ):
        item = await boss.broadcast_work_offer("look at it", capabilities=["dig"])
        for operation in [each for each in OPERATIONS.values() if each.reads]:
            given = GIVEN.get(operation.name, {"work_id": item.id} if _asks_for_work(operation.arguments) else {})
            try:
                await visitor.call(operation.name, operation.arguments(**given))
            except NotFound:
                assert "none" in given.values(), operation.name

        assert [each.handle for each in (await boss.discover_agents()).agents] == ["boss"]
        with pytest.raises(NotRegistered):
            await visitor.call("broadcast_work_offer", BroadcastWorkOffer(description="unseen"))


def _asks_for_work(arguments: type[Arguments]) -> bool:
    return "work_id" in inspect.signature(arguments).parameters


async def test_projects_are_listed_for_operators_and_an_agent_sees_its_own(fabric: Fabric, project_id: str) -> None:
    other = f"{project_id}-other"
    async with (
        fabric.connect("there", project=other),
        fabric.connect(project=project_id, operator=True) as operator,
        fabric.connect("here", project=project_id) as agent,
    ):
        everywhere, mine = await operator.list_projects(), await agent.list_projects()

    assert {project_id, other} <= {each.project_id for each in everywhere.projects}
    assert everywhere.total == len(everywhere.projects)
    assert [each.project_id for each in mine.projects] == [project_id]
