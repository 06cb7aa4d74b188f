"""What every mechanism has to do, whatever it starts agents with.

A mechanism's test module has a class of its own that inherits from the classes below which apply to it, and a fixture
`place` that returns a `Place`: the mechanism with something to start agents on.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

import msgspec
import pytest

from loominal.model.errors import Forbidden, StartFailed
from loominal.model.launch import Condition, Order
from loominal.model.mechanism import Config
from loominal.weft.mechanisms.interface import MechanismDriver
from tests.integration.conftest import eventually
from tests.patience import SOON


class Got(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent that was started knows."""

    launch: str
    enrolment: str


class Place(Protocol):
    """A mechanism, and where its agents are."""

    def driver(self) -> MechanismDriver[Any]:  # Any: the mechanism's own config
        """Return a driver that knows nothing of what others have done."""

    def config(self) -> Config:
        """Return one that starts an agent, which lives until it is ended."""

    def broken(self) -> tuple[Config, str]:
        """Return one that can start nothing, and a pattern of what the error has to say."""

    def forbidden(self) -> tuple[MechanismDriver[Any], Config]:
        """Return a driver of a machine whose owner does not allow the mechanism, and a config."""

    def started(self, launch: str) -> list[Got]:
        """Return the agents that have been started for a launch so far, also those that have ended."""


def an_order(launch: str = "", **changes: str) -> Order:
    """Return an order of a launch of its own, with an enrolment that looks like a real one."""
    return Order(
        launch=launch or f"l_{uuid4().hex[:16]}",
        target="workshop",
        project="shop",
        agent_type="claude-code",
        capabilities=("python",),
        work="w_1",
        enrolment=f"loominal-{secrets.token_urlsafe(600)}",
        **changes,
    )


class StartsAgents:
    """Of every mechanism."""

    async def test_what_is_started_knows_its_launch_and_has_its_enrolment(self, place: Place) -> None:
        order = an_order()

        assert await place.driver().start(place.config(), order)

        await eventually(lambda: bool(place.started(order.launch)), SOON)
        assert place.started(order.launch) == [Got(launch=order.launch, enrolment=order.enrolment)]

    async def test_the_same_order_again_starts_nothing_new_and_is_answered_the_same(self, place: Place) -> None:
        order, other = an_order(), an_order()
        first = await place.driver().start(place.config(), order)

        again = await asyncio.gather(*(place.driver().start(place.config(), order) for _ in range(3)))
        assert await place.driver().start(place.config(), other) != first  # so the first had time to be doubled

        assert again == [first] * 3
        await eventually(lambda: bool(place.started(order.launch) and place.started(other.launch)), SOON)
        assert len(place.started(order.launch)) == len(place.started(other.launch)) == 1

    async def test_the_same_order_from_several_at_once_starts_one(self, place: Place) -> None:
        order = an_order()

        references = await asyncio.gather(*(place.driver().start(place.config(), order) for _ in range(4)))

        assert len(set(references)) == 1
        await eventually(lambda: bool(place.started(order.launch)), SOON)
        assert len(place.started(order.launch)) == 1

    async def test_a_start_that_fails_says_why(self, place: Place) -> None:
        config, why = place.broken()

        for _ in range(2):  # nothing was started, so the same again is no other answer
            with pytest.raises(StartFailed, match=why) as caught:
                await place.driver().start(config, an_order())
            assert caught.value.hint

    async def test_a_check_says_what_is_in_order_and_what_is_not(self, place: Place) -> None:
        fine = await place.driver().check(place.config())
        assert fine.isprintable()
        assert len(fine) > 5

        config, why = place.broken()
        with pytest.raises(StartFailed, match=why):
            await place.driver().check(config)

    async def test_what_the_machines_owner_does_not_allow_is_not_done(self, place: Place) -> None:
        driver, config = place.forbidden()
        order = an_order()

        with pytest.raises(Forbidden):
            await driver.start(config, order)
        with pytest.raises(Forbidden):
            await driver.check(config)
        assert place.started(order.launch) == []

    async def test_the_enrolment_is_in_no_argument_and_no_log(
        self, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        order = an_order()

        with Arguments() as arguments:
            await place.driver().start(place.config(), order)
            await eventually(lambda: bool(place.started(order.launch)), SOON)

        assert arguments.seen
        assert arguments.that_have(order.enrolment[20:60]) == []
        assert order.enrolment not in caplog.text + repr(order)


class SeesAgents:
    """Of mechanisms that can tell what became of an agent, and end it."""

    async def test_an_agent_is_seen_and_ended_by_somebody_else_than_who_started_it(self, place: Place) -> None:
        order, config = an_order(), place.config()
        reference = await place.driver().start(config, order)

        seen = await place.driver().look(config, order.launch, reference)
        assert (seen.condition, seen.reference) == (Condition.RUNNING, reference)
        unconfirmed = await place.driver().look(config, order.launch, "")  # whoever asked has not heard the answer
        assert (unconfirmed.condition, unconfirmed.reference) == (Condition.RUNNING, reference)

        await place.driver().stop(config, order.launch, reference, grace_seconds=SOON)
        await self.until_over(place, config, order, reference)

    async def test_ending_does_not_need_the_reference(self, place: Place) -> None:
        order, config = an_order(), place.config()
        reference = await place.driver().start(config, order)

        await place.driver().stop(config, order.launch, "", grace_seconds=SOON)

        await self.until_over(place, config, order, reference)

    async def test_of_what_was_never_started_there_is_nothing(self, place: Place) -> None:
        seen = await place.driver().look(place.config(), an_order().launch, "")

        assert seen.condition is Condition.GONE

    async def test_ending_what_has_ended_or_never_was_is_fine(self, place: Place) -> None:
        order, config = an_order(), place.config()
        reference = await place.driver().start(config, order)

        for _ in range(2):
            await place.driver().stop(config, order.launch, reference, grace_seconds=SOON)
        await place.driver().stop(config, an_order().launch, "", grace_seconds=1)

        await self.until_over(place, config, order, reference)

    async def test_the_same_order_after_the_end_starts_nothing(self, place: Place) -> None:
        order, config = an_order(), place.config()
        reference = await place.driver().start(config, order)
        await eventually(lambda: bool(place.started(order.launch)), SOON)
        await place.driver().stop(config, order.launch, reference, grace_seconds=SOON)
        await self.until_over(place, config, order, reference)

        assert await place.driver().start(config, order) == reference

        await self.until_over(place, config, order, reference)
        assert len(place.started(order.launch)) == 1

    async def until_over(self, place: Place, config: Config, order: Order, reference: str) -> None:
        """Return when the agent is seen to have ended."""

        async def over() -> bool:
            seen = await place.driver().look(config, order.launch, reference)
            return seen.condition in (Condition.ENDED, Condition.GONE)

        await eventually(over, SOON)


class Arguments:
    """Looks at the arguments of every process of the machine, all the time, for what must not be there."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="arguments")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def that_have(self, text: str) -> list[str]:
        """Return those that were seen and have `text` in them."""
        return [each.replace(b"\0", b" ").decode(errors="replace") for each in self.seen if text.encode() in each]

    def _watch(self) -> None:
        over = False
        while not over:  # so it looks at least once, also at the very end
            over = self._over.wait(0.005)
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self.seen.add(path.read_bytes())
