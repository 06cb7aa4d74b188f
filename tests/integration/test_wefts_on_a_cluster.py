"""Several wefts on three servers: a lost server lets no weft think another is lost, and both may go at once."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loominal.broker import subjects
from loominal.fabric.runtime_file import Mode, Runtime, update_runtime
from loominal.model.errors import LoominalError
from tests.integration.cluster import ClusterFabric
from tests.integration.conftest import eventually
from tests.integration.test_cluster import whole
from tests.integration.test_many_wefts import Crew, all_done_once, offering
from tests.integration.test_many_wefts import start as start_wefts
from tests.integration.workshop import Workshop, open_workshop
from tests.patience import SOON

NAMES = ("one", "two", "three")
MORE = 40  # items to be ended before the next fault
WEFTS = subjects.bucket_stream(subjects.WEFTS)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterFabric]:
    """Three servers; the test starts the wefts."""
    fabric = ClusterFabric(tmp_path)
    try:
        fabric.start_broker()
        runtime = Runtime(mode=Mode.EXTERNAL, url=fabric.url, started_at=datetime.now(UTC))
        update_runtime(fabric.home, lambda _: runtime)
        yield fabric
    finally:
        for process in fabric.others.values():
            process.kill()
            process.wait()
        fabric.stop()


@pytest.fixture
async def workshop(cluster: ClusterFabric, project_id: str) -> AsyncIterator[Workshop]:
    """A project on the three servers."""
    async with open_workshop(cluster, project_id) as workshop:
        yield workshop


def given_up(fabric: ClusterFabric, names: tuple[str, ...]) -> list[str]:
    """Return which wefts of `names` believe at present that another is gone.

    Where a weft starves for two seconds the others may believe so for a moment; no leader changes by it here.
    """
    found = []
    for name in names:
        views = re.findall(r" wefts: (.*)", (fabric.home / "machines" / name / "weft.log").read_text())
        if views[-1] != ", ".join(sorted(names)):
            found.append(f"{name}: {views[-1]}")
    return found


async def raft_leader(fabric: ClusterFabric, project: str) -> str:
    """Return the server that leads the stream of work, once there is one."""
    found = ""

    async def there_is_one() -> bool:
        nonlocal found
        try:
            told = await fabric.cluster.stream(project, subjects.work_stream(project))
        except LoominalError:
            return False
        found = told.cluster.leader if told else ""
        return bool(found)

    await eventually(there_is_one, SOON)
    return found


async def all_there(fabric: ClusterFabric) -> None:
    """Return when every weft has seen every other."""

    def seen() -> bool:
        logs = [(fabric.home / "machines" / name / "weft.log").read_text() for name in NAMES]
        return all(f"wefts: {', '.join(sorted(NAMES))}" in log for log in logs)

    await eventually(seen, SOON)


async def test_a_lost_server_changes_no_leader_and_a_weft_may_be_lost_with_the_next(
    cluster: ClusterFabric, workshop: Workshop
) -> None:
    wefts, boss = await start_wefts(workshop, *NAMES)
    await all_there(cluster)
    leader, project, servers = await wefts.leader(), workshop.project, cluster.cluster
    crew = Crew(cluster, project)
    async with crew.running():
        async with offering(boss) as items:
            await crew.until(MORE)
            keeper = await raft_leader(cluster, project)
            follower = next(name for name in servers.members if name != keeper)
            servers.kill(follower)
            lost_at = time.monotonic()
            await crew.until(len(crew.ended) + MORE)
            await asyncio.to_thread(servers.start, follower)
            for place, stream in ((project, subjects.work_stream(project)), (subjects.FABRIC, WEFTS)):
                await eventually(functools.partial(whole, servers, place, stream), SOON)

            servers.kill(await raft_leader(cluster, project))
            second_at = time.monotonic()
            await crew.until(len(crew.ended) + MORE)
            assert await wefts.leader() == leader
            await eventually(lambda: not given_up(cluster, NAMES), SOON)

            cluster.others[leader].kill()
            killed_at = time.monotonic()
            assert await wefts.led_by_other(leader) in set(NAMES) - {leader}
            await crew.until(len(crew.ended) + MORE)
        await crew.until(len(items))
    print(f"longest gaps: {crew.gap(lost_at, second_at):.1f} s, a follower lost;", end=" ")
    print(f"{crew.gap(second_at, killed_at):.1f} s, the stream's leader lost; {crew.gap(killed_at):.1f} s, a weft lost")
    await all_done_once(workshop, crew, items)
