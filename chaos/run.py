"""One run: rounds of work under faults, then quiet, then the check."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from chaos.books import quiet, read_books
from chaos.checker import violations
from chaos.crew import Deed, Order
from chaos.faults import Fault, Target, Way, faults
from chaos.flow import Flow, busy
from chaos.harm import Harm
from chaos.notes import What, read_notes
from chaos.place import Place, open_place

ROUND_SECONDS = 5.0  # the longest; what is not done by then goes on in the next
QUIET_SECONDS = 90.0
STUCK_SECONDS = 45.0  # longer than a call is repeated, and nothing was noted
DRAIN_SECONDS = 60.0
RECOVERY_SECONDS = 3.0  # after a fault is over, until what it hit has connected again
TICK_SECONDS = 0.1
LATE_SECONDS = 1.0  # heartbeats come every 0.5 s, and a lease is 3 s
DELAYS = (Way.CUT, Way.STALL, Way.SWALLOW, Way.SLOW)

ITEMS, MESSAGES = 24, 108  # of a round, over all agents


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run, whole: the same settings decide the same faults and the same work."""

    seed: int
    rounds: int
    wefts: int = 1
    without_keys: bool = False  # open mode
    crews: int = 3  # the last one is steady, on a slow line: only what ends all agents befalls it
    agents: int = 4  # of a crew


class Outcome(msgspec.Struct, frozen=True):
    """What came of a run."""

    violations: list[str]
    items: int
    messages: int
    left: int  # how often a weft left the project because nobody used it
    flow: str  # how soon work flowed again
    seconds: float


async def run(settings: Settings, directory: Path, tell: Callable[[str], None]) -> Outcome:
    """Run in `directory`, an empty one, and `tell` what happens, a line for each round."""
    began = time.monotonic()
    harms: list[Harm] = []
    async with (
        open_place(
            directory,
            settings.seed,
            wefts=settings.wefts,
            crews=settings.crews,
            agents=settings.agents,
            without_keys=settings.without_keys,
        ) as place,
        _watched(harms, frozenset(range(settings.crews - 1))),
    ):
        plan = faults(settings.seed, settings.rounds, crews=settings.crews - 1, wefts=settings.wefts)
        flow = Flow(place)
        for number, together in enumerate(plan, start=1):
            seconds = await _round(settings, place, number, together, harms, flow)
            tell(f"round {number}/{settings.rounds}: {', '.join(map(str, together))} ({seconds:.1f} s)")
        found = await _settle(place, settings.rounds)
        tell("reading the logs")
        notes = read_notes([*(Path(crew.crew.record) for crew in place.crews), flow.record])
        books = await read_books(place)  # after the notes: what they tell of is there by then
        await place.leave()
        found += flow.failures + place.complaints()
        left = place.left()
    found += violations(books, notes, harms)
    sent = sum(note.what is What.SENT for note in notes)
    return Outcome(found, len(books.work.items), sent, left, str(flow), time.monotonic() - began)


async def _round(
    settings: Settings, place: Place, number: int, together: list[Fault], harms: list[Harm], flow: Flow
) -> float:
    began = time.monotonic()
    agents = settings.crews * settings.agents
    for crew in place.crews:
        crew.tell(Order(deed=Deed.ROUND, number=number, items=-(-ITEMS // agents), messages=-(-MESSAGES // agents)))
    await asyncio.gather(*(_harm(place, fault, harms) for fault in together))
    if any(fault.target not in (Target.AGENTS, Target.CREWS) for fault in together):
        await flow.flows_again(", ".join(map(str, together)))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(began + ROUND_SECONDS - time.monotonic()):
            await asyncio.gather(*(crew.done() for crew in place.crews))
    return time.monotonic() - began


async def _harm(place: Place, fault: Fault, harms: list[Harm]) -> None:
    await asyncio.sleep(fault.after_seconds)
    harmed_at = time.time()
    await place.befall(fault)
    if fault.way not in (Way.REPEAT, Way.JUMP):  # which harm nobody
        delays = fault.target in (Target.BROKER, Target.ALL) or (
            fault.way in DELAYS and fault.target is not Target.AGENTS
        )
        harms.append(Harm(place.harmed_by(fault), harmed_at, time.time() + RECOVERY_SECONDS * busy(), delays))


async def _settle(place: Place, rounds: int) -> list[str]:
    """Wait until all is ended and read; return what is not."""
    for line in place.lines:
        line.mend()
    if ended := place.ended():
        return ended
    for weft in place.wefts:
        await weft.wait_ready()
    if not await _ended(place):
        return ["a crew does not end its round, although nothing keeps it from that"]
    found = [f"not at rest after {QUIET_SECONDS:g} s: {each}" for each in await quiet(place, QUIET_SECONDS)]
    for crew in place.crews:
        crew.tell(Order(deed=Deed.DRAIN, number=rounds + 1))
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await asyncio.gather(*(crew.done() for crew in place.crews))
    except TimeoutError:
        found.append("a crew does not come to the end of its mail")
    return found


async def _ended(place: Place) -> bool:
    """Wait until all crews have carried out their orders, for as long as each still does; return whether they have.

    The one on a slow line is rounds behind when the machine is loaded.
    """
    for crew in place.crews:
        noted = -1
        while (now := crew.noted) != noted:
            noted = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STUCK_SECONDS):
                    await crew.done()
                break
        else:
            return False
    return True


@contextlib.asynccontextmanager
async def _watched(harms: list[Harm], crews: frozenset[int]) -> AsyncIterator[None]:
    """Note as harm to all `crews` behind a line when this very process, which carries the lines, stood still."""

    async def watch() -> None:
        while True:
            asked = time.time()
            await asyncio.sleep(TICK_SECONDS)
            if time.time() - asked > TICK_SECONDS + LATE_SECONDS:
                harms.append(Harm(crews, asked, time.time(), delays=True))

    watching = asyncio.create_task(watch(), name="watch")
    try:
        yield
    finally:
        watching.cancel()
