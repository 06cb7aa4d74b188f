"""Asks a fabric to let this machine in, with the secret of an invitation. `loominal join` calls it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.greeting import reach
from loominal.broker.nkeys import KeyPair
from loominal.fabric.client.asking import Asking
from loominal.fabric.invitation import Admitted, Join, Token
from loominal.fabric.protocol import PROTO, encode
from loominal.model.errors import BrokerUnavailable, Internal, NotFound

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 20.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where the fabric was reached, and what this machine is to it."""

    urls: tuple[str, ...]
    credential: Credential
    user: str


async def join_fabric(token: Token, key: KeyPair, *, hostname: str, user: str) -> Entry:
    """Return what this machine has become with `key`; asking again with the same key gives the same.

    Nothing is sent before the broker has shown a certificate of the authority that the token holds.
    Raises: WrongFabric if it has another one, BrokerUnavailable, NotFound if the invitation is over, Forbidden if it
    has let another machine in or this one was cut off.
    """
    urls = reach(token.urls, token.ca)
    secret = Credential(jwt=token.jwt, key=KeyPair.from_seed(token.seed))
    try:
        async with Broker.connect(
            urls,
            name=f"join {hostname}",
            inbox=subjects.reply_prefix(secret.name),
            credential=lambda: secret,
            tls=ssl.create_default_context(cadata=token.ca),
            wait_seconds=CONNECT_SECONDS,
        ) as broker:
            asked = Join(proto=PROTO, key=key.public, hostname=hostname, user=user)
            answer, _ = await Asking(broker).answer(subjects.enrol(secret.name), encode(asked), seconds=ANSWER_SECONDS)
    except BrokerUnavailable as error:
        if datetime.now(UTC) < token.expires_at:
            raise
        raise NotFound(
            f"this invitation ended at {token.expires_at:%Y-%m-%d %H:%M} UTC", "ask for another one: `loominal invite`"
        ) from error
    try:
        admitted = msgspec.json.decode(answer, type=Admitted)
    except msgspec.DecodeError as error:
        raise Internal(f"the answer to joining cannot be read: {error}") from error
    return Entry(urls=tuple(urls), credential=Credential(jwt=admitted.jwt, key=key), user=admitted.user)
