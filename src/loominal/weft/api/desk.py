"""Asking operations for who comes over HTTP: one connection for each project and caller, for as long as it is used."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from weakref import WeakValueDictionary

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.fabric.client.asking import Asking
from loominal.fabric.operations import OPERATIONS
from loominal.fabric.operations.types import Arguments
from loominal.fabric.protocol import PROTO, REQUESTS_IN_FLIGHT, Request, encode
from loominal.model.errors import Busy, LoominalError

ANSWER_SECONDS = 10.0  # for one request, beside what it waits itself: a new leader is there within 4 s
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0  # after which a connection is closed; opening one takes some ms
QUEUED = 4 * REQUESTS_IN_FLIGHT  # requests of one caller that wait for their turn

Connect = Callable[[str, str], AbstractAsyncContextManager[Broker]]


class Desk:
    """Asks for callers. `connect` opens the account of a project as one of them; `group` holds the connections."""

    def __init__(self, connect: Connect, group: asyncio.TaskGroup) -> None:
        self._connect = connect
        self._group = group
        self._incarnation = uuid.uuid4().hex
        self._places: dict[tuple[str, str], _Place] = {}
        self._deeds: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()  # being asked for

    async def ask(
        self,
        project: str,
        caller: str,
        operation: str,
        args: Arguments,
        *,
        projects: tuple[str, ...] = (),
        op: str = "",
        hold_seconds: float = 0.0,
    ) -> msgspec.Raw:
        """Return the hub's answer as JSON, in the contract's words.

        `projects` are those of the bearer token, none: every one. `op` names the deed, so that the same one again is
        done once; it waits while it is asked for. Raises: what was answered; Busy, HubUnavailable, BrokerUnavailable.
        """
        request = Request(
            proto=PROTO,
            op=op or uuid.uuid4().hex,
            incarnation=self._incarnation,
            args=msgspec.Raw(encode(args)),
            projects=projects,
        )
        subject = subjects.request(project, OPERATIONS[operation].name, caller)
        place = self._place(project, caller)
        if place.waiting >= QUEUED:
            raise Busy("this bearer token has too many requests in flight")
        place.waiting += 1
        try:
            deed = self._deeds.setdefault((project, caller, request.op), asyncio.Lock())
            async with deed, place.turn:  # the hub answers few that ask for one deed at once
                asking = await place.asking()
                answer, _ = await asking.answer(
                    subject, encode(request), seconds=ANSWER_SECONDS, hold_seconds=hold_seconds
                )
                return answer
        finally:
            place.waiting -= 1
            place.used_at = time.monotonic()

    def _place(self, project: str, caller: str) -> _Place:
        key = (project, caller)
        place = self._places.get(key)
        if place is None or place.over:
            place = self._places[key] = _Place()
            self._group.create_task(self._hold(key, place), name=f"requests of {caller} in {project}")
        return place

    async def _hold(self, key: tuple[str, str], place: _Place) -> None:
        """Keep the connection of `place` until nobody has used it for a while."""
        try:
            async with self._connect(*key) as broker:
                await broker.wait_up(CONNECT_SECONDS)
                place.opened.set_result(Asking(broker))
                await place.unused()
        except LoominalError as error:
            place.fail(error)
        finally:
            place.over = True
            if self._places.get(key) is place:
                del self._places[key]


class _Place:
    """A caller's connection to one project."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[Asking] = asyncio.get_running_loop().create_future()
        self.turn = asyncio.Semaphore(REQUESTS_IN_FLIGHT)
        self.waiting = 0  # requests that use it or wait for their turn
        self.used_at = time.monotonic()
        self.over = False

    async def asking(self) -> Asking:
        """Return the loop that asks, once the connection is up. Raises: BrokerUnavailable."""
        return await asyncio.shield(self.opened)

    async def unused(self) -> None:
        """Return when nobody has used it for a while."""
        while (left := self.used_at + IDLE_SECONDS - time.monotonic()) > 0 or self.waiting:  # noqa: ASYNC110 - no event
            await asyncio.sleep(max(left, 1.0))

    def fail(self, error: LoominalError) -> None:
        """Tell whoever waits that the connection could not be opened."""
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # perhaps nobody waits any more
