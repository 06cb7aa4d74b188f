"""One connection to one account of the broker, which always comes back.

Made by every program's `main`; logs, followers, buckets and the operations are written on it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
import secrets
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from loominal.broker.event import Event
from loominal.broker.shown_url import shown_url
from loominal.model.errors import (
    BrokerUnavailable,
    CredentialRefused,
    HubUnavailable,
    InvalidArgument,
    LoominalError,
    TooLarge,
)

if TYPE_CHECKING:
    from loominal.broker.line import Line

FIRST_PAUSE_SECONDS = 0.1  # between two tries to connect; doubled up to LAST_PAUSE_SECONDS
LAST_PAUSE_SECONDS = 2.0
STEADY_SECONDS = 5.0  # a connection that lasted so long makes the next pause the first one again
DEFAULT_MAX_PAYLOAD = 1 << 20  # what a server takes unless it says otherwise
NO_RESPONDERS = 503
FILTER = re.compile(r"(?:(?:\*|[^\s.*>]+)\.)*(?:\*|>|[^\s.*>]+)")  # tokens, of which any may be `*` and the last `>`
QUEUE = re.compile(r"\S*")

log = logging.getLogger(__name__)


class Credential(Protocol):
    """What a connection proves itself with (`credentials.Credential`)."""

    @property
    def jwt(self) -> str:
        """The user's JWT."""

    def sign(self, nonce: bytes) -> bytes:
        """Return the raw signature of the server's challenge."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection goes and as whom; `credential` is asked anew at every connect."""

    urls: tuple[str, ...]
    name: str
    inbox: str
    credential: Callable[[], Credential | None] | None = None
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def shown(self) -> str:
        """The URLs as people may see them."""
        return ", ".join(shown_url(url) for url in self.urls)


class Received(msgspec.Struct, frozen=True):
    """A message as it came in; `reply` is empty if no answer is wanted."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str]

    @property
    def status(self) -> int:
        """The status of a message that the server itself made (404, 408, 503 …); 0 for all others."""
        text = self.headers.get("Status", "")
        return int(text) if text.isdecimal() else 0


class Subscription:
    """A handler on a subject. It is put back at every reconnect, until `stop`."""

    def __init__(self, subject: str, handler: Callable[[Received], None], queue: str) -> None:
        self.subject = subject
        self.stopped = False
        self._queue = queue
        self._handler = handler
        self._line: Line | None = None
        self._number = 0  # on that line

    async def stop(self) -> None:
        """End the subscription; the handler is not called any more."""
        self.stopped = True
        line, self._line = self._line, None
        if line is not None:
            line.hush(self._number)

    def put_on(self, line: Line) -> None:
        """Listen on `line`, if that is not done yet; the broker calls it at every connect."""
        if self._line is not line and not self.stopped:
            self._line, self._number = line, line.listen(self.subject, self._queue, self._deliver)

    def _deliver(self, subject: str, reply: str, data: bytes, headers: dict[str, str]) -> None:
        if not self.stopped:
            self._handler(Received(subject, reply, data, headers))


class _Question:
    """A request in flight: its replies so far, and the future that ends with the last one."""

    def __init__(self, is_last: Callable[[Received], bool]) -> None:
        self.replies: list[Received] = []
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_last = is_last

    def take(self, reply: Received) -> None:
        if self.answered.done():  # every server of a cluster answers some requests
            return
        self.replies.append(reply)
        if reply.status == NO_RESPONDERS or self._is_last(reply):
            self.answered.set_result(None)

    def lose(self) -> None:
        if not self.answered.done():
            self.answered.set_exception(BrokerUnavailable("the connection was lost before the answer came"))


class Broker:
    """One connection, made by `Broker.connect`. It is up or it is on its way back; it never gives up."""

    def __init__(self, address: Address) -> None:
        self.connected_at: float | None = None  # monotonic seconds, of the present connection
        self.connects = 0
        self.max_payload = DEFAULT_MAX_PAYLOAD
        self.clustered = False  # whether the server is one of a cluster
        self.server_version = ""
        self.last_error = ""
        self._refused = False  # by the broker that was tried last
        self.violations: deque[str] = deque(maxlen=100)  # permissions the server refused, newest last
        self._address = address
        self._others: tuple[str, ...] = ()  # the cluster's servers, as the last connection was told
        self._line: Line | None = None
        self._up = Event()
        self._closing = False
        self._callbacks: list[Callable[[], None]] = []
        self._questions: dict[str, _Question] = {}
        self._numbers = itertools.count(1)
        self._inbox = f"{address.inbox}.{secrets.token_hex(8)}"
        self._subscriptions = [Subscription(f"{self._inbox}.r.*", self._take_reply, "")]

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        urls: str | Sequence[str],
        *,
        name: str,
        inbox: str,
        credential: Callable[[], Credential | None] | None = None,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        wait_seconds: float = 5.0,
    ) -> AsyncIterator[Broker]:
        """Connect, and keep the connection until the block ends.

        Each of `urls` may be several, joined by commas; after a loss any of them is taken, or any other server of the
        cluster. `inbox` is the prefix of every reply subject. With `tls` nothing is ever sent in plain text. With
        `wait_seconds=0` the block begins at once and the connection is brought up behind it.
        Raises: BrokerUnavailable if it is not up within `wait_seconds`.
        """
        given = ",".join((urls,) if isinstance(urls, str) else urls).split(",")
        places = tuple(url.strip() for url in given if url.strip())
        broker = cls(
            Address(urls=places, name=name, inbox=inbox, credential=credential, user=user, password=password, tls=tls)
        )
        keeper = asyncio.create_task(broker._keep(), name=f"connection of {name}")
        keeper.add_done_callback(_report)
        try:
            if wait_seconds > 0:
                await broker.wait_up(wait_seconds)
            yield broker
        finally:
            broker._closing = True
            keeper.cancel()
            await asyncio.wait([keeper])

    @property
    def up(self) -> bool:
        """Whether the connection stands and every subscription is in place."""
        return self._up.is_set()

    async def wait_up(self, seconds: float) -> None:
        """Return when the connection is up. Raises: BrokerUnavailable after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError as error:
            reason = self.last_error or f"no answer from {self._address.shown}"
            raise self._unavailable(reason) from error

    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at every connect, and at once if the connection is up; return what takes it off again."""
        self._callbacks.append(callback)
        if self.up:
            callback()
        return lambda: self._callbacks.remove(callback)

    def let_go(self) -> None:
        """Do not come back once the connection is lost."""
        self._closing = True

    def new_inbox(self) -> str:
        """Return a reply subject nobody has used; subjects below it are the caller's too."""
        return f"{self._inbox}.{next(self._numbers)}"

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message, once, now or not at all.

        Raises: BrokerUnavailable at once if the connection is down, TooLarge over the server's `max_payload`.
        """
        line = self._line
        if line is None or not self.up:
            raise self._unavailable(f"the connection to the broker is down: {self.last_error or 'reconnecting'}")
        size = len(data) + _header_bytes(headers)  # too much ends the connection: the server counts headers, too
        if size > self.max_payload:
            raise TooLarge(f"{size} bytes on {subject} are more than the broker takes ({self.max_payload})")
        line.send(subject, data, reply, headers or None)

    async def settle(self) -> None:
        """Return when the broker has seen all that was published before. Raises: BrokerUnavailable."""
        if self._line is None:
            raise self._unavailable(f"the connection to the broker is down: {self.last_error or 'reconnecting'}")
        await self._line.settle()

    async def request(
        self, subject: str, data: bytes, *, seconds: float, headers: dict[str, str] | None = None
    ) -> Received:
        """Return the first answer to a message.

        Raises: HubUnavailable if nobody listens on `subject`, BrokerUnavailable if no answer comes within `seconds` or
        the connection is down or lost: whether the message arrived is then unknown.
        """
        [reply] = await self.request_all(subject, data, seconds=seconds, headers=headers, is_last=lambda _: True)
        return reply

    async def request_all(
        self,
        subject: str,
        data: bytes,
        *,
        seconds: float,
        is_last: Callable[[Received], bool],
        headers: dict[str, str] | None = None,
    ) -> list[Received]:
        """Return all answers to a message, up to and with the one that `is_last`. Raises: as `request`."""
        token = str(next(self._numbers))
        question = self._questions[token] = _Question(is_last)
        try:
            async with asyncio.timeout(seconds):
                await self.publish(subject, data, reply=f"{self._inbox}.r.{token}", headers=headers)
                await question.answered
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer on {subject} within {seconds:g} s") from error
        finally:
            del self._questions[token]
        if question.replies[-1].status == NO_RESPONDERS:
            raise HubUnavailable(f"nobody listens on {subject}")
        return question.replies

    async def survey(self, subject: str, data: bytes, *, seconds: float) -> list[Received]:
        """Return the answers that come within `seconds`, of however many there are. Raises: as `request` for none."""
        answers: list[Received] = []

        def never(answer: Received) -> bool:
            answers.append(answer)
            return False

        try:
            await self.request_all(subject, data, seconds=seconds, is_last=never)
        except BrokerUnavailable:
            if not answers:
                raise
        return answers

    async def subscribe(self, subject: str, handler: Callable[[Received], None], *, queue: str = "") -> Subscription:
        """Call `handler` with every message on `subject`, in order, from now on and across reconnects.

        Messages that pass while the connection is down are missed. What this connection publishes after the call finds
        the subscription in place. An exception of the handler is logged; the next message comes all the same.
        Raises: InvalidArgument for a malformed subject or queue.
        """
        if not FILTER.fullmatch(subject) or not QUEUE.fullmatch(queue):  # kept, it would end every later connection
            raise InvalidArgument(f"cannot subscribe to {subject!r} (queue {queue!r})")
        subscription = Subscription(subject, handler, queue)
        self._subscriptions = [kept for kept in self._subscriptions if not kept.stopped] + [subscription]
        if self._line is not None:
            with suppress(BrokerUnavailable):  # then the next connect puts it in place
                subscription.put_on(self._line)
        return subscription

    def _take_reply(self, reply: Received) -> None:
        question = self._questions.get(reply.subject.rsplit(".", 1)[1])
        if question is not None:
            question.take(reply)

    async def _keep(self) -> None:
        from loominal.broker.line import Line  # loads the NATS client

        pause = FIRST_PAUSE_SECONDS
        while not self._closing:
            began = time.monotonic()
            try:
                line = await Line.open(self._address, self._others, self._failed, self._up.clear)
                try:
                    await self._serve(line)
                finally:
                    self._lose()
                    self._others = line.others or self._others
                    await line.abandon()
            except (LoominalError, OSError) as error:  # OSError: a credential that cannot be read
                self.last_error, self._refused = str(error), isinstance(error, CredentialRefused)
                log.debug("%s: %s", self._address.name, error)
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    def _unavailable(self, words: str) -> BrokerUnavailable:
        return (CredentialRefused if self._refused else BrokerUnavailable)(words)

    async def _serve(self, line: Line) -> None:
        self._line = line
        for subscription in self._subscriptions:
            subscription.put_on(line)
        await line.settle()
        self.max_payload, self.server_version, self.clustered = line.max_payload, line.version, line.clustered
        if line.gone.is_set():
            raise BrokerUnavailable(f"the broker closed the connection: {line.last_error}")
        self.connected_at = time.monotonic()
        self.connects += 1
        self._up.set()
        self._refused = False
        log.info("%s: connected to %s", self._address.name, self._address.shown)
        for callback in self._callbacks:
            asyncio.get_running_loop().call_soon(callback)  # one that fails is reported by the loop, and costs nothing
        await line.gone.wait()
        self.last_error = str(line.last_error or "the broker closed the connection")
        log.info("%s: connection lost: %s", self._address.name, self.last_error)

    def _lose(self) -> None:
        self._line = None
        self._up.clear()
        self.connected_at = None
        for question in self._questions.values():
            question.lose()

    def _failed(self, error: Exception) -> None:
        text = str(error)
        self.last_error = text
        if "permissions violation" in text:  # the client gives these no type of their own
            self.violations.append(text)
        log.warning("%s: %s", self._address.name, text)


def _header_bytes(headers: dict[str, str] | None) -> int:
    if not headers:
        return 0
    lines = sum(len(key) + len(value.encode()) + 4 for key, value in headers.items())  # "key: value\r\n"
    return len("NATS/1.0\r\n") + lines + len("\r\n")


def _report(keeper: asyncio.Task[None]) -> None:
    if not keeper.cancelled() and keeper.exception() is not None:
        log.critical("%s ended by a bug", keeper.get_name(), exc_info=keeper.exception())
