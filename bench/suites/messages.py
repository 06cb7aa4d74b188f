"""Talking: send to a channel, tell one agent, read the newest of a full channel."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from bench.crew import Worker, crew
from bench.figure import Figure, Spread, interleaved, latencies, middle, spread, timed
from bench.place import Place
from bench.seed import fill_channel
from bench.settings import Settings
from bench.worker import Order
from loominal.broker import subjects
from loominal.broker.log import Log

TEXT = "The loom is threaded; who takes the next row? " * 12  # 552 characters
SETTLE_SECONDS = 0.03  # in which the listener's request is at the hub: it takes 3 ms
FULL = 10_000  # messages a channel keeps


async def sending(place: Place, settings: Settings) -> list[Figure]:
    """Return what it costs to send to a channel."""
    boss, count = place.boss, settings.count(100)
    await boss.send_message("general", TEXT)
    log = Log(place.raw, subjects.channels_stream(place.project))
    size = await place.record_bytes(log, subjects.channel(place.project, "general"))
    ours, raw = await interleaved(
        settings.rounds,
        lambda: timed(count, lambda _: boss.send_message("general", TEXT)),
        lambda: timed(count, lambda _: place.publish(size)),
    )
    return latencies("send_message", middle(ours), middle(raw), "publish+ack", p50=4)


async def telling(place: Place, settings: Settings) -> list[Figure]:
    """Return how long a direct message takes from its sender's call to its reader's answer."""
    async with crew(place, "ear", [1]) as [listener]:
        await _told(place, listener, "hear", 3)
        log = Log(place.raw, subjects.inbox_stream(place.project))
        size = await place.record_bytes(log, subjects.inbox(place.project, listener.guids[0]))
        count = settings.count(30)
        told, read, raw = await interleaved(
            settings.rounds,
            lambda: _told(place, listener, "hear", count),
            lambda: _told(place, listener, "read", count),
            lambda: _published(place, size, count),
        )
    return [
        *latencies("direct message, A to B told", middle(told), middle(raw), "publish+ack", p95=4),
        *latencies("direct message, A to B read", middle(read), middle(raw), "publish+ack"),
    ]


async def _told(place: Place, listener: Worker, drill: str, count: int) -> Spread:
    """Return how long it takes from the call to send until the listener's wait is over."""
    taken = []
    for _ in range(count):
        listener.tell(Order(drill=drill))
        await asyncio.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        await place.boss.send_direct_message(listener.guids[0], TEXT)
        taken.append((await listener.done()).ended - began)
        if drill == "hear":  # else the next wait would be told of this message
            listener.tell(Order(drill="read"))
            await listener.done()
    return spread(taken)


async def _published(place: Place, size: int, count: int) -> Spread:
    """Return how long raw publishes take in the rhythm of `_told`: after a pause everything is slower."""
    taken = []
    for _ in range(count):
        await asyncio.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        await place.publish(size)
        taken.append(time.monotonic() - began)
    return spread(taken)


async def reading(place: Place, settings: Settings) -> list[Figure]:
    """Return what the newest 50 messages of a full channel cost."""
    boss, count = place.boss, settings.count(40)
    await fill_channel(place, "roadmap", FULL, datetime.now(UTC))
    page = await boss.read_messages("roadmap", limit=50)
    assert len(page.messages) == 50, len(page.messages)
    log = Log(place.raw, subjects.channels_stream(place.project))
    state = await log.state()
    assert state is not None
    last, subject = state.last, subjects.channel(place.project, "roadmap")
    ours, one, fifty = await interleaved(
        settings.rounds,
        lambda: timed(count, lambda _: boss.read_messages("roadmap", limit=50)),
        lambda: timed(count, lambda _: log.get(last)),
        lambda: timed(count, lambda _: log.page(subject, last - 49, 50)),
    )
    value, get, batch = middle(ours).p50, middle(one).p50, middle(fifty).p50
    name = f"newest 50 of {FULL} messages p50"
    return [
        Figure(name=name, value=value, unit="ms", raw=get, raw_name="direct get p50", at_most=8),
        Figure(name=name, value=value, unit="ms", raw=batch, raw_name="batch get of 50 p50"),
    ]
