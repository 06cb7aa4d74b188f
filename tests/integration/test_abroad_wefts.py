"""Across projects when several wefts lead them, one of them dies, or the project that is asked for is not loaded."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.hub.abroad import elsewhere
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.agents.listing import Page
from loominal.fabric.hub.hub import Hub
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.fabric.operations.identity import Hello
from loominal.fabric.operations.registry import DiscoverAgents
from loominal.fabric.runtime_file import Mode, Runtime, update_runtime
from loominal.model.agent import AgentRecord, AgentStatus
from loominal.model.errors import NotFound
from loominal.model.grant import Visibility
from loominal.model.members import order
from loominal.model.record import encode
from tests.integration.alone import Alone
from tests.integration.conftest import NatsServer, eventually
from tests.integration.fabric import Fabric
from tests.integration.test_many_wefts import THERE, Wefts, says
from tests.integration.workshop import Workshop
from tests.patience import SOON

WEFTS = ("one", "two")
DIES = '''
"""Ends this process, as by kill -9, when it has stored a direct message while the file `armed` lies beside this one."""

import os
import signal
from pathlib import Path

from loominal.broker.log import Log

append = Log.append


async def dying(self, subject, *args, **kwargs):
    stored = await append(self, subject, *args, **kwargs)
    if ".in." in subject and not subject.startswith("$") and Path(__file__).with_name("armed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return stored


Log.append = dying
'''


def led_by(weft: str) -> str:
    """Return the id of a new project that `weft` is to lead."""
    while order(project := f"p-{uuid4().hex[:12]}", WEFTS)[0] != weft:
        pass
    return project


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def served(private_fabric: Fabric) -> Fabric:
    """A fabric of the test's own, whose wefts the test starts."""
    private_fabric.start_broker()
    return private_fabric


async def pair(fabric: Fabric, stack: AsyncExitStack) -> tuple[Workshop, Workshop]:
    """Return two projects, the first led by weft one, the second by weft two."""
    for name in WEFTS:
        await says(fabric, name, THERE)
    here, there = (Workshop(fabric, led_by(weft), stack) for weft in WEFTS)
    return here, there


async def is_led_by(workshop: Workshop, weft: str) -> None:
    """Return when `weft` leads the project, and the other one is ready to."""
    wefts = Wefts(workshop.fabric, workshop.project, await workshop.broker())
    await wefts.is_led_by(weft)
    [other] = {*WEFTS} - {weft}
    await wefts.is_warm(other)


async def texts(agent: Agent, count: int) -> list[str]:
    """Return what `agent` is told, once that are so many messages."""
    found: list[str] = []
    async with asyncio.timeout(SOON):
        while len(found) < count:
            found += [each.message for each in (await agent.read_direct_messages(wait_seconds=SOON)).messages]
    return found


async def test_projects_of_two_wefts_see_and_tell_each_other_also_after_one_weft_died(
    served: Fabric, stack: AsyncExitStack
) -> None:
    for name in WEFTS:
        served.start_another(name)
    here, there = await pair(served, stack)
    ada = await here.agent("ada", visibility="public", timeout_seconds=SOON)
    bob = await there.agent("bob", visibility="public", timeout_seconds=SOON)
    await is_led_by(here, "one")
    await is_led_by(there, "two")

    await ada.send_direct_message(f"bob@{there.project}", "over the border")
    await bob.send_direct_message(f"ada@{here.project}", "and back")

    assert await texts(bob, 1) == ["over the border"]
    assert await texts(ada, 1) == ["and back"]
    found = (await ada.discover_agents(scope="fabric")).agents
    assert {(each.guid, each.status) for each in found} == {(each.guid, AgentStatus.ONLINE) for each in (ada, bob)}

    served.others["two"].kill()
    seen = await ada.get_agent_info(f"bob@{there.project}")  # is answered by the next leader
    assert (seen.guid, seen.project_id) == (bob.guid, there.project)
    await bob.deregister_agent()
    with pytest.raises(NotFound):
        await ada.get_agent_info(bob.guid)


async def test_a_leader_killed_between_store_and_answer_leaves_one_message(
    served: Fabric, stack: AsyncExitStack, tmp_path: Path
) -> None:
    source = tmp_path / "dies"
    source.mkdir()
    (source / "sitecustomize.py").write_text(DIES)
    served.start_another("one")
    mortal = served.start_another("two", source)
    here, there = await pair(served, stack)
    ada = await here.agent("ada", timeout_seconds=SOON)
    bob = await there.agent("bob", visibility="public", timeout_seconds=SOON)
    await is_led_by(here, "one")
    await is_led_by(there, "two")
    await ada.send_direct_message(bob.guid, "before")
    (source / "armed").touch()

    sent = await ada.send_direct_message(bob.guid, "once")

    assert await asyncio.to_thread(mortal.wait, SOON) == -signal.SIGKILL
    log = Log(await there.broker(), subjects.inbox_stream(there.project))
    assert await log.count(subjects.inbox(there.project, bob.guid)) == 2
    assert await texts(bob, 2) == ["before", "once"]
    shown = (await bob.read_direct_messages(unread_only=False)).messages
    assert [each.id for each in shown if each.message == "once"] == [sent.id]


async def test_a_project_that_nobody_has_loaded_is_loaded_to_take_a_message(
    served: Fabric, stack: AsyncExitStack
) -> None:
    served.start_weft()
    here, there = (Workshop(served, f"p-{uuid4().hex[:12]}", stack) for _ in range(2))
    async with served.connect("bob", project=there.project, capabilities=["python"], visibility="public") as bob:
        guid = bob.guid
    served.kill_weft()
    served.start_weft()
    ada = await here.agent("ada", timeout_seconds=SOON)

    sent = await ada.send_direct_message(f"bob@{there.project}", "for later")
    seen = await ada.get_agent_info(guid)

    assert (sent.recipient.guid, sent.recipient.status, seen.status) == (guid, AgentStatus.OFFLINE, AgentStatus.OFFLINE)
    again = await there.agent("bob")
    assert (again.guid, await texts(again, 1)) == (guid, ["for later"])


async def test_a_project_at_rest_is_not_loaded_to_list_who_is_online(nats_server: NatsServer) -> None:
    near, far, bob = f"p-{uuid4().hex[:12]}", f"p-{uuid4().hex[:12]}", str(uuid4())
    async with Broker.connect(
        nats_server.url, name="weft", inbox=subjects.reply_prefix(subjects.WEFT), wait_seconds=SOON
    ) as broker:
        abroad = Abroad(broker)
        keeping = asyncio.create_task(abroad.run(lambda _: None))
        here, there = (
            Project(each, "", broker, OpenAuthority(), Timings().scaled(0.1), Alone(), abroad=abroad)
            for each in (near, far)
        )
        hub = Hub(there)
        serving = asyncio.create_task(hub.serve())
        await asyncio.wait_for(hub.ready.wait(), SOON)
        record = AgentRecord(id=bob, handle="bob", registered=True, agent_type="x", visibility=Visibility.PUBLIC)
        await there.bucket.write(f"agent.{bob}", encode(record), revision=0)
        there.presence.hello(bob, "i-1", Hello(), there.clock.monotonic())  # ends the rest
        await eventually(lambda: abroad.directory.place(far) is not None, SOON)
        hub.leave(unload=True)
        await asyncio.wait_for(serving, SOON)

        own = Page((), 0, more=False)
        online, note = await elsewhere.with_others(here, DiscoverAgents(), ("", ""), 10_000, own)
        everybody = DiscoverAgents(include_offline=True)
        _, doubt = await elsewhere.with_others(here, everybody, ("", ""), 10_000, own)

        assert (online.agents, note) == ((), None)
        assert doubt is not None  # here no weft listens that would load it
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_in_open_mode_it_is_the_same_on_the_one_account(
    private_server: NatsServer, private_fabric: Fabric, stack: AsyncExitStack
) -> None:
    fabric, url = private_fabric, private_server.url
    private_server.start()
    fabric.weft_environment = {"NATS_URL": url, "LOOMINAL_MODE": Mode.OPEN}
    update_runtime(fabric.home, lambda _: Runtime(mode=Mode.OPEN, url=url, started_at=datetime.now(UTC)))
    for name in WEFTS:
        fabric.start_another(name)
    here, there = await pair(fabric, stack)
    ada = await here.agent("ada", visibility="public", timeout_seconds=SOON)
    bob = await there.agent("bob", visibility="public", timeout_seconds=SOON)
    eve = await there.agent("eve", timeout_seconds=SOON)

    await ada.send_direct_message(f"bob@{there.project}", "hello")
    [got] = (await bob.read_direct_messages(wait_seconds=SOON)).messages
    await bob.send_direct_message(got.sender.handle, "hello yourself")

    assert await texts(ada, 1) == ["hello yourself"]
    assert {each.guid for each in (await ada.discover_agents(scope="fabric")).agents} == {ada.guid, bob.guid}
    with pytest.raises(NotFound):
        await ada.send_direct_message(eve.guid, "hello")
    async with Broker.connect(url, name="test", inbox=subjects.reply_prefix("test"), wait_seconds=SOON) as broker:
        fabric.others["two"].kill()
        await Wefts(fabric, there.project, broker).is_led_by("one")
    assert (await ada.send_direct_message(bob.guid, "still there?")).recipient.guid == bob.guid
    await bob.register_agent("python", visibility="private")
    with pytest.raises(NotFound):
        await ada.send_direct_message(bob.guid, "still there?")
