"""NATS JWTs, version 2: what an operator says of an account and an account of a user. Keyring mints with it.

Source: github.com/nats-io/jwt v2; ADR-14 (accounts and users in JWTs).
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from loominal.broker.nkeys import KeyPair, Kind, public_key
from loominal.model.errors import InvalidArgument

if TYPE_CHECKING:
    from datetime import datetime

UNLIMITED = -1
YEAR_9999 = 253_402_300_799  # Unix seconds; the last instant that a datetime can say
USER_LIMITS = dict.fromkeys(("subs", "data", "payload"), UNLIMITED)
ACCOUNT_LIMITS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), UNLIMITED)
JETSTREAM_LIMITS = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), UNLIMITED)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A role of an account: what users may do whose JWT is signed by `key`. `{{name()}}` is the user's name."""

    key: str
    role: str
    publish: Sequence[str]
    subscribe: Sequence[str]

    def claim(self) -> dict[str, object]:
        """Return the scope as a claim. Raises: InvalidArgument for an empty list, which NATS would take for all."""
        if not self.publish or not self.subscribe:
            raise InvalidArgument(f"role {self.role} must name what it may publish and what it may subscribe")
        allowed = {"pub": {"allow": self.publish}, "sub": {"allow": self.subscribe}}
        key = public_key(self.key, Kind.ACCOUNT)
        return {"kind": "user_scope", "key": key, "role": self.role, "template": {**allowed, **USER_LIMITS}}


def operator_jwt(operator: KeyPair, system_account: str) -> str:
    """Return the self-signed JWT of an operator whose system account is `system_account`. Raises: InvalidArgument."""
    claims = {"type": "operator", "system_account": public_key(system_account, Kind.ACCOUNT)}
    return _signed(operator, operator.public, "loominal", claims)


def account_jwt(
    operator: KeyPair,
    account: str,
    name: str,
    *,
    scopes: Sequence[Scope] = (),
    revocations: Mapping[str, int] | None = None,
    jetstream: bool = True,
) -> str:
    """Return the JWT of an account, without limits: an account's storage limit would reserve the space.

    `revocations` maps a user's public key to Unix seconds: JWTs of that user issued until then are refused.
    Raises: InvalidArgument for a key that is none, and for a scope without permissions.
    """
    limits = {**ACCOUNT_LIMITS, "wildcards": True, "disallow_bearer": True, **(JETSTREAM_LIMITS if jetstream else {})}
    claims: dict[str, object] = {"type": "account", "limits": limits}
    if scopes:
        claims["signing_keys"] = [scope.claim() for scope in scopes]
    if revocations:
        claims["revocations"] = {public_key(user, Kind.USER): until for user, until in revocations.items()}
    return _signed(operator, public_key(account, Kind.ACCOUNT), name, claims)


def user_jwt(
    signer: KeyPair,
    account: str,
    user: str,
    name: str,
    expires_at: datetime | None = None,
    tags: Sequence[str] = (),
) -> str:
    """Return the JWT of a user; `expires_at` is aware, None is never. `tags` tell programs what it is good for.

    Signed by the account's own key it gives every right inside the account. Signed by a scoped key it gives that
    scope's, and must hold no permissions itself. Raises: InvalidArgument for a key that is none.
    """
    claims: dict[str, object] = {"type": "user"}
    if signer.public == account:
        claims |= USER_LIMITS
    else:
        claims["issuer_account"] = public_key(account, Kind.ACCOUNT)
    if tags:
        claims["tags"] = tags
    return _signed(signer, public_key(user, Kind.USER), name, claims, expires_at)


class NatsClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The part that is NATS's own."""

    tags: tuple[str, ...] = ()
    issuer_account: str = ""


class UserClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What Loominal reads of a user's JWT: public key, name, tags, and its times (Unix seconds; `exp` 0: never)."""

    sub: str
    name: str = ""
    iat: Annotated[int, msgspec.Meta(ge=0, le=YEAR_9999)] = 0
    exp: Annotated[int, msgspec.Meta(ge=0, le=YEAR_9999)] = 0
    nats: NatsClaims = NatsClaims()


def user_claims(jwt: str) -> UserClaims:
    """Return what a user's JWT says; its signature is the broker's to check. Raises: InvalidArgument."""
    body = jwt.partition(".")[2].partition(".")[0]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=UserClaims)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidArgument("the JWT cannot be read", "it may be cut: copy it again") from error


def name_in(jwt: str) -> str:
    """Return the name in anybody's JWT, "" if it cannot be read; its signature is the broker's to check."""
    try:
        return user_claims(jwt).name
    except InvalidArgument:
        return ""


def _signed(
    signer: KeyPair, subject: str, name: str, nats: Mapping[str, object], expires_at: datetime | None = None
) -> str:
    claims: dict[str, object] = {
        "iat": int(time.time()),
        "iss": signer.public,
        "name": name,
        "sub": subject,
        "nats": {**nats, "version": 2},
    }
    if expires_at is not None:
        claims["exp"] = int(expires_at.timestamp())
    claims["jti"] = hashlib.sha256(msgspec.json.encode(claims)).hexdigest()
    text = (
        f"{_base64(msgspec.json.encode({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_base64(msgspec.json.encode(claims))}"
    )
    return f"{text}.{_base64(signer.sign(text.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
