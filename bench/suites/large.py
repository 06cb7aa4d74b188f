"""Sizes that take minutes to make, each in a fabric of its own: a hub with very many items, very many idle projects."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figure import Figure
from bench.place import Place, new_place, raw_connection
from bench.process import cpu_seconds, open_files, resident_megabytes
from bench.seed import fill_work
from bench.settings import Settings
from loominal.broker import subjects
from loominal.broker.follower import Follower
from loominal.broker.log import Log
from tests.integration.fabric import Fabric

ITEMS = 100_000
ITEM_CHARACTERS = 20_000
PROJECTS = 1000
CONNECTING = 8  # projects that are made at the same time
PULL_SECONDS = 120.0
CALM_SECONDS = 10.0  # after which the last of the new projects is idle
LOADED = 300  # projects that are loaded at the same time; weft leaves those that nobody needs
LEAVING_SCALE = 0.01  # of all timings: a project is left after 6 s, the first ones while others are still made
LEFT_SECONDS = 600.0  # for all projects to be left


class RelaxedFabric(Fabric):
    """A fabric whose broker may answer before the disk has it, while `relaxed`: for seeding."""

    relaxed = False

    def broker_config(self) -> str:
        """Return the shipped configuration, or one that syncs now and then."""
        shipped = super().broker_config()
        assert "sync_interval: always" in shipped
        return shipped.replace("sync_interval: always", 'sync_interval: "2m"') if self.relaxed else shipped


async def returning(_place: Place, settings: Settings) -> list[Figure]:
    """Return how long weft needs until it serves a project with many items again, and its memory then."""
    if not settings.large:
        return []
    with _fabric() as fabric:
        fabric.start()
        async with new_place(fabric, relaxed_seconds=PULL_SECONDS) as place:
            fabric.kill_weft()
            await _seed(fabric, place.project)
            back, pulled, memory = [], [], []
            for _ in range(settings.rounds):
                pulled.append(await _pulled(fabric, place.project))
                began = time.perf_counter()
                await asyncio.to_thread(fabric.start_weft)
                assert (await place.boss.list_work(limit=1)).items  # the project is loaded when somebody asks for it
                back.append(time.perf_counter() - began)
                assert fabric.weft is not None
                memory.append(resident_megabytes(fabric.weft.pid))
                fabric.kill_weft()
    name = f"hub with {ITEMS} items"
    value, raw = 1000 * median(back), 1000 * median(pulled)
    return [
        Figure(name=f"{name}, back", value=value, unit="ms", raw=raw, raw_name=f"pull of {ITEMS} messages", at_most=3),
        Figure(name=f"{name}, memory of weft", value=median(memory), unit="MB", at_most=600),
    ]


async def crowding(_place: Place, settings: Settings) -> list[Figure]:
    """Return what a project costs in which nothing happens: while it is loaded, and when it was left."""
    if not settings.large:
        return []
    return await _crowd("loaded", LOADED, 1, settings) + await _crowd("left", PROJECTS, LEAVING_SCALE, settings)


async def _crowd(state: str, projects: int, scale: float, settings: Settings) -> list[Figure]:
    """Return what so many projects cost that an agent has visited."""
    with _fabric(scale) as fabric:
        fabric.start()
        async with new_place(fabric):
            weft, broker = fabric.weft, fabric.broker
            assert weft is not None
            assert broker is not None
            before = [resident_megabytes(each.pid) for each in (weft, broker)]
            files = open_files(weft.pid)
            await _visit(fabric, projects)
            if state == "left":
                async with asyncio.timeout(LEFT_SECONDS):
                    while open_files(weft.pid) > files:  # noqa: ASYNC110 - each loaded project has its connection
                        await asyncio.sleep(1)
            await asyncio.sleep(CALM_SECONDS)
            spent = [cpu_seconds(each.pid) for each in (weft, broker)]
            await asyncio.sleep(settings.idle_seconds)
            figures = []
            for name, process, then, used in zip(("weft", "nats-server"), (weft, broker), before, spent, strict=True):
                kilobytes = 1000 * (resident_megabytes(process.pid) - then) / projects
                minute = 60_000 * (cpu_seconds(process.pid) - used) / settings.idle_seconds
                target = 100 if name == "weft" else None
                figures.append(Figure(name=f"a {state} project, {name}", value=kilobytes, unit="KB", at_most=target))
                figures.append(
                    Figure(name=f"{name}, {projects} {state} projects, CPU in 60 s", value=minute, unit="ms")
                )
    return figures


@contextmanager
def _fabric(scale: float = 1) -> Iterator[RelaxedFabric]:
    with tempfile.TemporaryDirectory(prefix="loominal-bench-") as home:
        fabric = RelaxedFabric(Path(home), scale=scale, max_file_bytes=4 << 30)
        try:
            yield fabric
        finally:
            fabric.stop()


async def _seed(fabric: RelaxedFabric, project: str) -> None:
    """Write the items while the broker syncs now and then; afterwards it has the shipped configuration again."""
    fabric.kill_broker()
    fabric.relaxed = True
    fabric.start_broker()
    async with raw_connection(fabric.home, fabric.url, project) as raw:
        await fill_work(Log(raw, subjects.work_stream(project)), project, 0, ITEMS, ITEM_CHARACTERS)
    fabric.kill_broker()
    fabric.relaxed = False
    fabric.start_broker()


async def _pulled(fabric: Fabric, project: str) -> float:
    """Return how long it takes to be sent the items' records and to do nothing with them."""
    async with raw_connection(fabric.home, fabric.url, project) as raw, asyncio.TaskGroup() as group:
        began = time.perf_counter()
        log = Log(raw, subjects.work_stream(project))
        follower = Follower(log, subjects.every("wk", project), lambda _: None)
        pulling = group.create_task(follower.run())
        await follower.caught_up(PULL_SECONDS)
        taken = time.perf_counter() - began
        pulling.cancel()
    return taken


async def _visit(fabric: Fabric, projects: int) -> None:
    """Let an agent come to each project and leave again."""
    numbers = iter(range(projects))

    async def some() -> None:
        for number in numbers:
            async with fabric.connect(project=f"idle-{number}", timeout_seconds=60) as agent:
                await agent.list_channels()

    await asyncio.gather(*(some() for _ in range(CONNECTING)))
