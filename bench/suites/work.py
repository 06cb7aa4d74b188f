"""Handing work over: one claim, and claims with their completions by one and by eight agents."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from statistics import median

import msgspec

from bench.crew import Worker, crew, rate
from bench.figure import Figure, Spread, interleaved, latencies, middle, spread, timed
from bench.place import Place
from bench.settings import Settings
from bench.worker import Order
from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model.work import Notify

DESCRIPTION = "Rename the shuttle's bobbin and say so in the change log. " * 6
AT_ONCE = 8  # offers in flight while items are seeded
SETTLE_SECONDS = 20.0


async def claiming(place: Place, settings: Settings) -> list[Figure]:
    """Return what a claim and a completion cost, one agent at a time."""
    count = settings.count(60)
    async with place.fabric.connect("hand", project=place.project, capabilities=["claim"]) as hand:
        [size] = await _warmed(place, hand)
        claims, ends = [], []

        async def ours() -> Spread:
            await offer(place, "claim", count)
            claimed, ended = await _claimed(hand, count)
            await told(place, count)
            claims.append(claimed)
            ends.append(ended)
            return claimed

        _, raw = await interleaved(settings.rounds, ours, lambda: timed(count, lambda _: place.publish(size)))
    return [
        *latencies("claim_work", middle(claims), middle(raw), "publish+ack", p50=6),
        *latencies("complete_work", middle(ends), middle(raw), "publish+ack"),
    ]


async def pairing(place: Place, settings: Settings) -> list[Figure]:
    """Return how many items a second are claimed and completed, by one agent and by eight in two processes."""
    figures: list[Figure] = []
    async with crew(place, "pair", [4, 4]) as workers:
        size = await _paired_size(place, workers)
        for agents, count in ((1, settings.count(60)), (8, settings.count(25))):
            order = Order(drill="publishes", count=count, size=size)
            quiet, loud, raw = await interleaved(
                settings.rounds,
                partial(_pairs, place, workers, agents, count, Notify.NONE),
                partial(_pairs, place, workers, agents, count, Notify.INBOX),
                partial(rate, workers, order, agents),
            )
            name, under = f"claim+complete pairs by {agents}", median(raw)
            figures += [
                Figure(name=each, value=median(rates), unit="/s", raw=under, raw_name=f"publish+ack by {agents}")
                for each, rates in ((name, quiet), (f"{name}, offerer told", loud))
            ]
    figures[2] = msgspec.structs.replace(figures[2], at_least=0.25)
    return figures


async def offer(place: Place, capability: str, count: int, notify: Notify = Notify.INBOX) -> None:
    """Offer `count` items that need `capability`."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with gate:
            await place.boss.broadcast_work_offer(DESCRIPTION, required_capability=capability, notify=notify)

    await asyncio.gather(*(one() for _ in range(count)))


async def told(place: Place, count: int) -> None:
    """Return when the boss has read of the end of `count` items: the fabric has nothing left to do."""
    async with asyncio.timeout(SETTLE_SECONDS + count / 10):
        while count > 0:
            page = await place.boss.read_direct_messages(limit=50, wait_seconds=5)
            count -= len(page.messages)


async def _pairs(place: Place, workers: list[Worker], agents: int, count: int, notify: Notify) -> float:
    await offer(place, "pair", agents * count, notify)
    found = await rate(workers, Order(drill="pairs", count=count), agents)
    if notify is Notify.INBOX:
        await told(place, agents * count)
    return found


async def _claimed(hand: Agent, count: int) -> tuple[Spread, Spread]:
    claims, ends = [], []
    for _ in range(count):
        began = time.perf_counter()
        [item] = (await hand.claim_work(wait_seconds=5)).work
        claimed = time.perf_counter()
        await hand.complete_work(item.id, "done")
        claims.append(claimed - began)
        ends.append(time.perf_counter() - claimed)
    return spread(claims), spread(ends)


async def _warmed(place: Place, hand: Agent) -> list[int]:
    """Do the work once and return how large its last record is."""
    await offer(place, "claim", 1)
    [item] = (await hand.claim_work(wait_seconds=5)).work
    log = Log(place.raw, subjects.work_stream(place.project))
    size = await place.record_bytes(log, subjects.item(place.project, item.id))
    await hand.complete_work(item.id, "done")
    await told(place, 1)
    return [size]


async def _paired_size(place: Place, workers: list[Worker]) -> int:
    """Let every agent work once and return how large an item's record is."""
    offered = await place.boss.broadcast_work_offer(DESCRIPTION, required_capability="pair")
    await offer(place, "pair", 7)
    await rate(workers, Order(drill="pairs"), 8)
    await told(place, 8)
    log = Log(place.raw, subjects.work_stream(place.project))
    return await place.record_bytes(log, subjects.item(place.project, offered.id))
