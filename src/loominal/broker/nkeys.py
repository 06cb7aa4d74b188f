"""Keys in NATS's notation. Keyring and claims sign with them; credentials carry one.

Source: github.com/nats-io/nkeys: base32 of prefix, 32 bytes and a CRC-16 (XMODEM), without padding.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from enum import StrEnum
from typing import TYPE_CHECKING

from loominal.model.errors import InvalidArgument
from loominal.model.names import shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
SEED_PREFIX = BASE32.index("S")
KEY_BYTES = 32


class Kind(StrEnum):
    """Whom a key stands for; the value is the first letter of its public key."""

    OPERATOR = "O"
    ACCOUNT = "A"
    USER = "U"


class KeyPair:
    """An Ed25519 key with its public half ("U…") and its seed ("SU…"). Its `repr` shows only the public half."""

    __slots__ = ("_private", "kind", "public", "seed")

    def __init__(self, kind: Kind, secret: bytes) -> None:
        prefix = BASE32.index(kind)
        self._private = _private_key(secret)
        self.kind = kind
        self.public = _encode(bytes([prefix << 3]) + self._private.public_key().public_bytes_raw())
        self.seed = _encode(bytes([SEED_PREFIX << 3 | prefix >> 2, (prefix & 3) << 6]) + secret)

    @classmethod
    def generate(cls, kind: Kind) -> KeyPair:
        """Return a new key."""
        return cls(kind, secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Return the key of a seed. Raises: InvalidArgument, which does not repeat the seed."""
        raw = _decode(seed)
        if raw is not None and len(raw) == 2 + KEY_BYTES and seed[1] in list(Kind):
            key = cls(Kind(seed[1]), raw[2:])
            if key.seed == seed:
                return key
        raise InvalidArgument(
            "this is no seed of an operator, account or user key", "it may be cut or mistyped: copy it again"
        )

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`, 64 bytes."""
        return self._private.sign(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPair) and other.seed == self.seed

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def is_public_key(text: str, kind: Kind) -> bool:
    """Return whether `text` is a public key of that kind with the right check sum."""
    raw = _decode(text)
    return raw is not None and len(raw) == 1 + KEY_BYTES and raw[0] == BASE32.index(kind) << 3


def public_key(text: str, kind: Kind) -> str:
    """Return `text` if it is a public key of that kind. Raises: InvalidArgument."""
    if not is_public_key(text, kind):
        raise InvalidArgument(f"{shown(text)} is no public key of kind {kind.name.lower()}")
    return text


def _private_key(secret: bytes) -> Ed25519PrivateKey:
    # imported late: it costs 30 ms, which a program that never connects need not pay
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret)


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """Return the bytes before the check sum; None if `text` is not exactly how they are written."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))[:-2]
    except ValueError:
        return None
    return raw if _encode(raw) == text else None
