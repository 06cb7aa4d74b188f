"""What a leader that was away may still do: nothing, until it has looked whether it leads."""

from __future__ import annotations

import asyncio

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.fabric.hub import streams
from loominal.fabric.hub.access.open_authority import OpenAuthority
from loominal.fabric.hub.agents import heartbeats
from loominal.fabric.hub.clock import Clock
from loominal.fabric.hub.lead.pulse import Pulse
from loominal.fabric.hub.lead.vigil import Vigil
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.timings import Timings
from loominal.fabric.hub.work.moving import first, move
from loominal.fabric.protocol import PROTO, Beat, encode
from loominal.model.moves import Claim
from tests.integration.alone import Alone
from tests.patience import SOON
from tests.unit.factories import a_claimed_item, an_item


class Leap(Clock):
    """A clock of a process that stood still for `seconds`."""

    seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


async def test_a_leader_that_finds_another_one_in_its_place_knows_who_leads(broker: Broker, project_id: str) -> None:
    former, next_one = await two_leaders(broker, project_id)
    former.leadership.news.clear()

    assert not await former.leadership.confirmed(former)

    told = former.leadership
    assert (told.leads, told.holder, told.news.is_set()) == (False, "b", True)
    assert await next_one.leadership.confirmed(next_one)


async def test_the_pulse_of_a_former_leader_lets_nobody_be_judged(broker: Broker, project_id: str) -> None:
    former, _ = await two_leaders(broker, project_id)
    former.leases.begin(a_claimed_item(), 0.0)
    pulse = Pulse(former)

    await pulse.beat()
    await pulse.beat()

    assert pulse.heard_until is None
    assert not former.leadership.leads


@pytest.mark.parametrize("leads", [True, False])
async def test_what_came_while_the_leader_was_away_is_taken_in_its_order_or_not_at_all(
    broker: Broker, project_id: str, leads: bool
) -> None:
    former, next_one = await two_leaders(broker, project_id)
    project = next_one if leads else former
    project.clock = clock = Leap()
    taken: list[str] = []
    vigil = Vigil(project)
    request, beat = (vigil.before(lambda message: taken.append(message.subject)) for _ in range(2))

    clock.seconds = 2.0
    request(a_message("hello"))
    beat(a_message("beat"))
    request(a_message("again"))

    assert taken == []
    looking = asyncio.create_task(vigil.run())
    async with asyncio.timeout(SOON):
        while not (taken if leads else looking.done()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    looking.cancel()
    assert taken == (["hello", "beat", "again"] if leads else [])


async def test_a_former_leader_takes_no_claim_away_that_it_does_not_know_of(broker: Broker, project_id: str) -> None:
    former, next_one = await two_leaders(broker, project_id)
    item = (await first(next_one, an_item())).item
    claimed = (await move(next_one, item.id, Claim(by="ann", op="op-claim", incarnation="i1"))).item
    nudges: list[bytes] = []
    subject = subjects.control(project_id, "ann")
    await broker.subscribe(subject, lambda message: nudges.append(message.data))
    beat = Beat(proto=PROTO, incarnation="i1", holds=((item.id, claimed.token), ("w_unknown", 5)))

    async with asyncio.TaskGroup() as group:
        heartbeats.take(former, a_message(subjects.heartbeat(project_id, "ann"), encode(beat)), group)
    await broker.publish(subject, b"the last")

    async with asyncio.timeout(SOON):
        while not nudges or nudges[-1] != b"the last":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    [about, _] = nudges
    assert b"w_unknown" in about


def a_message(subject: str = "rq.x", data: bytes = b"") -> Received:
    return Received(subject, "", data, {})


async def two_leaders(broker: Broker, project_id: str) -> tuple[Project, Project]:
    """Return a project as its former leader has it, and as the one has it that took it since."""
    former, next_one = (Project(project_id, "", broker, OpenAuthority(), Timings(), Alone(name)) for name in "ab")
    await streams.ensure(former)
    await former.leadership.take(former)
    await next_one.leadership.read(next_one)
    await next_one.leadership.take(next_one)
    return former, next_one
