"""Finding agents among many."""

from __future__ import annotations

import asyncio

import msgspec

from bench.crew import crew
from bench.figure import Figure, interleaved, middle, timed
from bench.place import ECHO_SUBJECT, Place
from bench.seed import capability_of, fill_registry
from bench.settings import Settings

SOUGHT = 3  # capabilities, in turn
SEEN_SECONDS = 60.0
REQUEST_SECONDS = 5.0


async def discovering(place: Place, settings: Settings) -> list[Figure]:
    """Return what it costs to find who has a capability among many agents."""
    figures, known, count = [], 0, settings.count(40)
    async with crew(place, "echo", [1]):  # answers the raw requests
        for many in (1000, 10_000) if settings.large else (1000,):
            await fill_registry(place, known, many)
            await _seen(place, many)
            known = many
            size = len(msgspec.json.encode(await _find(place, 0)))
            ours, raw = await interleaved(
                settings.rounds,
                lambda: timed(count, lambda number: _find(place, number)),
                lambda size=size: timed(count, lambda _: _ask(place, size)),  # type: ignore[misc]  # lambda's own size
            )
            name = f"discover a capability among {many} agents p50"
            value, under = middle(ours).p50, middle(raw).p50
            figures.append(
                Figure(name=name, value=value, unit="ms", raw=under, raw_name="request+reply p50", at_most=4)
            )
    return figures


async def _find(place: Place, number: int) -> object:
    found = await place.boss.discover_agents(capability=capability_of(number % SOUGHT), include_offline=True)
    assert found.agents
    return found


async def _ask(place: Place, size: int) -> None:
    await place.raw.request(ECHO_SUBJECT, str(size).encode(), seconds=REQUEST_SECONDS)


async def _seen(place: Place, many: int) -> None:
    """Return when the hub has read the last of the agents."""
    async with asyncio.timeout(SEEN_SECONDS):
        found = False
        while not found:
            page = await place.boss.discover_agents(handle=f"seeded-{many - 1}", include_offline=True)
            found = bool(page.agents)
