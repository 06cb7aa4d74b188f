"""A project in numbers: by the operation, and every project's by HTTP without loading what nobody uses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.stats import Stats
from loominal.fabric.runtime_file import read_runtime, write_runtime
from loominal.model.agent import AgentStatus
from loominal.model.launch import LaunchStatus
from loominal.model.work import Status
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.http_api import open_api
from tests.integration.workshop import Workshop
from tests.patience import SOON


async def one_of_each(boss: Agent, worker: Agent) -> None:
    """Leave an item behind in each status but discarded."""
    for wish in ("done", "dead", "claimed"):
        await boss.broadcast_work_offer(wish, capabilities=["python"], task_id=wish, max_attempts=1)
        [item] = (await worker.claim_work(wait_seconds=SOON)).work
        if wish == "done":
            await worker.complete_work(item.id, summary="made")
        elif wish == "dead":
            await worker.fail_work(item.id, "it cannot be done")
    await boss.broadcast_work_offer("waits", capabilities=["cobol"], task_id="ready")
    await boss.broadcast_work_offer("child", capabilities=["cobol"], depends_on=["ready"])
    await boss.broadcast_work_offer("called off", capabilities=["cobol"], task_id="cancelled")
    await boss.cancel_work("cancelled")
    later = datetime.now(UTC) + timedelta(hours=1)
    await boss.broadcast_work_offer("later", capabilities=["cobol"], not_before=later.isoformat())


EACH = {status: 0 if status is Status.DISCARDED else 1 for status in Status}


async def test_the_counts_of_a_project_are_of_what_there_is_now(workshop: Workshop) -> None:
    boss, worker = await workshop.agent("boss"), await workshop.agent("worker", max_concurrent=5)
    assert await boss.get_stats() == Stats(
        agents={AgentStatus.ONLINE: 2, AgentStatus.BUSY: 0, AgentStatus.OFFLINE: 0},
        work=dict.fromkeys(Status, 0),
        spin_ups=dict.fromkeys(LaunchStatus, 0),
    )

    await one_of_each(boss, worker)
    await worker.update_presence(status="busy")
    stats = await boss.get_stats()

    assert (stats.work, stats.dead) == (EACH, 1)
    assert stats.agents == {AgentStatus.ONLINE: 1, AgentStatus.BUSY: 1, AgentStatus.OFFLINE: 0}
    assert stats.oldest_ready_seconds is not None
    waited = stats.oldest_ready_seconds
    await eventually(lambda: longer(boss, waited))


async def longer(boss: Agent, waited: float) -> bool:
    return ((await boss.get_stats()).oldest_ready_seconds or 0.0) > waited


async def test_a_scheduled_item_that_is_due_counts_as_ready(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    await boss.broadcast_work_offer("soon", capabilities=["cobol"], not_before=soon.isoformat())

    async def is_ready() -> bool:
        stats = await boss.get_stats()
        places = (stats.work[Status.SCHEDULED], stats.work[Status.READY], stats.oldest_ready_seconds is not None)
        assert places in ((1, 0, False), (0, 1, True))
        return places[0] == 0

    await eventually(is_ready)


async def test_every_projects_counts_come_by_http_and_load_nothing(private_fabric: Fabric) -> None:
    private_fabric.start()
    async with private_fabric.connect("ada", project="left"):
        pass
    runtime = read_runtime(private_fabric.home)
    assert runtime is not None
    assert private_fabric.weft is not None
    private_fabric.weft.terminate()  # it leaves every project to nobody, and takes the runtime file with it
    assert await asyncio.to_thread(private_fabric.weft.wait, 30) == 0
    write_runtime(private_fabric.home, runtime)
    private_fabric.start_weft()

    async with (
        private_fabric.connect("bob", project="used", capabilities=["python"]),
        open_api(private_fabric.home) as api,
    ):
        listed = await api.get("/api/stats")
        first = await api.get("/api/stats", limit=1)
        second = await api.get("/api/stats", limit=1, cursor=first["nextCursor"])
        one = await api.get("/api/stats", projectId="used")
        leaders = {each["projectId"]: each.get("leader", "") for each in (await api.get("/api/projects"))["projects"]}

    left, used = listed["projects"]
    assert left == {"projectId": "left", "project": "left", "loaded": False}
    assert (used["loaded"], used["agents"]["online"], used["dead"]) == (True, 1, 0)
    assert (leaders["left"], bool(leaders["used"])) == ("", True)
    assert [*first["projects"], *second["projects"]] == [left, used]
    assert (listed["total"], first["total"], "nextCursor" in second) == (2, 2, False)
    assert one == {"projects": [used], "total": 1}
