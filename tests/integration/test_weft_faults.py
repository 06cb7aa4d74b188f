"""Weft is killed between a deed and its answer, frozen beyond every lease, and loaded anew over and over."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pytest
from nats.aio.transport import TcpTransport

from loominal.broker import connection, consumer, subjects
from loominal.broker.connection import Broker
from loominal.broker.jetstream import call
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.hub import Hub
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.channels import SendMessage
from loominal.fabric.operations.dead_letters import RetryDeadLetterItem
from loominal.fabric.operations.identity import SetHandle
from loominal.fabric.operations.inbox import SendDirectMessage
from loominal.fabric.operations.registry import RegisterAgent
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.operations.work import BroadcastWorkOffer, ClaimWork, CompleteWork, FailWork, Offered, ReleaseWork
from tests.integration.alone import Alone
from tests.integration.conftest import NatsServer, eventually
from tests.integration.fabric import SCALE, Fabric, RemoteAgent
from tests.patience import SOON

PROJECT = "faults"
LATEST_SECONDS = 0.012  # an answer takes 2 to 8 ms; later kills meet nothing
LEASE_SECONDS = 30.0 * SCALE
HELD = 200


@pytest.fixture
def scale() -> float:
    """Of a fabric that stands still for longer than leases are, several times."""
    return SCALE


class Deed(NamedTuple):
    """What is asked while weft is killed, and what has to be true of it afterwards, once and only once."""

    agent: Agent
    operation: str
    args: Arguments
    happened_once: Callable[[], Awaitable[bool]]


class Pair:
    """An offerer and a worker, and the deeds they are about to do."""

    def __init__(self, boss: Agent, worker: Agent) -> None:
        self.boss = boss
        self.worker = worker

    async def submit(self) -> Deed:
        text = uuid4().hex

        async def once() -> bool:
            found = await self.boss.list_work(limit=100)
            return sum(item.description == text for item in found.items) == 1

        return Deed(self.boss, "broadcast_work_offer", BroadcastWorkOffer(description=text, capabilities=("no",)), once)

    async def claim(self) -> Deed:
        item = (await self.boss.broadcast_work_offer("claim me", capabilities=["dig"])).id

        async def once() -> bool:
            detail = await self.boss.get_work(item)
            await self.worker.complete_work(item, summary="done")
            return (detail.status, detail.attempt) == ("claimed", 1)

        return Deed(self.worker, "claim_work", ClaimWork(), once)

    async def complete(self) -> Deed:
        item = await self._held()

        async def once() -> bool:
            await eventually(lambda: self._told(item))
            found = await self.boss.read_direct_messages(unread_only=False, limit=100, message_type="work-result")
            ends = [message for message in found.messages if message.metadata["workId"] == item]
            return len(ends) == 1 and (await self.boss.get_work(item)).result == {"n": 7}

        return Deed(self.worker, "complete_work", CompleteWork(work_id=item, summary="done", result={"n": 7}), once)

    async def fail(self) -> Deed:
        item = await self._held()

        async def once() -> bool:
            detail = await self.boss.get_work(item)
            await self.boss.cancel_work(item)
            return [error.message for error in detail.errors] == ["it broke"] and detail.attempt == 1

        return Deed(self.worker, "fail_work", FailWork(work_id=item, error="it broke"), once)

    async def release(self) -> Deed:
        item = await self._held()

        async def once() -> bool:
            detail = await self.boss.get_work(item)
            await self.boss.cancel_work(item)
            return (detail.status, detail.attempt, detail.errors) == ("ready", 0, ())

        return Deed(self.worker, "release_work", ReleaseWork(work_id=item, reason="not mine"), once)

    async def retry(self) -> Deed:
        item = await self._held()
        await self.worker.fail_work(item, "for good", retryable=False)

        async def once() -> bool:
            detail = await self.boss.get_work(item)
            await self.boss.cancel_work(item)
            return detail.status == "ready"

        return Deed(self.boss, "retry_dead_letter_item", RetryDeadLetterItem(item_id=item), once)

    async def message(self) -> Deed:
        text = uuid4().hex

        async def once() -> bool:
            found = (await self.worker.read_messages("general", limit=1000)).messages
            return sum(message.message == text for message in found) == 1

        return Deed(self.boss, "send_message", SendMessage(channel="general", message=text), once)

    async def direct_message(self) -> Deed:
        text = uuid4().hex

        async def once() -> bool:
            found = await self.worker.read_direct_messages(unread_only=False, limit=100)
            return sum(message.message == text for message in found.messages) == 1

        return Deed(
            self.boss, "send_direct_message", SendDirectMessage(recipient_guid=self.worker.guid, message=text), once
        )

    async def register(self) -> Deed:
        mark = uuid4().hex
        args = RegisterAgent(agent_type="python", handle="boss", metadata={"mark": mark})

        async def once() -> bool:
            return (await self.worker.get_agent_info(self.boss.guid)).metadata == {"mark": mark}

        return Deed(self.boss, "register_agent", args, once)

    async def set_handle(self) -> Deed:
        handle = f"boss-{uuid4().hex[:6]}"

        async def once() -> bool:
            found = await self.worker.discover_agents(include_offline=True)
            return [agent.handle for agent in found.agents if agent.guid == self.boss.guid] == [handle]

        return Deed(self.boss, "set_handle", SetHandle(handle=handle), once)

    async def _held(self) -> str:
        item = (await self.boss.broadcast_work_offer("hold me", capabilities=["dig"])).id
        claimed = (await self.worker.claim_work(wait_seconds=SOON)).work
        assert [work.id for work in claimed] == [item]
        return item

    async def _told(self, item: str) -> bool:
        found = await self.boss.read_direct_messages(unread_only=False, limit=100, message_type="work-result")
        return any(message.metadata["workId"] == item for message in found.messages)


DEEDS = (
    Pair.submit,
    Pair.claim,
    Pair.complete,
    Pair.fail,
    Pair.release,
    Pair.retry,
    Pair.message,
    Pair.direct_message,
    Pair.register,
    Pair.set_handle,
)


async def test_a_deed_during_which_weft_dies_has_one_effect_and_one_answer(private_fabric: Fabric) -> None:
    fabric, chance = private_fabric, random.Random(20)
    fabric.start()
    async with (
        fabric.connect("boss", project=PROJECT, agent_type="python", timeout_seconds=SOON) as boss,
        fabric.connect("worker", project=PROJECT, capabilities=["dig"], timeout_seconds=SOON) as worker,
    ):
        pair = Pair(boss, worker)
        for prepare in DEEDS + DEEDS[:6]:
            deed, op = await prepare(pair), uuid4().hex
            delay = chance.uniform(0, LATEST_SECONDS)
            asked = asyncio.create_task(ask(deed, op))
            await asyncio.sleep(delay)
            fabric.kill_weft()
            fabric.start_weft(wait=False)
            first = await asked
            again = await ask(deed, op)

            assert hard(again) == hard(first), f"{deed.operation} killed after {delay * 1000:.2f} ms"
            assert await deed.happened_once(), f"{deed.operation} killed after {delay * 1000:.2f} ms"


def hard(view: View) -> View:
    """Return an answer without what it says of who is online now."""
    return msgspec.structs.replace(view, eligible=0, note=None) if isinstance(view, Offered) else view


async def ask(deed: Deed, op: str) -> View:
    return await deed.agent.call(deed.operation, deed.args, op=op, timeout_seconds=SOON)


async def test_no_live_claim_lapses_whoever_stands_still_for_longer_than_a_lease(private_fabric: Fabric) -> None:
    fabric, registration = private_fabric, {"capabilities": ["dig"], "max_concurrent": HELD}
    fabric.start()
    with contextlib.ExitStack() as spawned:
        names = ("first", "second")
        agents = [spawned.enter_context(fabric.spawn(each, project=PROJECT, **registration)) for each in names]
        async with fabric.connect("boss", project=PROJECT, agent_type="python") as boss:
            for agent in agents:
                await agent.ready()
            offers = (boss.broadcast_work_offer(f"item {number}", capabilities=["dig"]) for number in range(HELD))
            items = [offered.id for offered in await asyncio.gather(*offers)]
            held = await asyncio.gather(*(take(agent, HELD // len(agents)) for agent in agents))
            programs = [agent.process for agent in agents]
            both = [fabric.weft, fabric.broker]

            for frozen in ([fabric.weft], [fabric.broker], both, [*both, *programs]):
                fabric.freeze(*frozen)
                await asyncio.sleep(1.3 * LEASE_SECONDS)  # so long that every lease would be over
                fabric.thaw(*frozen)
                await asyncio.sleep(0.3 * LEASE_SECONDS)  # a wrong judgement falls within the first rounds
                assert (await boss.list_work(status="claimed", limit=1)).total == HELD

            for agent, mine in zip(agents, held, strict=True):
                ends = [agent.ask("complete_work", work_id=item, summary="done") for item in mine]
                assert {(await agent.answer(end))["status"] for end in ends} == {"done"}
        assert await most_records_of_an_item(fabric, items) <= len(("submitted", "claimed", "done", "told"))


async def take(agent: RemoteAgent, number: int) -> list[str]:
    """Claim so many items, ten at a time, and return their ids."""
    items: list[str] = []
    while len(items) < number:
        claimed = await agent.call("claim_work", limit=min(10, number - len(items)), wait_seconds=SOON)
        items += [work["id"] for work in claimed["work"]]
    return items


async def most_records_of_an_item(fabric: Fabric, items: list[str]) -> int:
    """Return how many records the item that moved most has: one more for each lapse or release."""
    async with hub_broker(fabric) as broker:
        log = Log(broker, subjects.work_stream(PROJECT))
        pages = [await log.page(subjects.item(PROJECT, item), 1, 64) for item in items]
    return max(len(page) for page in pages)


def hub_broker(fabric: Fabric) -> contextlib.AbstractAsyncContextManager[Broker]:
    credential = fabric.keyring.hub_credential(PROJECT, "checker")
    return Broker.connect(
        fabric.url,
        name="checker",
        inbox=subjects.reply_prefix("checker"),
        credential=lambda: credential,
        wait_seconds=SOON,
    )


async def test_loading_a_project_over_and_over_leaves_nothing_behind(nats_server: NatsServer, project_id: str) -> None:
    inbox = subjects.reply_prefix("weft")
    async with Broker.connect(nats_server.url, name="weft", inbox=inbox, wait_seconds=SOON) as broker:

        async def served_once() -> None:
            timings = Timings().scaled(SCALE)
            hub = Hub(Project(project_id, "", broker, OpenAuthority(), timings, Alone()))
            serving = asyncio.create_task(hub.serve())
            await asyncio.wait_for(hub.ready.wait(), SOON)
            serving.cancel()
            await asyncio.wait([serving])

        async def left() -> tuple[int, int, int]:
            listening = [each for each in broker._subscriptions if not each.stopped]
            return len(listening), len(broker._callbacks), len(asyncio.all_tasks())

        await served_once()
        before = await left()
        for _ in range(100):
            await served_once()
        await eventually(lambda: no_consumers(broker, project_id))
        assert await left() == before


async def test_losing_the_connection_over_and_over_leaves_nothing_behind(
    nats_server: NatsServer, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LAST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(consumer, "FORGOTTEN_SECONDS", 2.0)
    inbox = subjects.reply_prefix("weft")
    async with Broker.connect(nats_server.url, name="weft", inbox=inbox, wait_seconds=SOON) as broker:
        timings = Timings().scaled(SCALE)
        hub = Hub(Project(project_id, "", broker, OpenAuthority(), timings, Alone()))
        serving = asyncio.create_task(hub.serve())
        await asyncio.wait_for(hub.ready.wait(), SOON)
        await eventually(lambda: consumers(broker, project_id, 1))

        def there() -> tuple[int, int, int]:
            listening = [each for each in broker._subscriptions if not each.stopped]
            return len(listening), len(broker._callbacks), len(asyncio.all_tasks())

        before = there()
        for _ in range(100):
            await cut(broker)

        await eventually(lambda: consumers(broker, project_id, 1))
        assert there() == before
        serving.cancel()
        await asyncio.wait([serving])


async def cut(broker: Broker) -> None:
    """End the connection as a broken network does, and return when there is another."""
    assert broker._line is not None
    connects, transport = broker.connects, broker._line._transport
    assert isinstance(transport, TcpTransport)
    assert transport._io_writer is not None
    transport._io_writer.transport.abort()
    await eventually(lambda: broker.up and broker.connects > connects)


class Names(msgspec.Struct):
    total: int = 0


async def consumers(broker: Broker, project: str, expected: int) -> bool:
    """Return whether every stream that the hub follows has so many consumers."""
    bucket = subjects.bucket_stream(subjects.registry_bucket(project))
    streams = (subjects.work_stream(project), subjects.channels_stream(project), subjects.inbox_stream(project), bucket)
    found = [(await call(broker, Names, "CONSUMER", "NAMES", stream)).total for stream in streams]
    return found == [expected] * len(streams)


async def no_consumers(broker: Broker, project: str) -> bool:
    return await consumers(broker, project, 0)


async def test_the_only_weft_leaves_its_projects_in_peace(private_fabric: Fabric, project_id: str) -> None:
    private_fabric.start()
    async with private_fabric.connect("ada", project=project_id, capabilities=["hash"]):
        weft = private_fabric.weft
        assert weft is not None
        weft.terminate()

        assert await asyncio.to_thread(weft.wait, 30) == 0

    said = private_fabric.weft_log.read_text()
    assert f"project {project_id} is left to whoever comes" in said
    assert "Traceback" not in said
