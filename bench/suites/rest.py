"""Over HTTP: an offer, and until whoever reads events hears of it; offers and lists among few and among many."""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path

from bench.figure import Figure, Spread, interleaved, latencies, middle, spread, timed
from bench.http_connection import HttpConnection, Json, http_connection
from bench.place import Place, new_place
from bench.seed import fill_registry, fill_work
from bench.settings import Settings
from loominal.broker import subjects
from loominal.broker.log import Log
from tests.integration.event_reader import EventReader, reading
from tests.integration.fabric import Fabric

RATE = "1000000"  # requests a second that are let in: more than come
OFFER = {"description": "Rename the shuttle's bobbin and say so in the change log. " * 6, "capability": "skill-1"}
FEW, MANY, LARGE = 10, 1000, 10_000
SEEN_SECONDS = 120.0


async def resting(_place: Place, settings: Settings) -> list[Figure]:
    """Return what asking over HTTP costs, on one connection."""
    with tempfile.TemporaryDirectory(prefix="loominal-bench-") as home:
        fabric = Fabric(Path(home), scale=1)
        fabric.weft_environment = {"API_RATE": RATE}
        try:
            fabric.start()
            async with new_place(fabric) as place, http_connection(fabric.home) as connection:
                figures = await _offering(place, connection, settings)
            size = LARGE if settings.large else MANY
            async with new_place(fabric) as few, new_place(fabric) as many:
                await _fill(few, FEW)
                await _fill(many, size)
                async with http_connection(fabric.home) as connection:
                    return figures + await _crowded(few, many, size, connection, settings)
        finally:
            fabric.stop()


async def _offering(place: Place, connection: HttpConnection, settings: Settings) -> list[Figure]:
    """Return what an offer costs, and when a reader of events hears of it."""
    path, count = _path(place, "/api/work"), settings.count(100)
    offered = await connection.ask("POST", path, OFFER)
    log = Log(place.raw, subjects.work_stream(place.project))
    size = await place.record_bytes(log, subjects.item(place.project, offered["id"]))
    ours, raw = await interleaved(
        settings.rounds,
        lambda: timed(count, lambda _: connection.ask("POST", path, OFFER)),
        lambda: timed(count, lambda _: place.publish(size)),
    )
    figures = latencies("offer over HTTP", middle(ours), middle(raw), "publish+ack", p50=8)
    async with reading(place.fabric.home, projectId=place.project, topics="work") as reader:
        heard, raw = await interleaved(
            settings.rounds,
            lambda: _heard(connection, path, reader, count),
            lambda: timed(count, lambda _: place.publish(size)),
        )
    return figures + latencies("offer over HTTP, its event read", middle(heard), middle(raw), "publish+ack", p95=10)


async def _heard(connection: HttpConnection, path: str, reader: EventReader, count: int) -> Spread:
    """Return how long it takes from the call until the event is read."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        offered = await connection.ask("POST", path, OFFER)
        event = await reader.until("work:submitted")
        taken.append(time.perf_counter() - began)
        assert event.data["data"]["id"] == offered["id"]
    return spread(taken)


async def _crowded(few: Place, many: Place, size: int, connection: HttpConnection, settings: Settings) -> list[Figure]:
    """Return what offers and lists cost among many agents and items, beside the same among few."""
    count, figures = settings.count(40), []
    for name, method, path, body in (
        ("offers", "POST", "/api/work", OFFER),
        ("work", "GET", "/api/work?limit=10", None),
        ("ready work of a skill", "GET", "/api/work?limit=10&status=ready&capability=skill-1", None),
        ("agents", "GET", "/api/agents?limit=10&includeOffline=true", None),
        ("agents of a skill", "GET", "/api/agents?limit=10&includeOffline=true&capability=skill-1", None),
    ):
        ours, raw = await interleaved(
            settings.rounds,
            *(
                partial(timed, count, partial(_ask, connection, method, _path(place, path), body))
                for place in (many, few)
            ),
        )
        value, under = middle(ours).p50, middle(raw).p50
        name = f"{name} over HTTP, {size} agents and items p50"
        figures.append(Figure(name=name, value=value, unit="ms", raw=under, raw_name=f"{FEW} of each p50", at_most=2))
    return figures


async def _fill(place: Place, number: int) -> None:
    """Let there be so many agents and items; return when the hub knows the last of each."""
    await place.boss.broadcast_work_offer("the first one", required_capability="skill-1")  # makes the stream
    await fill_registry(place, 0, number)
    await fill_work(Log(place.raw, subjects.work_stream(place.project)), place.project, 0, number)
    async with asyncio.timeout(SEEN_SECONDS):
        while (await place.boss.list_work(limit=1)).total <= number:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.1)
        while (await place.boss.discover_agents(include_offline=True, limit=1)).total <= number:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _ask(connection: HttpConnection, method: str, path: str, body: Json, _: int) -> None:
    await connection.ask(method, path, body)


def _path(place: Place, path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}projectId={place.project}"
