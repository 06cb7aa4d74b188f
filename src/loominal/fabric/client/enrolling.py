"""An agent's credential: asked for with the machine's, kept in memory, renewed before it ends. `connect` owns one."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair
from loominal.fabric.client.asking import Asking
from loominal.fabric.client.entrance import Entrance
from loominal.fabric.enrolment import Enrol, Enrolled
from loominal.fabric.protocol import encode
from loominal.model.errors import Internal, LoominalError

CONNECT_SECONDS = 5.0
RENEW_SECONDS = 10.0  # for one renewal; there is half a day for the next try
RETRY_SECONDS = 5.0  # after a renewal that failed
REFUSALS = 3  # tries to connect without success after which the credential is the suspect

log = logging.getLogger(__name__)


class Enrolling:
    """The credential of one agent. The connection asks `credential` at each connect, `keep_fresh` is its duty."""

    def __init__(self, entrance: Entrance, request: Enrol, key: KeyPair) -> None:
        self._entrance = entrance
        self._request = request
        self._key = key
        self._newest: Credential | None = None
        self._renewed_at = time.monotonic()
        self._tries = 0
        self._suspect = asyncio.Event()

    def credential(self) -> Credential | None:
        """Return the newest credential, for one try to connect."""
        self._tries += 1
        if self._tries >= REFUSALS:
            self._suspect.set()
        return self._newest

    def connected(self) -> None:
        """Take note that the broker accepted the credential."""
        self._tries = 0

    async def enrol(self, seconds: float = RENEW_SECONDS) -> None:
        """Get a new credential; the same agent and key, so repeating it does no harm.

        Raises: BrokerUnavailable, HubUnavailable, Forbidden if machine or agent were cut off or the id is another's.
        """
        machine = self._entrance.credential
        assert machine is not None, "an entrance that enrols has the machine's credential"
        async with Broker.connect(
            self._entrance.servers.urls,
            name=f"enrol {self._request.agent}",
            inbox=subjects.reply_prefix(machine.name),
            credential=lambda: machine,
            tls=self._entrance.tls,
            wait_seconds=min(seconds, CONNECT_SECONDS),
        ) as broker:
            subject = subjects.enrol(machine.name)
            answer, _ = await Asking(broker).answer(subject, encode(self._request), seconds=seconds)
        try:
            enrolled = msgspec.json.decode(answer, type=Enrolled)
        except msgspec.DecodeError as error:
            raise Internal(f"the enrolment cannot be read: {error}") from error
        self._newest = Credential(jwt=enrolled.jwt, key=self._key)
        self._renewed_at = time.monotonic()
        self._tries = 0

    async def keep_fresh(self) -> None:
        """Renew the credential at half its life and when the broker seems to refuse it, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._fresh_seconds()):
                    await self._suspect.wait()
            self._suspect.clear()
            try:
                await self.enrol()
            except LoominalError as error:
                log.info("the credential of %s was not renewed: %s", self._request.agent, error)
                await asyncio.sleep(RETRY_SECONDS)

    def _fresh_seconds(self) -> float | None:
        """Return the seconds until half of the credential's life is over, whatever the clock says; None: no end."""
        life = self._newest.life_seconds if self._newest else 0.0
        if life is None:
            return None
        return max(life / 2 - (time.monotonic() - self._renewed_at), 1.0)
