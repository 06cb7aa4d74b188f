"""How long it takes until something is there: the client's import, a connection, weft."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.figure import Figure, interleaved
from bench.place import Place, raw_connection
from bench.settings import Settings
from tests.integration.fabric import Fabric


async def starting(place: Place, settings: Settings) -> list[Figure]:
    """Return what imports, connecting and weft's start take."""
    return [*await _importing(settings), *await _connecting(place, settings), *await _serving(settings)]


async def _importing(settings: Settings) -> list[Figure]:
    ours, raw = await interleaved(
        settings.rounds, lambda: _python("import loominal.fabric.client"), lambda: _python("import nats")
    )
    return [_figure("import loominal.fabric.client", ours, raw, "import nats")]


async def _connecting(place: Place, settings: Settings) -> list[Figure]:
    agent_id = str(uuid4())

    async def ours() -> float:
        began = time.perf_counter()
        async with place.fabric.connect(project=place.project, agent_id=agent_id) as agent:
            await agent.list_channels()
            return time.perf_counter() - began

    async def raw() -> float:
        began = time.perf_counter()
        async with raw_connection(place.fabric.home, place.fabric.url, place.project) as broker:
            await broker.request("$JS.API.INFO", b"", seconds=5)
            return time.perf_counter() - began

    found, under = await interleaved(settings.rounds, ours, raw)
    return [_figure("connect to first answer", found, under, "connect+request")]


async def _serving(settings: Settings) -> list[Figure]:
    """Measure weft's start beside the broker's own, each time in a new fabric."""
    ours, raw = [], []
    for _ in range(settings.rounds):
        with tempfile.TemporaryDirectory(prefix="loominal-bench-") as home:
            fabric = Fabric(Path(home), scale=1)
            try:
                raw.append(await _taken(fabric.start_broker))
                ours.append(await _taken(fabric.start_weft))
            finally:
                fabric.stop()
    return [_figure("weft, start to ready", ours, raw, "nats-server, start to listening")]


async def _python(code: str) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0, code
    return time.perf_counter() - began


async def _taken(start: Callable[[], None]) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(start)
    return time.perf_counter() - began


def _figure(name: str, ours: Sequence[float], raw: Sequence[float], raw_name: str) -> Figure:
    return Figure(name=name, value=1000 * median(ours), unit="ms", raw=1000 * median(raw), raw_name=raw_name)
