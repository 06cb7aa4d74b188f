"""One TCP (or TLS) connection to a NATS server, from its first byte to its end; it never comes back.

The only module that imports the NATS client, and loaded only when the first connection is made: it costs 40 ms.
Called by `connection.Broker`, which opens a new line whenever the present one has ended.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Listening
from nats.aio.transport import TcpTransport
from nats.protocol import parser

from loominal.model.errors import BrokerUnavailable, InvalidArgument

if TYPE_CHECKING:
    from loominal.broker.connection import Address

CONNECT_SECONDS = 2
PING_SECONDS = 10  # a broker that is frozen or unplugged is given up after the third unanswered interval
UNANSWERED_PINGS = 2
CLOSE_SECONDS = 1.0  # a frozen broker never takes what is still unsent
UNSENT_BYTES = 64 << 20  # below it a publish never waits for the socket (where the client would swallow a cancellation)
QUEUED_MESSAGES = 500_000  # per subscription; the client drops what comes beyond
QUEUED_BYTES = 256 << 20
SPACES = " \t\r\n\v\f"

log = logging.getLogger(__name__)

# A client may publish to any bytes but the four that the server ends words with. The NATS client's own patterns end
# words also at a vertical tab or a form feed, and it drops the connection over a line that they do not match.
_WORD, _GAP = rb"[^ \t\r\n]+", rb"[ \t]+"
_TO = rb"(" + _WORD + rb")" + _GAP + rb"(\d+)" + _GAP + rb"((" + _WORD + rb")" + _GAP + rb")?"
parser.MSG_RE = re.compile(rb"\AMSG" + _GAP + _TO + rb"(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG" + _GAP + _TO + rb"(\d+)" + _GAP + rb"(\d+)\r\n")


class Line(Client):
    """One connection: `gone` is set and `ended` called as soon as it has ended, whatever ended it."""

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self.opened = False
        self.others: tuple[str, ...] = ()  # URLs of all servers of the cluster, as this one told last
        self._ended = ended
        self.gone = asyncio.Event()

    @classmethod
    async def open(
        cls,
        address: Address,
        others: tuple[str, ...],
        failed: Callable[[Exception], None],
        ended: Callable[[], None],
    ) -> Line:
        """Return a line that has just been connected and authenticated.

        The URLs of `address` are tried in any order, then those of `others`, which a server told of before.
        `failed` hears of every later fault that has no caller: refused permissions, dropped messages. What a handler
        raises is logged with its traceback, and the next message comes all the same.
        Raises: BrokerUnavailable if no server at `address` answers or takes the credential.
        """
        line = cls(ended)
        reasons: list[Exception] = []

        async def note(error: Exception) -> None:
            if not line.opened:
                reasons.append(error)
            elif isinstance(error, (errors.UnexpectedEOF, OSError)):  # handlers touch no socket and no file
                pass  # the end, which `gone` and `last_error` tell
            elif isinstance(error, errors.Error):
                failed(error)
            else:
                log.error("%s: a handler failed", address.name, exc_info=error)

        try:
            await line._dial(address, others, note)
            if not line.is_connected:  # the client takes an end of file here for a success
                raise errors.UnexpectedEOF
        except (errors.Error, OSError, TimeoutError, ValueError) as error:
            await line.abandon()
            reason = reasons[-1] if reasons and isinstance(error, errors.NoServersError) else error
            if "authorization violation" in str(reason).lower():  # the protocol's word, which has no code
                told = "refuses this credential: it was cut off, has ended, or is another fabric's"
                raise BrokerUnavailable(f"the broker at {address.shown} {told}") from error
            raise BrokerUnavailable(f"no broker at {address.shown}: {reason}") from error
        except BaseException:
            await line.abandon()
            raise
        line._note_tls(address)
        line.opened = True
        return line

    async def _dial(
        self, address: Address, others: tuple[str, ...], note: Callable[[Exception], Awaitable[None]]
    ) -> None:
        credential = address.credential() if address.credential else None

        def sign(nonce: str) -> bytes:
            self._demand_tls(address)
            assert credential is not None
            return base64.b64encode(credential.sign(nonce.encode()))

        def user() -> str:
            self._demand_tls(address)
            return address.user

        await self.connect(
            _in_any_order(address.urls) + _in_any_order(url for url in others if url not in address.urls),
            dont_randomize=True,
            name=address.name,
            inbox_prefix=address.inbox,
            error_cb=note,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # here: tries per URL
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            max_outstanding_pings=UNANSWERED_PINGS,
            pending_size=UNSENT_BYTES,
            tls=address.tls,
            user=user if address.user else None,
            password=address.password or None,
            user_jwt_cb=(lambda: credential.jwt.encode()) if credential else None,
            signature_cb=sign if credential else None,
        )
        self._demand_tls(address)

    def _note_tls(self, address: Address) -> None:
        # The client turns a plain stream into one of TLS, which asyncio's protocol then does not know of: it would log
        # a warning at the end of every connection. Nothing public tells it.
        if address.tls is not None and isinstance(self._transport, TcpTransport):
            writer = self._transport._io_writer  # noqa: SLF001
            if writer is not None:
                setattr(writer.transport.get_protocol(), "_over_ssl", True)  # noqa: B010 - private, so it has no type

    def _demand_tls(self, address: Address) -> None:
        # The client goes on in plain text if the server does not ask for TLS; a credential must not leave us that way.
        if address.tls is not None and not self._server_info.get("tls_required"):
            raise errors.SecureConnRequiredError

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # Every end of a connection passes here. `closed_cb` comes too late or, with unsent data, never.
        self.gone.set()
        self._ended()
        with suppress(OSError):  # its last bytes cannot be sent; `abandon` does what is left
            await super()._close(status, do_cbs)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Any: JSON. Kept as it is told: the client itself only ever adds to its list.
        if told := info.get("connect_urls"):
            assert self._current_server is not None
            scheme = "tls" if self._current_server.uri.scheme == "tls" else "nats"
            self.others = tuple(f"{scheme}://{place}" for place in told)
        await super()._process_info(info, initial_connection)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # What it raises here ends the client's reader without a word, and the connection is deaf until its pings stay
        # unanswered: whoever may publish to us could silence us with one malformed byte.
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError) as error:  # no UTF-8 in a subject or a header, or headers without a line
            log.warning("a malformed message on %s is dropped: %s", ascii(bytes(subject[:100])), type(error).__name__)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # The same as the client's, which asks of each character of each name whether it is a space: with the eight
        # headers of a stored message that was a sixth of what reading a page costs.
        found = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            key = name.strip(SPACES)
            if colon and key.isascii() and key.split() == [key]:
                found[key] = value.strip(SPACES)
        return found

    async def settle(self) -> None:
        """Return when the server has seen everything sent so far. Raises: BrokerUnavailable; then abandon the line.

        A `flush` that is given up leaves the client deaf (the late answer ends its reader), so nothing else flushes.
        """
        try:
            await self.flush(timeout=CONNECT_SECONDS)
        except (errors.Error, OSError) as error:
            raise BrokerUnavailable(f"the broker closed the connection: {error}") from error

    async def send(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> None:
        """Publish a message. Raises: BrokerUnavailable, InvalidArgument for a malformed subject or header name."""
        try:
            await self.publish(subject, data, reply, headers)
        except (errors.BadSubjectError, errors.BadHeaderError) as error:
            raise InvalidArgument(f"cannot publish to {subject!r}: {error}") from error
        except (errors.Error, OSError) as error:
            raise BrokerUnavailable(f"connection lost: {error}") from error

    async def listen(self, subject: str, queue: str, deliver: Callable[[Msg], Awaitable[None]]) -> Listening:
        """Subscribe, with room for everything that may come. Raises: BrokerUnavailable."""
        try:
            return await self.subscribe(
                subject, queue, cb=deliver, pending_msgs_limit=QUEUED_MESSAGES, pending_bytes_limit=QUEUED_BYTES
            )
        except (errors.Error, OSError) as error:
            raise BrokerUnavailable(f"connection lost: {error}") from error

    async def hush(self, listening: Listening) -> None:
        """Unsubscribe; a line that has ended needs none."""
        try:
            await listening.unsubscribe()
        except (errors.Error, OSError):
            if not self.gone.is_set():
                raise

    async def abandon(self) -> None:
        """End the line within CLOSE_SECONDS, sending what is unsent if the server still reads."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close()
        except (errors.Error, OSError, TimeoutError):
            pass  # it is gone either way
        finally:
            self._end_handlers()
            if isinstance(self._transport, TcpTransport):
                # Closed politely, a socket with unsent data stays until the server takes it; nothing public aborts.
                writer = self._transport._io_writer  # noqa: SLF001
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(0)  # the loop then lets go of the socket

    @property
    def clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._server_info.get("cluster"))

    def _end_handlers(self) -> None:
        # The client leaves them behind if it fails to send its last bytes, and nothing public ends them then.
        tasks: list[asyncio.Task[None] | None] = [each._wait_for_msgs_task for each in self._subs.values()]  # noqa: SLF001
        for task in tasks:
            if task is not None:
                task.cancel()
        self._subs.clear()

    @property
    def version(self) -> str:
        """The server's version, `major.minor.patch`."""
        version = self.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"


def _in_any_order(urls: Iterable[str]) -> list[str]:
    """Return `urls` shuffled, so that many clients spread over the servers."""
    return random.sample(found := list(urls), len(found))
