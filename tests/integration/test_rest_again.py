"""The same deed asked for again over HTTP is done once, whichever weft is asked and wherever one died."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from loominal.model.members import order
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.http_api import Api, Json, open_api
from tests.integration.test_events_faults import home_of, ready
from tests.integration.test_many_wefts import Wefts
from tests.integration.workshop import CAPABILITY, Workshop, open_workshop
from tests.patience import SOON

STAGES = (".spec.", ".wk.")  # an offer is stored as what was asked, then as an item: neither is answered before both
READS = (
    "agents",
    "agents/worker",
    "work",
    "work?status=done",
    "work/held",
    "work/held/history",
    "work/held/explain",
    "dead-letters",
    "channels",
    "channels/general/messages",
    "policy",
    "grants",
    "invitations",
    "openapi.json",
)
DIES = '''
"""Ends this process, as by kill -9, when it has stored what the file `armed` names, which lies beside this one."""

import os
import signal
from pathlib import Path

from loominal.broker.log import Log

append = Log.append


async def dying(self, subject, *args, **kwargs):
    stored = await append(self, subject, *args, **kwargs)
    armed = Path(__file__).with_name("armed")
    if armed.exists() and armed.read_text() in subject:
        os.kill(os.getpid(), signal.SIGKILL)
    return stored


Log.append = dying
'''


@pytest.fixture
def mortal(tmp_path: Path) -> Path:
    """Code with which a weft dies when it is told to; `armed` beside it says after storing what."""
    source = tmp_path / "dies"
    source.mkdir()
    (source / "sitecustomize.py").write_text(DIES)
    return source


def offers() -> list[tuple[dict[str, str], Json]]:
    """Return what makes two offers the same: a header, or a name in the body."""
    body = {"description": "once", "capability": "go"}
    return [({"Idempotency-Key": uuid4().hex}, body), ({}, body | {"taskId": uuid4().hex})]


async def offer(api: Api, project: str, headers: dict[str, str], body: Json) -> httpx2.Response:
    return await api.client.post("/api/work", params={"projectId": project}, headers=headers, json=body)


async def test_an_offer_asked_for_again_after_weft_died_is_one_item(
    private_fabric: Fabric, project_id: str, mortal: Path
) -> None:
    fabric, armed, ids = private_fabric, mortal / "armed", []
    fabric.weft_environment = {"PYTHONPATH": str(mortal), "LOOMINAL_PROJECT_ID": project_id}
    fabric.start()
    for stage in STAGES:
        for headers, body in offers():
            async with open_api(fabric.home) as api:
                armed.write_text(stage)
                with pytest.raises(httpx2.TransportError):
                    await offer(api, project_id, headers, body)
                assert fabric.weft is not None
                assert await asyncio.to_thread(fabric.weft.wait, SOON) == -signal.SIGKILL
                armed.unlink()
            await asyncio.to_thread(fabric.start_weft)
            async with open_api(fabric.home) as api:
                again = [await offer(api, project_id, headers, body) for _ in range(2)]
                assert all(each.is_success for each in again), [each.text for each in again]
                [item] = {each.json()["id"] for each in again}
                ids.append(item)
                listed = await api.get("/api/work", projectId=project_id)
                assert sorted(each["id"] for each in listed["items"]) == sorted(ids)


async def test_the_same_offer_many_times_at_once_is_one_item_and_another_one_is_refused(
    fabric: Fabric, project_id: str
) -> None:
    async with fabric.connect("boss", project=project_id, capabilities=["go"]), open_api(fabric.home) as api:
        for number, (headers, body) in enumerate(offers(), 1):
            answers = await asyncio.gather(*(offer(api, project_id, headers, body) for _ in range(20)))

            assert {each.status_code for each in answers} <= {200, 201}
            assert len({each.json()["id"] for each in answers}) == 1
            other = await offer(api, project_id, headers, body | {"description": "other"})
            assert (other.status_code, other.json()["code"]) == (409, "duplicate")
            assert (await api.get("/api/work", projectId=project_id))["total"] == number


async def something_happens(workshop: Workshop) -> None:
    """Leave an item behind that is done, a dead one and a claimed one, and a message."""
    boss, worker = await workshop.agent("boss", capabilities=["lead"]), await workshop.agent("worker")
    for task in ("done", "dead", "held"):
        await boss.broadcast_work_offer(task, required_capability=CAPABILITY, task_id=task)
        [item] = (await worker.claim_work(wait_seconds=SOON)).work
        if task == "done":
            await worker.complete_work(item.id, summary="made")
        elif task == "dead":
            await worker.fail_work(item.id, error="no", retryable=False)
    await boss.send_message("general", "good morning")


async def test_every_weft_answers_the_same_also_when_the_leader_dies_over_it(
    private_fabric: Fabric, project_id: str, mortal: Path
) -> None:
    fabric, names = private_fabric, ("one", "two")
    other, leader = sorted(names, key=order(project_id, names).index, reverse=True)
    fabric.start_broker()
    fabric.start_another(other)
    dying = fabric.start_another(leader, mortal)
    for name in names:
        await ready(fabric, name)
    async with open_workshop(fabric, project_id) as workshop, open_api(home_of(fabric, other)) as here:
        await something_happens(workshop)
        wefts = Wefts(fabric, project_id, await workshop.broker())
        await wefts.is_led_by(leader)
        await wefts.is_warm(other)
        async with open_api(home_of(fabric, leader)) as there:

            async def same(path: str) -> bool:
                """Whether both answer the same; when an agent was seen last may change in between."""
                query = {} if path == "openapi.json" else {"projectId": project_id}
                asked = [await each.client.get(f"/api/{path}", params=query) for each in (here, there)]
                assert [each.status_code for each in asked] == [200, 200], (path, [each.text for each in asked])
                return bool(asked[0].json() == asked[1].json())

            for path in READS:
                await eventually(lambda path=path: same(path), SOON)  # type: ignore[misc]  # lambda's own path
            for headers, body in offers():
                asked = [await offer(each, project_id, headers, body) for each in (here, there, here)]
                assert len({each.json()["id"] for each in asked}) == 1
        before = (await here.get("/api/work", projectId=project_id))["total"]
        (mortal / "armed").write_text(STAGES[1])

        headers, body = offers()[0]
        answered = await offer(here, project_id, headers, body)

        assert await asyncio.to_thread(dying.wait, SOON) == -signal.SIGKILL
        assert answered.is_success, answered.text
        assert (await offer(here, project_id, headers, body)).json()["id"] == answered.json()["id"]
        assert (await here.get("/api/work", projectId=project_id))["total"] == before + 1
