"""The broker is killed, stands still, or is away: nothing accepted is lost, nothing is there twice, all goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model import record as records
from loominal.model.message import Message
from loominal.model.work import WorkItem
from tests.integration.conftest import eventually
from tests.integration.fabric import FAST, Fabric
from tests.patience import SOON

PROJECT = "faults"
LEASE_SECONDS = 30.0 * FAST
AGENTS = 4
AWAY_SECONDS = 3.0


class Told:
    """What the agents asked for, and what they were told is done."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered_at = time.monotonic()
        self.messages: set[str] = set()
        self.submitted: set[str] = set()
        self.done: set[str] = set()

    def answered(self) -> None:
        self.answered_at = time.monotonic()


@contextlib.asynccontextmanager
async def agents_at_work(fabric: Fabric) -> AsyncIterator[Told]:
    """Let agents talk, offer, claim and complete without a pause; at the end each finishes what it has begun."""
    told, stop = Told(), asyncio.Event()
    async with contextlib.AsyncExitStack() as connections:
        each = (
            fabric.connect(f"agent-{number}", project=PROJECT, capabilities=["dig"], timeout_seconds=2 * SOON)
            for number in range(AGENTS)
        )
        agents = [await connections.enter_async_context(agent) for agent in each]
        async with asyncio.TaskGroup() as group:
            for agent in agents:
                group.create_task(work(agent, told, stop))
            yield told
            stop.set()


async def work(agent: Agent, told: Told, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        text = f"{agent.guid} {number}"
        told.asked += 1
        await agent.send_message("general", text)
        told.messages.add(text)
        told.answered()
        told.submitted.add((await agent.broadcast_work_offer(text, capabilities=["dig"], task_id=f"t{number}")).id)
        told.answered()
        for item in (await agent.claim_work()).work:
            await agent.complete_work(item.id, summary=text)
            told.done.add(item.id)
            told.answered()


async def check(fabric: Fabric, told: Told) -> None:
    """Hold what the agents were told against what is stored."""
    credential = fabric.keyring.hub_credential(PROJECT, "checker")
    async with Broker.connect(
        fabric.url,
        name="checker",
        inbox=subjects.reply_prefix("checker"),
        credential=lambda: credential,
        wait_seconds=SOON,
    ) as broker:
        texts = Counter[str]()
        async for data in everything(Log(broker, subjects.channels_stream(PROJECT)), "ch"):
            texts[records.decode(Message, data).value.text] += 1
        ends, status = Counter[str](), dict[str, str]()
        async for data in everything(Log(broker, subjects.work_stream(PROJECT)), "wk"):
            item = records.decode(WorkItem, data).value
            ends[item.id] += item.status == "done" and status.get(item.id) != "done"
            status[item.id] = item.status
    assert set(texts) == told.messages
    assert set(texts.values()) == {1}
    assert told.submitted <= status.keys()
    assert {item for item, at in status.items() if at == "done"} >= told.done
    assert {count for item, count in ends.items() if item in told.done} == {1}


async def everything(log: Log, kind: str) -> AsyncIterator[bytes]:
    after = 0
    while page := await log.page(subjects.every(kind, PROJECT), after + 1, 1000):
        for record in page:
            yield record.data
        after = page[-1].sequence


async def answers_come_again(told: Told) -> None:
    since = time.monotonic()
    await eventually(lambda: told.answered_at > since, SOON)


async def test_a_broker_killed_under_load_loses_nothing_and_stores_nothing_twice(private_fabric: Fabric) -> None:
    fabric = private_fabric
    fabric.start()
    async with agents_at_work(fabric) as told:
        for done in (15, 30, 45, 60):
            await eventually(lambda: len(told.done) >= done)  # noqa: B023  # awaited at once
            fabric.kill_broker()
            fabric.start_broker()
            await answers_come_again(told)
    await check(fabric, told)


async def test_a_broker_that_stands_still_for_longer_than_a_lease_only_delays(private_fabric: Fabric) -> None:
    fabric = private_fabric
    fabric.start()
    async with agents_at_work(fabric) as told:
        await asyncio.sleep(0.5)
        fabric.freeze(fabric.broker)
        await asyncio.sleep(1.3 * LEASE_SECONDS)
        fabric.thaw(fabric.broker)
        await answers_come_again(told)
    await check(fabric, told)


async def test_a_leader_that_was_cut_off_lets_everybody_ask_again(fabric: Fabric, project_id: str) -> None:
    credential = fabric.keyring.system_credential("test")
    heard: list[Received] = []
    async with (
        fabric.connect("ada", project=project_id) as ada,
        Broker.connect(
            fabric.url,
            name="system",
            inbox=subjects.reply_prefix("test"),
            credential=lambda: credential,
            wait_seconds=SOON,
        ) as system,
    ):
        await ada._session.broker.subscribe(subjects.leader_wake(project_id), heard.append)
        listed = await system.request(subjects.connections(), b'{"auth": true}', seconds=SOON)
        told = msgspec.json.decode(listed.data)
        [leader] = [each["cid"] for each in told["data"]["connections"] if each.get("name") == f"weft {project_id}"]
        kick = json.dumps({"cid": leader}).encode()
        await system.request(f"$SYS.REQ.SERVER.{told['server']['id']}.KICK", kick, seconds=SOON)

        await eventually(lambda: bool(heard))  # for answers may have been lost with the connection
        await ada.send_message("general", "and it goes on")


async def test_calls_that_wait_while_the_broker_is_away_are_answered_when_it_is_back(private_fabric: Fabric) -> None:
    fabric = private_fabric
    fabric.start()
    async with (
        fabric.connect("boss", project=PROJECT, agent_type="python", timeout_seconds=2 * SOON) as boss,
        fabric.connect(
            "worker", project=PROJECT, capabilities=["dig"], max_concurrent=9, timeout_seconds=2 * SOON
        ) as worker,
    ):
        held = (await boss.broadcast_work_offer("held", capabilities=["dig"])).id
        assert [work.id for work in (await worker.claim_work(wait_seconds=SOON)).work] == [held]
        polling = asyncio.create_task(worker.claim_work(wait_seconds=50))
        fabric.kill_broker()
        calls = asyncio.gather(
            boss.send_message("general", "while away"),
            boss.send_direct_message(worker.guid, "while away"),
            boss.broadcast_work_offer("while away", capabilities=["dig"]),
            boss.set_handle("chief"),
            worker.complete_work(held, summary="while away"),
        )
        await asyncio.sleep(AWAY_SECONDS)  # so long it is away
        assert not calls.done()
        fabric.start_broker()

        async with asyncio.timeout(SOON):
            _, _, offered, _, done = await calls
            [claimed] = (await polling).work
        assert (claimed.id, claimed.attempt, done.status) == (offered.id, 1, "done")
        history = await worker.read_messages("general")
        assert [(message.handle, message.message) for message in history.messages][-1][1] == "while away"
        inbox = (await worker.read_direct_messages(wait_seconds=SOON)).messages
        assert [message.message for message in inbox] == ["while away"]
        assert (await boss.list_work(limit=10)).total == 2
        assert (await boss.get_my_handle()).handle == "chief"


async def test_weft_and_agents_that_start_before_the_broker_wait_for_it(private_fabric: Fabric) -> None:
    fabric = private_fabric
    fabric.start_broker()
    fabric.kill_broker()
    fabric.start_weft(wait=False)

    async def greet() -> str:
        async with fabric.connect("early", project=PROJECT, agent_type="python", timeout_seconds=2 * SOON) as agent:
            return (await agent.get_my_handle()).handle

    early = asyncio.create_task(greet())
    await asyncio.sleep(AWAY_SECONDS)
    assert not early.done()
    fabric.start_broker()
    async with asyncio.timeout(SOON):
        assert await early == "early"
