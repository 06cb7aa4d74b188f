"""A bare connection with a credential of ours: the client is nats-py itself, nothing of ours stands between."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.client import Client

from loominal.broker.credentials import Credential
from tests.patience import SOON

NOBODY = "nobody.may.publish.this"


class Visitor:
    """A bare connection and what the broker complained of."""

    def __init__(self) -> None:
        self.client = Client()
        self.gone = asyncio.Event()
        self._complaints: list[str] = []
        self._complained = asyncio.Event()

    async def connect(self, url: str, credential: Credential, name: str = "") -> None:
        """Connect once; no reconnecting."""

        async def complain(error: Exception) -> None:
            self._complaints.append(str(error))
            self._complained.set()

        async def disconnect() -> None:
            self.gone.set()

        await self.client.connect(
            url,
            name=name or None,
            user_jwt_cb=lambda: bytearray(credential.jwt.encode()),
            signature_cb=lambda nonce: base64.b64encode(credential.key.sign(nonce.encode())),
            inbox_prefix=f"_IB.{credential.name}".encode(),
            allow_reconnect=False,
            connect_timeout=int(SOON),
            error_cb=complain,
            disconnected_cb=disconnect,
        )

    async def denied(self, publish: list[str], subscribe: list[str]) -> list[str]:
        """Return which of these the broker does not let this visitor do."""
        self._complaints.clear()
        for name in publish:
            await self.publish(name.encode(), b"{}")
        for name in subscribe:
            await self.client.subscribe(name)
        await self.publish(NOBODY.encode(), b"{}")
        async with asyncio.timeout(SOON):
            while not self._told("publish", NOBODY):  # complaints come in order
                self._complained.clear()
                await self._complained.wait()
        refused = [name for name in publish if self._told("publish", name)]
        return refused + [name for name in subscribe if self._told("subscription", name)]

    async def publish(self, subject: bytes, data: bytes, reply: bytes = b"", headers: bytes = b"") -> None:
        """Send a message of any bytes: the client's own checks are not asked."""
        verb, sizes = (
            (b"HPUB", b"%d %d" % (len(headers), len(headers + data))) if headers else (b"PUB", b"%d" % len(data))
        )
        line = b" ".join(part for part in (verb, subject, reply, sizes) if part)
        await self.client._send_command(line + b"\r\n" + headers + data + b"\r\n")

    def _told(self, deed: str, subject: str) -> bool:
        complaint = f'permissions violation for {deed} to "{subject}"'.lower()  # the client lowers all that it is told
        return any(complaint in told for told in self._complaints)


async def is_refused(url: str, credential: Credential) -> bool:
    """Return whether the broker lets nobody in with this credential."""
    visitor = Visitor()
    try:
        await visitor.connect(url, credential)
    except (TimeoutError, nats.errors.Error):
        return True
    finally:
        await visitor.client.close()
    return False


@asynccontextmanager
async def visit(url: str, credential: Credential, name: str = "") -> AsyncIterator[Visitor]:
    visitor = Visitor()
    await visitor.connect(url, credential, name)
    try:
        yield visitor
    finally:
        await visitor.client.close()
