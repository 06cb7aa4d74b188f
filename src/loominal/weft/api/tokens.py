"""Who a bearer token is. Every request asks here, and every stream that outlives its first answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from loominal.fabric.hub.access.bearers import Bearers
from loominal.model.grant import Role
from loominal.model.names import OWN_TOKEN
from loominal.model.times import Instant

PREFIX = "lmn_"  # of every token's text, so that people and scanners know one when they see it
LONGEST_WAIT_SECONDS = 3600.0  # for an expiry: the machine's clock may be set meanwhile


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a bearer token: what may be asked with it, in which projects, and until when."""

    name: str
    role: Role
    projects: tuple[str, ...] = ()  # none: every one
    sha256: str = ""  # of the token's text, in hex
    expires_at: Instant | None = None


class Tokens:
    """The fabric's own bearer token, those of weft's file, and those of the registry as it is at the moment.

    `bearers` returns the registry's: None in open mode; it raises BrokerUnavailable while they are not read yet.
    """

    def __init__(
        self, own: str, filed: Iterable[Identity] = (), bearers: Callable[[], Bearers | None] = lambda: None
    ) -> None:
        mine = Identity(name=OWN_TOKEN, role=Role.OPERATOR, sha256=hash_of(own))
        self._fixed = {each.sha256: each for each in (*filed, mine)}
        self._bearers = bearers

    def identify(self, text: str) -> Identity | None:
        """Return who holds the bearer token `text`; None if it is unknown, expired or revoked.

        It is looked up by its hash: how long that takes tells nothing of any token. Raises: BrokerUnavailable while
        the registry is not read and nothing else knows the token.
        """
        return self._good(hash_of(text))

    async def ended(self, identity: Identity) -> None:
        """Return when the bearer token of `identity` is good no more: at once if it is not now."""
        while self._good(identity.sha256) == identity:
            bearers = self._bearers()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_seconds_left(identity)):
                    await (asyncio.Event().wait() if bearers is None else bearers.changed())

    def _good(self, sha256: str) -> Identity | None:
        known = self._fixed.get(sha256)
        if known is not None:
            return known if known.expires_at is None or datetime.now(UTC) < known.expires_at else None
        bearers = self._bearers()
        found = bearers.find(sha256) if bearers is not None else None
        if found is None:
            return None
        return Identity(
            name=found.name, role=found.role, projects=found.projects, sha256=sha256, expires_at=found.expires_at
        )


def new_bearer_token() -> str:
    """Return the text of a new bearer token: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(text: str) -> str:
    """Return the SHA-256 of a bearer token's text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _seconds_left(identity: Identity) -> float:
    """Return how long to wait at most before the token's time is looked at again."""
    if identity.expires_at is None:
        return LONGEST_WAIT_SECONDS
    left = (identity.expires_at - datetime.now(UTC)).total_seconds()
    return min(max(left, 0.0), LONGEST_WAIT_SECONDS)
