"""A fabric on three servers of an operator: what is accepted survives any one of them, and work flows on by itself."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

import loominal
from loominal.broker import subjects
from loominal.broker.accounts import Accounts
from loominal.broker.connection import Broker
from loominal.broker.keyring import Keyring
from loominal.broker.log import Log, StreamSettings
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.channels import SendMessage
from loominal.fabric.runtime_file import machine_credential_path
from loominal.model.errors import BrokerUnavailable, LoominalError
from loominal.model.work import Move
from tests.checker import End, check, read_work
from tests.integration.cluster import Cluster, ClusterFabric, StreamInfo
from tests.integration.conftest import eventually
from tests.integration.fabric import AS_SHIPPED
from tests.patience import SOON

CROWD = Path(__file__).with_name("crowd.py")
ITEMS, AGENTS, PROCESSES = 200, 8, 2
ELECTION_SECONDS = 20.0  # the servers wait 4 to 9 s before they elect, and share this machine with much else
CALL_SECONDS = 3.0  # of calls that cannot succeed
INTO_THE_VOID = SendMessage(channel="general", message="into the void")

T = TypeVar("T")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFabric]:
    """A weft on three servers; every test leaves all three running."""
    fabric = ClusterFabric(tmp_path_factory.mktemp("cluster"), scale=AS_SHIPPED)
    try:
        fabric.start()
        yield fabric
    finally:
        fabric.stop()


@asynccontextmanager
async def hub_connection(cluster: Cluster, project: str, url: str = "") -> AsyncIterator[Broker]:
    """Yield a connection with full rights in a project."""
    credential = cluster.keyring.hub_credential(project, "test")
    async with Broker.connect(
        url or cluster.urls,
        name="test",
        inbox=subjects.reply_prefix("test"),
        credential=lambda: credential,
        wait_seconds=SOON,
    ) as broker:
        yield broker


@asynccontextmanager
async def system_connection(cluster: Cluster) -> AsyncIterator[Broker]:
    """Yield a connection that may push accounts."""
    credential = cluster.keyring.system_credential("test")
    async with Broker.connect(
        cluster.urls,
        name="system",
        inbox=subjects.reply_prefix("test"),
        credential=lambda: credential,
        wait_seconds=SOON,
    ) as broker:
        yield broker


async def whole(cluster: Cluster, project: str, stream: str) -> bool:
    """Return whether a leader and two followers have all that a stream holds."""
    try:
        told = await cluster.stream(project, stream)
    except LoominalError:
        return False
    followers = told.cluster.replicas if told else ()
    return len(followers) == 2 and all(peer.current and not peer.offline for peer in followers)


def streams_of(project: str) -> list[str]:
    bucket = subjects.bucket_stream(subjects.registry_bucket(project))
    kinds = (subjects.channels_stream, subjects.inbox_stream, subjects.work_stream, subjects.events_stream)
    return [bucket, *(kind(project) for kind in kinds)]


async def told_of(cluster: ClusterFabric, project: str, stream: str) -> StreamInfo:
    told = await cluster.cluster.stream(project, stream)
    assert told is not None
    return told


def generation(agent: Agent) -> str:
    assert agent._session.welcome is not None
    return agent._session.welcome.generation


async def hand_over(boss: Agent, worker: Agent, word: str) -> None:
    """Let one item and one message pass from `boss` to `worker`."""
    offered = await boss.broadcast_work_offer(word, capabilities=["dig"])
    [work] = (await worker.claim_work(wait_seconds=SOON)).work
    assert work.id == offered.id
    await worker.complete_work(work.id, summary=word)
    await boss.send_message("general", word)
    assert (await worker.read_messages("general", limit=50)).messages[-1].message == word


async def test_everything_is_kept_by_three_servers(cluster: ClusterFabric, project_id: str) -> None:
    async with cluster.connect("boss", project=project_id, agent_type="python") as boss:
        await boss.send_message("general", "hello")

        for project, streams in (
            (project_id, streams_of(project_id)),
            (subjects.FABRIC, streams_of(subjects.FABRIC)[:1]),
        ):
            for stream in streams:
                assert (await told_of(cluster, project, stream)).config.num_replicas == 3, stream
                await eventually(functools.partial(whole, cluster.cluster, project, stream))


async def test_whoever_wrote_reads_it_at_once_from_any_server(cluster: ClusterFabric, project_id: str) -> None:
    async with (
        cluster.connect("boss", project=project_id, agent_type="python") as boss,
        cluster.connect("worker", project=project_id, capabilities=["dig"]) as worker,
    ):
        for number in range(40):
            text = f"message {number}"
            await boss.send_message("general", text)
            assert (await boss.read_messages("general", limit=50)).messages[-1].message == text
            await boss.send_direct_message(worker.guid, text)
            assert [each.message for each in (await worker.read_direct_messages()).messages] == [text]
            offered = await boss.broadcast_work_offer(text, capabilities=["dig"])
            assert (await boss.get_work(offered.id)).description == text
            [work] = (await worker.claim_work()).work
            assert (await boss.get_work(work.id)).history[-1].move == "claim"
            await worker.complete_work(work.id, summary=text, result={"n": number})
            done = await boss.get_work(work.id)
            assert (done.result, "complete" in [entry.move for entry in done.history]) == ({"n": number}, True)
            await boss.read_direct_messages()


async def test_each_server_is_killed_in_turn_first_the_leader_of_the_work_with_200_items_in_flight(
    cluster: ClusterFabric, project_id: str, record_property: Callable[[str, object], None]
) -> None:
    async with (
        cluster.connect("boss", project=project_id, agent_type="python") as boss,
        cluster.connect("worker", project=project_id, capabilities=["dig"]) as worker,
    ):
        leader = (await told_of(cluster, project_id, subjects.work_stream(project_id))).cluster.leader
        gap = await race(cluster, boss, leader)
        record_property("longest_gap_seconds", gap)
        print(f"longest gap {gap:.1f} s")
        assert gap < ELECTION_SECONDS
        await start_again(cluster, project_id, leader)

        for name in cluster.cluster.members.keys() - {leader}:
            async with hub_connection(cluster.cluster, project_id, cluster.cluster.members[name].url) as only_one_url:
                cluster.cluster.kill(name)
                await hand_over(boss, worker, f"without {name}")
                await only_one_url.wait_up(ELECTION_SECONDS)  # at another server, which it was told of
            await start_again(cluster, project_id, name)


async def race(cluster: ClusterFabric, boss: Agent, leader: str) -> float:
    """Let two processes of agents race for 200 items while `leader` is killed; return the longest silence, in seconds.

    Every accepted item must end once, under the claim of whoever ended it.
    """
    project = boss.project.id
    offered = [await boss.broadcast_work_offer(f"item {n}", capabilities=["race"]) for n in range(ITEMS)]
    crowds = [crowd(cluster, project, number) for number in range(PROCESSES)]
    try:
        first = crowds[0].stdout
        assert first is not None
        ends = [json.loads(await asyncio.to_thread(first.readline)) for _ in range(10)]
        cluster.cluster.kill(leader)
        offered += [await boss.broadcast_work_offer(f"meanwhile {n}", capabilities=["race"]) for n in range(5)]
        async with asyncio.timeout(SOON):
            for each in crowds:
                out, _ = await asyncio.to_thread(each.communicate)
                ends += map(json.loads, out.splitlines())
    finally:
        for each in crowds:
            each.kill()
            each.wait()

    async with hub_connection(cluster.cluster, project) as broker:
        records = await read_work(Log(broker, subjects.work_stream(project)), project)
    checked = check(project, records)
    assert checked.faults == []
    expected = {item.id for item in offered}
    assert set(checked.items) == expected
    assert checked.count(Move.COMPLETE) == dict.fromkeys(expected, 1)
    for lost in (Move.LAPSE, Move.RELEASE):
        assert set(checked.count(lost).values()) == {0}, "somebody lost a claim while nobody led"
    assert [end for end in ends if "error" in end] == []
    assert sorted(end["item"] for end in ends) == sorted(expected)
    assert checked.unfounded(End(end["item"], end["agent"], end["leaseToken"]) for end in ends) == []
    return max((after.stored_at - before.stored_at).total_seconds() for before, after in pairwise(records))


async def start_again(cluster: ClusterFabric, project: str, name: str) -> None:
    """Start a server that was killed; return when it has caught up."""
    cluster.cluster.start(name)
    await eventually(lambda: whole(cluster.cluster, project, subjects.work_stream(project)), ELECTION_SECONDS)


def crowd(cluster: ClusterFabric, project: str, number: int) -> subprocess.Popen[bytes]:
    settings = {
        "home": str(cluster.home),
        "project": project,
        "handles": [f"racer-{number}-{each}" for each in range(AGENTS)],
        "patience_seconds": 3,
    }
    with (cluster.home / f"crowd-{number}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.integration.crowd", json.dumps(settings)], stdout=subprocess.PIPE, stderr=log
        )


async def test_with_two_of_three_gone_calls_say_so_and_all_comes_back(cluster: ClusterFabric, project_id: str) -> None:
    async with (
        cluster.connect("boss", project=project_id, agent_type="python", timeout_seconds=SOON) as boss,
        cluster.connect("worker", project=project_id, capabilities=["dig"], timeout_seconds=SOON) as worker,
    ):
        await hand_over(boss, worker, "before")
        life = generation(boss)
        registry = (await told_of(cluster, subjects.FABRIC, streams_of(subjects.FABRIC)[0])).cluster
        left = registry.replicas[0].name  # a leader that is alone goes on for 10 s before it knows
        gone = cluster.cluster.members.keys() - {left}
        cluster.cluster.kill(*gone)
        try:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable, match=r"answer|JetStream"):
                await boss.call("send_message", INTO_THE_VOID, timeout_seconds=CALL_SECONDS)
            assert time.monotonic() - began < CALL_SECONDS + 5
            await eventually(lambda: "too few servers" in cluster.reasons())
        finally:
            cluster.cluster.start(*gone)

        await eventually(lambda: cluster.reasons() == "", ELECTION_SECONDS)
        await hand_over(worker, worker, "after")
        assert generation(worker) == life, "a server that lagged was taken for a store that lost records"


async def test_streams_of_a_cluster_that_grows_are_kept_three_times(tmp_path: Path) -> None:
    growing = Cluster(tmp_path, Keyring.open(tmp_path / "keys"))
    try:
        growing.start("n1", "n2")
        async with system_connection(growing) as system:
            await Accounts(system).push(growing.keyring.account_jwt("grown"))
        async with hub_connection(growing, "grown") as broker:
            log = Log(broker, "LATE")

            made = await once_elected(lambda: log.ensure(StreamSettings(subjects=("late.*",))))
            await once_elected(lambda: log.append("late.a", b"kept"))
            growing.start("n3")

            assert made.copies == 1

            async def spread() -> bool:
                with suppress(BrokerUnavailable):
                    await log.spread()
                return await whole(growing, "grown", log.stream)

            await eventually(spread, ELECTION_SECONDS)
            last = await log.last("late.a")
            assert last is not None
            assert last.data == b"kept"
    finally:
        growing.kill()


async def once_elected(deed: Callable[[], Awaitable[T]]) -> T:
    """Return what `deed` does as soon as the servers can decide again."""
    async with asyncio.timeout(ELECTION_SECONDS):
        while True:
            with suppress(BrokerUnavailable):
                return await deed()
            await asyncio.sleep(0.05)


async def test_an_agent_elsewhere_joins_with_a_url_and_a_machine_credential(
    cluster: ClusterFabric, project_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", cluster.cluster.members["n2"].url)
    monkeypatch.setenv("NATS_CREDS", str(machine_credential_path(cluster.home)))
    async with (
        cluster.connect("boss", project=project_id, agent_type="python") as boss,
        loominal.connect("guest", project=project_id, home=tmp_path, capabilities=["dig"]) as guest,
    ):
        await hand_over(boss, guest, "from afar")
