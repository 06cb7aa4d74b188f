"""One pull consumer on the server, from its making to its loss: in memory, without acknowledgements.

Called by `follower.Follower`, which makes another one behind its cursor when this one is lost.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker, Received, Subscription
from loominal.broker.event import Event
from loominal.broker.jetstream import NANOSECONDS, call, instant_of
from loominal.broker.log import Record
from loominal.model.errors import BrokerUnavailable

PULL = 512  # records asked for at a time; the next pull is sent when half of them are here
PULL_SECONDS = 60.0  # how long one pull stands
HEARTBEAT_SECONDS = 25.0  # of the server while it has nothing for us; less than half of a pull. Each costs weft 0.1 ms
CLUSTER_HEARTBEAT_SECONDS = 2.0  # there a consumer is lost with its server while our connection stands
MISSED_HEARTBEATS = 2.4  # so many heartbeats of silence: the consumer may be gone
FORGOTTEN_SECONDS = 30.0  # the server removes a consumer nobody pulled from for so long
IDLE, PULL_ENDED = 100, 408  # statuses of the server; any other ends the consumer


class Consumer:
    """Delivers records of `stream` to `deliver`, in order and without a gap, while `pull` runs.

    `drained` is called when all that matched as it was made has been delivered; it may be called again later.
    """

    def __init__(
        self, broker: Broker, stream: str, deliver: Callable[[Record], None], drained: Callable[[], None]
    ) -> None:
        self._name = f"f-{secrets.token_hex(8)}"
        self._broker = broker
        self._stream = stream
        self._deliver = deliver
        self._drained = drained
        self._inbox = broker.new_inbox()
        self._subscription: Subscription | None = None
        self._lost = False
        self._heartbeat_seconds = CLUSTER_HEARTBEAT_SECONDS if broker.clustered else HEARTBEAT_SECONDS
        self._wake = Event()
        self._heard_at = time.monotonic()
        self._asked = 0  # records that standing pulls may still bring
        self._delivered = 0
        self._to_load = 0

    async def create(self, config: dict[str, object]) -> None:
        """Make it on the server. Raises: NotFound if there is no such stream, BrokerUnavailable."""
        self._subscription = await self._broker.subscribe(self._inbox, self._take)
        body = {
            "stream_name": self._stream,
            "action": "create",
            "config": {
                "name": self._name,
                "ack_policy": "none",
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": int(FORGOTTEN_SECONDS * NANOSECONDS),
                **config,
            },
        }
        made = await call(self._broker, _Made, "CONSUMER", "CREATE", self._stream, self._name, body=body)
        self._to_load = made.num_pending

    async def pull(self) -> None:
        """Keep a pull standing; return when the consumer is lost, or may be."""
        if self._to_load == 0:
            self._drained()
        while not self._lost:
            self._wake.clear()
            try:
                await self._ask()
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._wake.wait()
            except BrokerUnavailable:
                return
            except TimeoutError:
                if time.monotonic() - self._heard_at > self._heartbeat_seconds * MISSED_HEARTBEATS:
                    return

    def lose(self) -> None:
        """Deliver nothing more and let `pull` return."""
        self._lost = True
        self._wake.set()

    async def remove(self) -> None:
        """Take it off the server. If that cannot be reached, it forgets it by itself."""
        self.lose()
        if self._subscription is None:
            return
        await self._subscription.stop()
        with suppress(BrokerUnavailable):
            await self._broker.publish(subjects.api("CONSUMER", "DELETE", self._stream, self._name), b"")

    async def _ask(self) -> None:
        if self._asked > PULL // 2:
            return
        self._asked += PULL
        body = {
            "batch": PULL,
            "expires": int(PULL_SECONDS * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat_seconds * NANOSECONDS),
        }
        subject = subjects.api("CONSUMER", "MSG", "NEXT", self._stream, self._name)
        await self._broker.publish(subject, msgspec.json.encode(body), reply=self._inbox)

    def _take(self, received: Received) -> None:
        if self._lost:
            return
        self._heard_at = time.monotonic()
        if received.status:
            self._take_status(received)
            return
        delivery, sequence, nanoseconds = _place(received.reply)
        self._asked -= 1
        self._delivered += 1
        if delivery != self._delivered:  # the client dropped one on the way
            self.lose()
            return
        if self._asked <= PULL // 2:
            self._wake.set()
        try:
            self._deliver(
                Record(
                    subject=received.subject,
                    sequence=sequence,
                    data=received.data,
                    headers=received.headers,
                    stored_at=instant_of(nanoseconds),
                )
            )
        finally:
            if self._delivered == self._to_load:
                self._drained()

    def _take_status(self, received: Received) -> None:
        if received.status == PULL_ENDED:
            self._asked -= int(received.headers.get("Nats-Pending-Messages", 0))
            self._wake.set()
        elif received.status == IDLE and int(received.headers.get("Nats-Last-Consumer", 0)) == self._delivered:
            self._drained()  # even if some of what matched was purged meanwhile
        else:
            self.lose()


class _Made(msgspec.Struct, frozen=True):
    num_pending: int = 0


def _place(reply: str) -> tuple[int, int, int]:
    """Return the consumer's number of a delivery, the record's sequence, and its time in nanoseconds after 1970.

    Source: ADR-15, `$JS.ACK[.domain.account].stream.consumer.deliveries.sequence.number.time.pending`.
    """
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    sequence, number, nanoseconds = tokens[first + 3 : first + 6]
    return int(number), int(sequence), int(nanoseconds)
