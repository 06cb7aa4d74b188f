"""One TCP (or TLS) connection to a NATS server, from its first byte to its end; it never comes back.

Loaded only when the first connection is made, for it loads the NATS client, which costs 12 ms.
Called by `connection.Broker`, which opens a new line whenever the present one has ended.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from loominal.broker import wire
from loominal.broker.event import Event
from loominal.broker.nats_client import Client, TcpTransport, errors
from loominal.model.errors import BrokerUnavailable, CredentialRefused

if TYPE_CHECKING:
    from loominal.broker.connection import Address

CONNECT_SECONDS = 2
PING_SECONDS = 10  # a broker that is frozen or unplugged is given up after the third unanswered interval
UNANSWERED_PINGS = 2
CLOSE_SECONDS = 1.0  # a frozen broker never takes what is still unsent
UNSENT_BYTES = 64 << 20  # more is not kept for a broker that does not read

Deliver = Callable[[str, str, bytes, dict[str, str]], None]  # subject, reply, data, headers

log = logging.getLogger(__name__)


class Line(Client):
    """One connection: `gone` is set and `ended` called as soon as it has ended, whatever ended it."""

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self.opened = False
        self.others: tuple[str, ...] = ()  # URLs of all servers of the cluster, as this one told last
        self._ended = ended
        self.gone = Event()
        self._deliveries: dict[int, Deliver] = {}  # by the number of the subscription
        self._ps = wire.Reader(self, self._take)

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
        `failed` hears of every later fault that has no caller, such as refused permissions. What a handler raises is
        logged with its traceback, and the next message comes all the same.
        Raises: BrokerUnavailable if no server at `address` answers, CredentialRefused if none takes the credential.
        """
        line = cls(ended)
        reasons: list[Exception] = []

        async def note(error: Exception) -> None:
            if not line.opened:
                reasons.append(error)
            elif isinstance(error, (errors.UnexpectedEOF, OSError)):
                pass  # the end, which `gone` and `last_error` tell
            else:
                failed(error)

        try:
            await line._dial(address, others, note)
            if not line.is_connected:  # the client takes an end of file here for a success
                raise errors.UnexpectedEOF
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # which `wait_for`, in the client, may lose before Python 3.12
        except (errors.Error, OSError, TimeoutError, ValueError) as error:
            await line.abandon()
            reason = reasons[-1] if reasons and isinstance(error, errors.NoServersError) else error
            if "authorization violation" in str(reason).lower():  # the protocol's word, which has no code
                told = "refuses this credential: it was cut off, has ended, or is another fabric's"
                raise CredentialRefused(f"the broker at {address.shown} {told}") from error
            words = str(reason) or "no answer"  # a time-out says nothing
            raise BrokerUnavailable(f"no broker at {address.shown}: {words}") from error
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
        self._flush_queue = None  # `_write` needs none, and nobody asks for the client's own inboxes: 5 KB
        del self._nuid

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

    def _take(self, number: int, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        # The client would queue each message and let a task of each subscription hand it on: half of what it costs.
        deliver = self._deliveries.get(number)
        if deliver is None:
            return
        try:
            come = subject.decode(), reply.decode(), data, wire.headers_in(headers) if headers else {}
        except UnicodeDecodeError:  # a client may publish to whatever bytes it likes
            log.warning("a malformed message on %s is dropped", ascii(subject[:100]))
            return
        try:
            deliver(*come)
        except Exception:  # the last line of defence: one message must not make the connection deaf
            log.exception("%s: a handler failed", self.options["name"])

    async def settle(self) -> None:
        """Return when the server has seen everything sent so far. Raises: BrokerUnavailable; then abandon the line."""
        seen = asyncio.get_running_loop().create_future()
        await self._send_ping(seen)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.shield(seen)  # cancelled, it would end the client's reader when the answer comes late
        except TimeoutError as error:
            raise BrokerUnavailable(f"the broker is silent: {self.last_error or 'no answer to a ping'}") from error

    def send(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> None:
        """Publish a message. It leaves at once: the server stores it while this process goes on with the next.

        Raises: BrokerUnavailable, InvalidArgument for a malformed subject or header name.
        """
        if self._unsent() > UNSENT_BYTES:
            raise BrokerUnavailable(f"the broker has not taken the last {UNSENT_BYTES} bytes")
        self._say(wire.message(subject, data, reply, headers))

    def listen(self, subject: str, queue: str, deliver: Deliver) -> int:
        """Subscribe and return the subscription's number. `deliver` is called as a message is read, and must be quick.

        Raises: BrokerUnavailable.
        """
        self._sid += 1
        self._deliveries[self._sid] = deliver
        self._say(f"SUB {subject} {queue} {self._sid}\r\n".encode())
        return self._sid

    def hush(self, number: int) -> None:
        """Unsubscribe; a line that has ended needs none."""
        if self._deliveries.pop(number, None) is not None and self.is_connected:
            self._say(f"UNSUB {number}\r\n".encode())

    def _say(self, command: bytes) -> None:
        if not self.is_connected:
            raise BrokerUnavailable("connection lost")
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._write()

    def _write(self) -> None:
        if self._pending and self._transport is not None and not self.gone.is_set():
            said, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.write(b"".join(said))

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:  # noqa: ARG002 - the client's
        self._pending.append(cmd)
        self._pending_data_size += len(cmd)
        self._write()

    async def _flush_pending(self, force_flush: bool = False) -> None:  # noqa: ARG002 - the client's
        self._write()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # The client's overtakes what was said before it. Any: the client's.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(b"PING\r\n")

    async def _flusher(self) -> None:
        """Nothing: `_write` does it without a task."""

    async def abandon(self) -> None:
        """End the line within CLOSE_SECONDS, sending what is unsent if the server still reads."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close()
        except (errors.Error, OSError, TimeoutError):
            pass  # it is gone either way
        finally:
            self._deliveries.clear()
            if isinstance(self._transport, TcpTransport):
                # Closed politely, a socket with unsent data stays until the server takes it; nothing public aborts.
                writer = self._transport._io_writer  # noqa: SLF001
                if writer is not None:
                    with suppress(AttributeError):  # early 3.11 (Debian 12's) has it abort what has ended
                        writer.transport.abort()
            await asyncio.sleep(0)  # the loop then lets go of the socket

    @property
    def clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._server_info.get("cluster"))

    def _unsent(self) -> int:
        # What is said in this turn is not counted. Nothing public tells.
        writer = self._transport._io_writer if isinstance(self._transport, TcpTransport) else None  # noqa: SLF001
        return writer.transport.get_write_buffer_size() if writer is not None else 0

    @property
    def version(self) -> str:
        """The server's version, as it tells it."""
        return str(self._server_info.get("version", ""))


def _in_any_order(urls: Iterable[str]) -> list[str]:
    """Return `urls` shuffled, so that many clients spread over the servers."""
    return random.sample(found := list(urls), len(found))
