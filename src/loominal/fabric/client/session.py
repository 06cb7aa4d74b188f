"""One process's talk with its project's hub: who it is, what it asks, and that it lives. `Agent` is built on it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.fabric.client.asking import Asking
from loominal.fabric.client.holds import Holds
from loominal.fabric.enrolment import ENROL_AGAIN
from loominal.fabric.operations import OPERATIONS, Operation
from loominal.fabric.operations.identity import Hello, Welcome
from loominal.fabric.operations.types import View
from loominal.fabric.protocol import HEARTBEAT_SECONDS, MOST_ANSWERED, PROTO, Beat, Request, encode
from loominal.model.errors import Forbidden, Internal, LoominalError

GREET_SECONDS = 10.0  # for one hello in the background
GREET_AGAIN_SECONDS = 5.0  # after one that failed, unless a new leader announces itself sooner
HELLO = OPERATIONS["hello"]
PAGES = frozenset({"read_direct_messages", "join"})  # what shows messages of the inbox

log = logging.getLogger(__name__)


class Session:
    """An agent's requests and heartbeats under one incarnation, which lasts as long as the process."""

    def __init__(
        self, broker: Broker, project: str, agent: str, hello: Hello, enrol_again: Callable[[], Awaitable[None]] | None
    ) -> None:
        self.agent = agent
        self.project = project
        self.broker = broker
        self.incarnation = uuid.uuid4().hex
        self.holds = Holds()
        self.welcome: Welcome | None = None
        self.on_new_life: Callable[[], Awaitable[None]] | None = None  # the project was made anew: register again
        self._ended = False
        self._hello = hello
        self._enrol_again = enrol_again
        self._asking = Asking(broker)
        self._pages: deque[str] = deque(maxlen=MOST_ANSWERED)  # ops of pages of messages that have come
        self._untold: deque[str] = deque(maxlen=MOST_ANSWERED)  # those of them that the hub is yet to be told
        self._unheard: dict[str, str] = {}  # operation -> the op of its page that did not come
        self._greet_now = asyncio.Event()
        self._beat_now = asyncio.Event()

    async def ask(
        self,
        operation: Operation,
        arguments: bytes,
        *,
        op: str,
        seconds: float,
        hold_seconds: float = 0.0,
        lease_token: int = 0,
        limit_bytes: int = 0,
    ) -> View:
        """Return the hub's answer. Raises: what was answered, or what kept it away (`Asking.answer`)."""
        request = Request(
            proto=PROTO,
            op=op,
            incarnation=self.incarnation,
            args=msgspec.Raw(arguments),
            lease_token=lease_token,
            limit_bytes=limit_bytes,
            answered=tuple(self._pages if operation is HELLO else self._untold),  # a new hub may not know of any
        )
        came = False
        try:
            answer, was_alone = await self._send(operation, request, seconds, hold_seconds)
            came = True
        finally:
            self._note(operation, request, came=came)
        if was_alone and operation is not HELLO:
            self._greet_now.set()  # a hub that has just come knows nobody
        try:
            return msgspec.json.decode(answer, type=operation.answer)
        except msgspec.DecodeError as error:
            raise Internal(f"the answer to {operation.name} cannot be read: {error}") from error

    def new_op(self, operation: Operation) -> str:
        """Return a name for a deed; a page of messages that was asked for and never came is asked for again."""
        return self._unheard.pop(operation.name, "") or uuid.uuid4().hex

    async def _send(
        self, operation: Operation, request: Request, seconds: float, hold_seconds: float
    ) -> tuple[msgspec.Raw, bool]:
        subject, data = subjects.request(self.project, operation.name, self.agent), encode(request)
        try:
            return await self._asking.answer(subject, data, seconds=seconds, hold_seconds=hold_seconds)
        except Forbidden as error:
            if error.hint != ENROL_AGAIN or self._enrol_again is None:
                raise
            await self._enrol_again()
            return await self._asking.answer(subject, data, seconds=seconds, hold_seconds=hold_seconds)

    def _note(self, operation: Operation, request: Request, *, came: bool) -> None:
        """Note whether an answer came: what a page shows is unread until the hub is told that the page has come."""
        if came:
            for told in request.answered:
                with suppress(ValueError):
                    self._untold.remove(told)
        if operation.name in PAGES and came:
            self._pages.append(request.op)
            self._untold.append(request.op)
        elif operation.name in PAGES:
            self._unheard[operation.name] = request.op

    async def open(self, seconds: float, *, adopts: bool = False) -> None:
        """Say hello for the first time, and listen for new leaders; `adopts`: take over the agent's claims.

        Raises: as `ask`.
        """
        await self.broker.subscribe(subjects.leader_wake(self.project), lambda _: self._new_leader())
        await self.greet(seconds, adopts=adopts)
        self.broker.on_connect(self._greet_now.set)  # is called at once, too
        self._greet_now.clear()

    async def greet(self, seconds: float, *, adopts: bool = False) -> None:
        """Tell the hub of this process. If the project was made anew, nothing is held and `on_new_life` is awaited."""
        hello = msgspec.structs.replace(self._hello, adopts=adopts)
        welcome = await self.ask(HELLO, encode(hello), op=uuid.uuid4().hex, seconds=seconds)
        assert isinstance(welcome, Welcome)
        if self.welcome is not None and self.welcome.generation != welcome.generation:
            log.warning("project %s was made anew; what this agent held is gone", self.project)
            self.holds.drop()
            if self.on_new_life is not None:
                await self.on_new_life()
        self.holds.take(welcome.claims)
        self.welcome = welcome  # only now: a call that finds itself unregistered before greets, and so registers, too

    async def keep_greeting(self) -> None:
        """Say hello after each reconnect and to each new leader, until cancelled."""
        again: float | None = None
        while not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await self._greet_now.wait()
            self._greet_now.clear()
            try:
                await self.greet(GREET_SECONDS)
                again = None
            except LoominalError as error:
                log.info("no hello from %s: %s", self.agent, error)
                again = GREET_AGAIN_SECONDS
            self.beat_soon()

    def end(self, error: LoominalError | None = None) -> None:
        """Send no more heartbeats: another process is this agent now. With `error` it was cut off: ask nothing more."""
        self._ended = True
        self._beat_now.set()
        if error is not None:
            self._asking.refuse(error)
            self.broker.let_go()

    def beat_soon(self) -> None:
        """Let the next heartbeat come at once: what is held has changed."""
        self._beat_now.set()

    async def keep_beating(self) -> None:
        """Send heartbeats until cancelled; the last one says that the process leaves."""
        try:
            while not self._ended:
                self._beat_now.clear()
                await self._beat()
                every = self.welcome.heartbeat_seconds if self.welcome else HEARTBEAT_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await self._beat_now.wait()
        finally:
            if not self._ended:
                await self._beat(leaving=True)

    async def _beat(self, *, leaving: bool = False) -> None:
        beat = Beat(
            proto=PROTO,
            incarnation=self.incarnation,
            holds=self.holds.pairs(),
            active=self.holds.active(),
            leaving=leaving,
        )
        with suppress(LoominalError):  # the broker is away; the next beat says again what is held
            await self.broker.publish(subjects.heartbeat(self.project, self.agent), encode(beat))

    def _new_leader(self) -> None:
        self._asking.ask_again()
        self._greet_now.set()
