"""Asking until there is an answer: the one loop behind every request, for agents and for enrolling machines."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from loominal.broker.connection import Broker
from loominal.fabric.protocol import REQUEST_SECONDS, Answer
from loominal.model.errors import BrokerUnavailable, Busy, HubUnavailable, Internal, LoominalError, error_from

HUB_SECONDS = 15.0  # for which nobody may be there to answer: a coordinator starts in 1 s, on a loaded machine in 10
PAUSE_SECONDS = (0.2, 0.5)  # between two tries, at random, so that many agents do not ask in step


class Asking:
    """The requests in flight on one connection. Each is repeated unchanged, so that its deed is done once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waits: set[asyncio.Timeout] = set()
        self._called_at = 0.0
        self._refused: LoominalError | None = None

    def refuse(self, error: LoominalError) -> None:
        """Ask nothing more: whatever is asked, and was asked, raises `error`."""
        self._refused = error
        self.ask_again()

    def ask_again(self) -> None:
        """End every wait and pause and ask again: somebody new is there, and whoever had the questions may be gone."""
        self._called_at = time.monotonic()
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now)

    async def answer(
        self, subject: str, request: bytes, *, seconds: float, hold_seconds: float = 0.0
    ) -> tuple[msgspec.Raw, bool]:
        """Return the answer to `request`, and whether at first nobody was there to give it.

        It is asked again for `seconds`, beside the `hold_seconds` for which the hub may keep it. Raises: the error that
        was answered; HubUnavailable; BrokerUnavailable, and then nobody knows whether the deed was done.
        """
        began = time.monotonic()
        give_up_at = began + seconds + hold_seconds
        alone_since: float | None = None
        while True:
            if self._refused is not None:
                raise error_from(self._refused.problem())  # a new one, with the asker's own traceback
            left = max(give_up_at - time.monotonic(), PAUSE_SECONDS[0])
            try:
                answer = await self._once(subject, request, min(REQUEST_SECONDS + hold_seconds, left))
                return answer, alone_since is not None
            except TimeoutError:
                continue  # `ask_again`
            except HubUnavailable:
                if alone_since is None or alone_since < self._called_at:
                    alone_since = time.monotonic()
                if time.monotonic() >= min(alone_since + HUB_SECONDS, give_up_at):
                    raise
            except (BrokerUnavailable, Busy) as error:
                if time.monotonic() >= give_up_at:
                    if isinstance(error, BrokerUnavailable) and self._broker.up:
                        raise _unheard(time.monotonic() - began) from error
                    raise
            await self._pause(give_up_at)

    async def _once(self, subject: str, request: bytes, seconds: float) -> msgspec.Raw:
        async with self._interruptible(None):
            try:
                received = await self._broker.request(subject, request, seconds=seconds)
            except HubUnavailable as error:  # the subject is ours; the agent's word for it is "coordinator"
                raise HubUnavailable("no coordinator answers for this project") from error
        return _unwrapped(received.data)

    async def _pause(self, give_up_at: float) -> None:
        if self._broker.up:
            with suppress(TimeoutError):
                async with self._interruptible(random.uniform(*PAUSE_SECONDS)):
                    await asyncio.Event().wait()
            return
        with suppress(BrokerUnavailable):  # the next try says it
            await self._broker.wait_up(max(give_up_at - time.monotonic(), 0))

    @asynccontextmanager
    async def _interruptible(self, seconds: float | None) -> AsyncIterator[None]:
        """End the block with TimeoutError after `seconds`, and when `ask_again` is called."""
        async with asyncio.timeout(seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)


def _unheard(seconds: float) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"the fabric has not answered for {seconds:.0f} s: the link to it may be cut, or it is overloaded"
    )


def _unwrapped(data: bytes) -> msgspec.Raw:
    """Return what was answered. Raises: the error that was answered; Internal if it is no answer."""
    try:
        answer = msgspec.json.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise Internal(f"the coordinator's answer cannot be read: {error}") from error
    if answer.error is not None:
        raise error_from(answer.error)
    if not answer.ok:
        raise Internal("the coordinator's answer is empty")
    return answer.ok
