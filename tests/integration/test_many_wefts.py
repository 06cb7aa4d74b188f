"""Several wefts on one fabric: one leads each project, and when it dies, freezes or leaves, work goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

import loominal
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.log import Log
from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.asking import Asking
from loominal.fabric.enrolment import Enrolled
from loominal.fabric.hub import streams
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.lead.guard import guarded
from loominal.fabric.hub.lead.leadership import LeaderRecord
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.fabric.runtime_file import Mode, Runtime, read_runtime, update_runtime
from loominal.local.status import status_of
from loominal.local.weft_api import not_ready
from loominal.model import record
from loominal.model.errors import BrokerUnavailable, Conflict, Forbidden, LoominalError, UpgradeNeeded
from loominal.model.members import order
from loominal.model.work import Move
from tests.checker import End, check, read_work
from tests.integration.alone import Alone
from tests.integration.conftest import NatsServer, eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import enrolment, own_machine
from tests.integration.visitor import is_refused
from tests.integration.workshop import Workshop, ended, open_workshop
from tests.patience import SOON

THERE = " wefts: "  # what a weft logs first that sees others
CROWD = Path(__file__).with_name("crowd.py")
ITEMS = 500
MOST_UNHEARD = 2  # claims of hundreds
FLOWS_AGAIN_SECONDS = 12.0  # four on a machine of its own
HANDED_OVER_SECONDS = 3.0  # one on a machine of its own
TURNS = 3  # of waiting for a processor that a change of leaders takes: the former one, the next, who asks again
OFFERING, PAUSE_SECONDS = 4, 0.1


class Crew:
    """Agents in processes of their own that take and finish work; when each end came is kept."""

    def __init__(self, fabric: Fabric, project: str) -> None:
        self.ended: list[tuple[float, dict[str, object]]] = []
        self._settings = [
            {
                "home": str(fabric.home),
                "project": project,
                "handles": [f"racer-{process}-{agent}" for agent in range(4)],
                "patience_seconds": 45,  # longer than a test: the crew is ended
            }
            for process in range(2)
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Crew]:
        """Yield while they work; their processes are ended with the block."""
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, CROWD, json.dumps(settings), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            for settings in self._settings
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for process in processes:
                    assert process.stdout is not None
                    group.create_task(self._read(process.stdout))
                yield self
                await self._end(processes)
        finally:
            await self._end(processes)

    async def until(self, count: int) -> None:
        """Return when `count` items were ended."""
        async with asyncio.timeout(SOON):
            while len(self.ended) < count:  # noqa: ASYNC110 - the lines come from other processes
                await asyncio.sleep(0.01)

    def gap(self, since: float, until: float = math.inf) -> float:
        """Return the longest time without an end between `since` and `until`, or the last end."""
        times = [since, *(at for at, _ in self.ended if since < at < until), *([until] if math.isfinite(until) else [])]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def starved(self, until: float, since: float = 0.0) -> float:
        """Return what to allow beside any bound: by the longest time without an end while nothing was wrong."""
        return TURNS * self.gap(max(self.ended[0][0], since), until)

    def ends(self) -> list[End]:
        """Return the ends that were accepted."""
        return [
            End(str(e["item"]), str(e["agent"]), int(str(e["leaseToken"]))) for _, e in self.ended if "error" not in e
        ]

    async def _end(self, processes: list[asyncio.subprocess.Process]) -> None:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            end = json.loads(line)
            self.ended.append((end["at"], end))


class Wefts:
    """The wefts of a test, by name, and who leads its project."""

    def __init__(self, fabric: Fabric, project: str, broker: Broker) -> None:
        self.fabric = fabric
        self.project = project
        self._log = Log(broker, subjects.work_stream(self.project))

    async def leader(self) -> str:
        """Return who leads the project, "" if nobody does."""
        async with asyncio.timeout(SOON):
            while True:
                with contextlib.suppress(BrokerUnavailable):  # a cluster elects
                    last = await self._log.last(subjects.leader(self.project))
                    return record.decode(LeaderRecord, last.data).value.weft if last else ""
                await asyncio.sleep(0.05)

    async def led_by_other(self, name: str) -> str:
        """Return who leads once that is not `name`, nor nobody."""
        async with asyncio.timeout(SOON):
            while (found := await self.leader()) in ("", name):  # noqa: ASYNC110 - nothing tells of it but the log
                await asyncio.sleep(0.02)
        return found

    async def records(self) -> int:
        """Return how many records the project's work log has had."""
        state = await self._log.state()
        return state.last if state else 0

    async def is_led_by(self, name: str) -> None:
        """Return when `name` leads the project."""

        async def is_so() -> bool:
            return await self.leader() == name

        await eventually(is_so, SOON)

    async def is_warm(self, name: str) -> None:
        """Return when `name` has loaded the project and does not lead it."""
        await says(self.fabric, name, f"project {self.project} is followed")


async def says(fabric: Fabric, name: str, text: str) -> None:
    """Return when `text` is in the log of the weft `name`."""
    log = fabric.home / "machines" / name / "weft.log"
    await eventually(lambda: text in log.read_text(), SOON)


@pytest.fixture
async def workshop(private_fabric: Fabric, project_id: str) -> AsyncIterator[Workshop]:
    """A project on a fabric whose wefts the test starts."""
    private_fabric.start_broker()
    async with open_workshop(private_fabric, project_id) as workshop:
        yield workshop


async def start(workshop: Workshop, *names: str) -> tuple[Wefts, Agent]:
    """Return wefts that serve the project, and an agent in it: the first in order leads it, the second is warm."""
    for name in names:
        workshop.fabric.start_another(name)
    for name in names:
        await says(workshop.fabric, name, THERE)
    boss = await workshop.agent("boss", capabilities=["boss"], timeout_seconds=SOON)
    wefts = Wefts(workshop.fabric, workshop.project, await workshop.broker())
    first, *others = order(workshop.project, names)
    await wefts.is_led_by(first)
    for name in others[:1]:
        await wefts.is_warm(name)
    return wefts, boss


async def offer(boss: Agent, count: int = ITEMS) -> set[str]:
    """Offer so many items, several at a time; return their ids."""
    found: set[str] = set()

    async def some(first: int) -> None:
        for number in range(first, count, 8):
            found.add((await boss.broadcast_work_offer(f"item {number}", capabilities=["race"], notify="none")).id)

    await asyncio.gather(*(some(first) for first in range(8)))
    return found


@asynccontextmanager
async def offering(boss: Agent) -> AsyncIterator[set[str]]:
    """Yield the ids of the items that are offered meanwhile, so that at any time some are in flight."""
    items: set[str] = set()

    async def some() -> None:
        while not over.is_set():
            items.add((await boss.broadcast_work_offer("goes on", capabilities=["race"], notify="none")).id)
            await asyncio.sleep(PAUSE_SECONDS)

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(OFFERING):
            group.create_task(some())
        yield items
        over.set()


async def all_done_once(workshop: Workshop, crew: Crew, items: set[str]) -> None:
    """Hold that every item was done, once, by the claim whose holder heard so, and at its first attempt."""
    checked = await workshop.check()
    assert items <= set(checked.items)
    assert checked.unfounded(crew.ends()) == []
    assert {states[-1].status for item, states in checked.items.items() if item in items} == {"done"}
    handed_back = checked.count(Move.RELEASE)  # a claim of which its agent did not hear in time: the machine starved
    assert sum(handed_back.values()) <= MOST_UNHEARD
    assert {count - handed_back[item] for item, count in checked.count(Move.CLAIM).items()} == {1}
    assert checked.count(Move.LAPSE) == dict.fromkeys(checked.items, 0)


async def test_work_goes_on_when_the_leader_is_killed(workshop: Workshop) -> None:
    wefts, boss = await start(workshop, "one", "two")
    items = await offer(boss)
    crew = Crew(workshop.fabric, workshop.project)
    async with crew.running():
        await crew.until(30)
        leader = await wefts.leader()
        workshop.fabric.others[leader].kill()
        killed_at = time.monotonic()

        await crew.until(ITEMS)
        assert await wefts.leader() not in ("", leader)
    print(f"killed: nothing ended for {crew.gap(killed_at):.2f} s")
    assert crew.gap(killed_at) < FLOWS_AGAIN_SECONDS + crew.starved(killed_at)
    await all_done_once(workshop, crew, items)


async def test_in_open_mode_work_goes_on_too(
    private_server: NatsServer, private_fabric: Fabric, project_id: str
) -> None:
    fabric, url = private_fabric, private_server.url
    private_server.start()
    fabric.weft_environment = {"NATS_URL": url, "LOOMINAL_MODE": Mode.OPEN}
    update_runtime(fabric.home, lambda _: Runtime(mode=Mode.OPEN, url=url, started_at=datetime.now(UTC)))
    for name in ("one", "two"):
        fabric.start_another(name)
    for name in ("one", "two"):
        await says(fabric, name, THERE)
    async with (
        Broker.connect(url, name="test", inbox=subjects.reply_prefix("test"), wait_seconds=SOON) as broker,
        fabric.connect("boss", project=project_id, capabilities=["boss"], timeout_seconds=SOON) as boss,
    ):
        wefts, crew = Wefts(fabric, project_id, broker), Crew(fabric, project_id)
        leader, other = order(project_id, ("one", "two"))
        async with offering(boss) as items:  # a weft loads what it hears requests for
            await wefts.is_led_by(leader)
            await wefts.is_warm(other)
        items |= await offer(boss, 200)
        async with crew.running():
            await crew.until(20)
            fabric.others[leader].kill()
            killed_at = time.monotonic()
            await crew.until(len(items))
        assert await wefts.leader() == other
        assert crew.gap(killed_at) < FLOWS_AGAIN_SECONDS + crew.starved(killed_at)
        checked = check(project_id, await read_work(Log(broker, subjects.work_stream(project_id)), project_id))
    assert (checked.faults, checked.unfounded(crew.ends())) == ([], [])
    handed_back = checked.count(Move.RELEASE)  # a claim of which no agent heard: on a starved machine that happens
    assert {count - handed_back[item] for item, count in checked.count(Move.CLAIM).items()} == {1}


async def test_a_frozen_leader_is_replaced_and_answers_nothing_when_it_thaws(workshop: Workshop) -> None:
    wefts, boss = await start(workshop, "one", "two")
    items = await offer(boss)
    crew = Crew(workshop.fabric, workshop.project)
    async with crew.running():
        await crew.until(30)
        leader = await wefts.leader()
        frozen = workshop.fabric.others[leader]
        workshop.fabric.freeze(frozen)
        frozen_at = time.monotonic()
        other = await wefts.led_by_other(leader)
        async with offering(boss) as more:
            await asyncio.sleep(max(frozen_at + 10 - time.monotonic(), 0))
            assert await wefts.leader() == other
            workshop.fabric.thaw(frozen)  # later it may be handed the lead
            await crew.until(len(crew.ended) + 40)
        items |= more

        await crew.until(len(items))
    print(f"frozen: nothing ended for {crew.gap(frozen_at, frozen_at + 6):.2f} s")
    assert crew.gap(frozen_at, frozen_at + 6) < FLOWS_AGAIN_SECONDS + crew.starved(frozen_at)
    await all_done_once(workshop, crew, items)


async def test_a_rolling_restart_that_meets_the_leader_each_time_stops_nobody(workshop: Workshop) -> None:
    wefts, boss = await start(workshop, "one", "two", "three")
    items = await offer(boss)
    crew = Crew(workshop.fabric, workshop.project)
    gaps = []
    async with crew.running():
        async with offering(boss) as more:
            for name in ("four", "five", "six"):
                since = time.monotonic()
                workshop.fabric.start_another(name)
                await says(workshop.fabric, name, THERE)
                await crew.until(len(crew.ended) + 20)
                leader = await wefts.leader()
                at = time.monotonic()
                await end(workshop.fabric.others[leader])
                await wefts.led_by_other(leader)
                await crew.until(len(crew.ended) + 20)
                gaps.append((crew.gap(at, time.monotonic()), crew.starved(at, since)))
        await crew.until(len(items | more))
    print("rolling restart:", *(f"{gap:.2f} s, allowed beside {beside:.2f} s;" for gap, beside in gaps))
    assert min(gap - beside for gap, beside in gaps) < HANDED_OVER_SECONDS  # what holds one up is the machine
    assert all(gap < FLOWS_AGAIN_SECONDS + beside for gap, beside in gaps)
    await all_done_once(workshop, crew, items | more)


async def test_a_newcomer_that_is_first_in_order_gets_the_lead_when_the_leader_has_settled(workshop: Workshop) -> None:
    second, first = sorted(("one", "two"), key=lambda name: order(workshop.project, ("one", "two")).index(name) * -1)
    wefts, boss = await start(workshop, second)
    workshop.fabric.start_another(first)
    await wefts.is_warm(first)

    assert await wefts.led_by_other(second) == first
    await boss.broadcast_work_offer("goes on", capabilities=["race"])
    home = workshop.fabric.home / "machines" / second

    def both_are_told() -> bool:
        told = status_of(home, read_runtime(home))
        return (set(told.leaders.values()), told.wefts) == ({first}, sorted((first, second)))

    await eventually(both_are_told, SOON)


def newer_release(directory: Path) -> Path:
    """Return the folder of a release like this one that stores in the next format."""
    folder = directory / "newer"
    shutil.copytree(Path(loominal.__file__).parent, folder / "loominal", ignore=shutil.ignore_patterns("__pycache__"))
    module = folder / "loominal" / "fabric" / "hub" / "streams.py"
    module.write_text(module.read_text().replace("FORMAT = 1 ", "FORMAT = 2 "))
    return folder


async def end(weft: subprocess.Popen[bytes]) -> None:
    """Tell a weft to stop, and return when it has."""
    weft.send_signal(signal.SIGTERM)
    await asyncio.to_thread(weft.wait, SOON)


def serves(home: Path) -> bool:
    return not not_ready(home)


async def refused(deed: Awaitable[object]) -> str:
    """Return with what code `deed` is refused, "" if it is not."""
    try:
        await deed
    except LoominalError as error:
        return error.code
    return ""


async def test_an_older_release_only_reads_what_a_newer_one_has_written(workshop: Workshop, tmp_path: Path) -> None:
    newer, project, home = newer_release(tmp_path), workshop.project, workshop.fabric.home / "machines" / "old"
    fabric = workshop.fabric
    wefts, boss = await start(workshop, "first")
    worker = await workshop.agent("worker", capabilities=["race"], timeout_seconds=SOON)
    fabric.start_another("new", newer)
    await wefts.is_warm("new")
    await end(fabric.others["first"])  # it hands over: a rolling upgrade, of which the next one missed its turn
    fabric.start_another("old")
    assert await wefts.led_by_other("first") == "new"
    await eventually(lambda: serves(home), SOON)
    held = (await boss.broadcast_work_offer("by the new one", capabilities=["race"])).id
    assert [work.id for work in (await worker.claim_work(wait_seconds=SOON)).work] == [held]
    late = (await boss.broadcast_work_offer("nobody will be there to judge it", deadline="4s")).id
    fabric.others["new"].kill()
    past = time.monotonic() + 5  # then the deadline is over

    with pytest.raises(UpgradeNeeded, match="stored in format 2, the coordinator that answers writes 1") as told:
        await boss.broadcast_work_offer("by nobody")
    assert "pip install -U loominal" in told.value.hint
    before = await wefts.records()
    await eventually(lambda: any("stored in format 2" in why for why in not_ready(home)), SOON)
    async with fabric.connect(project=project, timeout_seconds=SOON) as visitor:
        assert "general" in {channel.name for channel in (await visitor.list_channels()).channels}
    assert (await boss.get_work(held)).claimed_by == worker.handle
    await eventually(lambda: sees_online(boss, {"boss", "worker"}), SOON)
    assert not (await boss.read_messages("general")).messages
    assert (await boss.wait_for_events(wait_seconds=0)).unread == 0
    deeds = (
        boss.send_message("general", "x"),
        boss.join(),
        worker.claim_work(),
        worker.complete_work(held, summary="x"),
    )
    assert [await refused(deed) for deed in deeds] == ["upgrade_needed"] * 4
    await asyncio.sleep(max(past - time.monotonic(), 0))
    assert {item.id: item.status for item in (await boss.list_work()).items} == {held: "claimed", late: "ready"}
    assert await wefts.records() == before

    fabric.start_another("newer", newer)
    assert await wefts.led_by_other("new") == "newer"
    await until_done(lambda: worker.complete_work(held, summary="at last"))
    assert (await ended(boss, late, SOON)).status == "dead"
    await end(fabric.others["newer"])  # it leaves the project to nobody, and not to "old"
    assert (await boss.get_work(held)).status == "done"
    assert await wefts.leader() == ""


async def until_done(deed: Callable[[], Awaitable[object]]) -> None:
    """Do `deed` until it is not refused: a weft that only reads learns a moment late that another one leads."""
    async with asyncio.timeout(SOON):
        while (code := await refused(deed())) == "upgrade_needed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert code == ""


async def sees_online(agent: Agent, handles: set[str]) -> bool:
    return {found.handle for found in (await agent.discover_agents()).agents} == handles


async def test_a_former_leaders_guarded_write_is_refused(broker: Broker, project_id: str) -> None:
    former, next_one = (Project(project_id, "", broker, OpenAuthority(), Timings(), Alone(name)) for name in "ab")
    await streams.ensure(former)
    await former.leadership.take(former)
    subject = subjects.launch(project_id, "l1")
    first = await guarded(former, subject, b"{}", 0)
    second = await guarded(former, subject, b"{}", first)

    await next_one.leadership.read(next_one)
    await next_one.leadership.take(next_one)

    with pytest.raises(Conflict):
        await guarded(former, subject, b"{}", second)
    with pytest.raises(Conflict):
        await former.leadership.take(former)
    assert not await former.leadership.confirmed(former)
    assert await guarded(next_one, subject, b"{}", second) > second


async def test_a_leader_that_does_not_know_how_a_guarded_write_ended_writes_on(broker: Broker, project_id: str) -> None:
    leader = Project(project_id, "", broker, OpenAuthority(), Timings(), Alone())
    await streams.ensure(leader)
    await leader.leadership.take(leader)
    subject, fence = subjects.launch(project_id, "l1"), leader.leadership.fence
    first = await guarded(leader, subject, b"{}", 0)
    leader.leadership.fence = fence  # as if no answer had come, nor one to the question what had become of it

    second = await guarded(leader, subject, b"{}", first)

    assert second > first
    with pytest.raises(Conflict):
        await guarded(leader, subject, b"{}", first)


async def test_one_of_two_keys_wins_an_agent_id_whichever_weft_is_asked(workshop: Workshop) -> None:
    await start(workshop, "one", "two")
    agent_id = str(uuid.uuid4())

    async def enter(home: Path) -> str:
        shutil.copytree(workshop.fabric.home, home, ignore=lambda *_: ["agents", "broker", "machines", "keys"])
        try:
            await workshop.agent("same", home=home, agent_id=agent_id)
        except LoominalError as error:
            return error.code
        return "ok"

    homes = [workshop.fabric.home.parent / f"home {number}" for number in range(4)]
    assert sorted(await asyncio.gather(*map(enter, homes))) == ["forbidden"] * 3 + ["ok"]


async def test_wefts_with_copies_of_the_keys_serve_what_is_first_used_later(workshop: Workshop) -> None:
    fabric, project = workshop.fabric, workshop.project
    wefts, boss = await start(workshop, "one")
    operator = await workshop.agent("operator", operator=True, timeout_seconds=SOON)
    key, outcast = KeyPair.generate(Kind.USER), str(uuid.uuid4())
    credential = Credential(jwt=await enrolled(fabric, enrolment(project, key, outcast)), key=key)
    inbox = subjects.reply_prefix(outcast)
    async with Broker.connect(
        fabric.url, name="outcast", inbox=inbox, credential=lambda: credential, wait_seconds=SOON
    ) as connection:
        fabric.start_another("two")
        await wefts.is_warm("two")
        await operator.revoke_agent(outcast)
        await eventually(lambda: not connection.up, SOON)
    for name, former in (("two", "one"), ("three", "two")):
        if name not in fabric.others:
            fabric.start_another(name)
            await wefts.is_warm(name)
        fabric.others[former].kill()
        assert await wefts.led_by_other(former) == name
        worker = await workshop.agent(f"of-{name}", capabilities=[name], timeout_seconds=SOON)  # enrols where it can
        offered = await boss.broadcast_work_offer("anything", capabilities=[name])
        assert [work.id for work in (await worker.claim_work(wait_seconds=SOON)).work] == [offered.id]
        await worker.complete_work(offered.id, summary="done")

        with pytest.raises(Forbidden, match="was cut off"):
            await enrolled(fabric, enrolment(project, key, outcast))
        assert await is_refused(fabric.url, credential)


async def enrolled(fabric: Fabric, request: bytes) -> str:
    """Return the JWT that an enrolment brings, asked for until there is an answer. Raises: what is answered."""
    machine = own_machine(fabric)
    inbox = subjects.reply_prefix(machine.name)
    async with Broker.connect(
        fabric.url, name="enrols", inbox=inbox, credential=lambda: machine, wait_seconds=SOON
    ) as broker:
        answer, _ = await Asking(broker).answer(subjects.enrol(machine.name), request, seconds=SOON)
    return msgspec.json.decode(answer, type=Enrolled).jwt


async def test_what_nobody_needs_is_left_and_comes_back_for_its_deadline(workshop: Workshop, project_id: str) -> None:
    workshop.fabric.scale = 0.0025  # left after 1.5 s
    workshop.fabric.start_another("one")
    await says(workshop.fabric, "one", THERE)
    async with workshop.fabric.connect("boss", project=project_id, agent_type="python", timeout_seconds=SOON) as boss:
        offered = await boss.broadcast_work_offer("too late", capabilities=["race"], deadline="7s")
    wefts = Wefts(workshop.fabric, workshop.project, await workshop.broker())
    async with asyncio.timeout(SOON):
        while await wefts.leader() != "":  # noqa: ASYNC110 - nothing tells of it but the log
            await asyncio.sleep(0.05)

    async with asyncio.timeout(SOON):  # somebody has to lead it for that, and may have left it again
        while (await workshop.check()).items[offered.id][-1].status != "dead":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
