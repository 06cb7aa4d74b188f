"""Credentials: a user's JWT with its key, in memory and as a stock `.creds` file. Whoever connects carries one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from loominal.broker.claims import user_claims
from loominal.broker.nkeys import KeyPair
from loominal.broker.secret_file import read_secret, replace_secret
from loominal.model.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

MACHINE_TAG = "loominal-machine"
TEXT = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

The seed below is a secret: who holds it is this user.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A user's JWT with its key. Making one raises InvalidArgument if the JWT cannot be read or is another key's."""

    jwt: str
    key: KeyPair

    def __post_init__(self) -> None:
        if user_claims(self.jwt).sub != self.key.public:
            raise InvalidArgument("the JWT and the seed of this credential do not belong together")

    @property
    def name(self) -> str:
        """The name in the JWT: an agent id, a machine, or what a hub calls itself."""
        return user_claims(self.jwt).name

    @property
    def enrols(self) -> bool:
        """Whether it is a machine's: good for enrolling agents and for nothing else."""
        return MACHINE_TAG in user_claims(self.jwt).nats.tags

    @property
    def account(self) -> str:
        """The public key of the account that a scoped key made it for; "" if the account's own key did."""
        return user_claims(self.jwt).nats.issuer_account

    @property
    def expires_at(self) -> datetime | None:
        """When the broker stops accepting it (aware UTC); None is never."""
        seconds = user_claims(self.jwt).exp
        return datetime.fromtimestamp(seconds, UTC) if seconds else None

    @property
    def life_seconds(self) -> float | None:
        """How long it was made for, by the clock of who made it; None is for ever."""
        claims = user_claims(self.jwt)
        return float(claims.exp - claims.iat) if claims.exp else None

    def sign(self, nonce: bytes) -> bytes:
        """Return the signature that proves to the broker that the key is here, 64 bytes."""
        return self.key.sign(nonce)

    def to_text(self) -> str:
        """Return the credential as the text of a `.creds` file."""
        return TEXT.format(jwt=self.jwt, seed=self.key.seed)

    @classmethod
    def from_text(cls, text: str) -> Credential:
        """Return the credential in the text of a `.creds` file. Raises: InvalidArgument."""
        return cls(jwt=_block(text, "USER JWT"), key=KeyPair.from_seed(_block(text, "NKEY SEED")))

    @classmethod
    def read(cls, path: Path) -> Credential:
        """Return the credential in the file. Raises: InvalidArgument, also if there is no such file."""
        text = read_secret(path)
        if text is None:
            raise InvalidArgument(f"there is no credential file {path}")
        try:
            return cls.from_text(text)
        except InvalidArgument as error:
            raise InvalidArgument(f"credential file {path}: {error.message}", error.hint) from error

    def write(self, path: Path) -> None:
        """Write the credential to the file, mode 0600, all at once. Raises: InvalidArgument."""
        replace_secret(path, self.to_text())


def _block(text: str, label: str) -> str:
    """Return the line after the one that begins the block called `label`. Raises: InvalidArgument."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for head, body in itertools.pairwise(lines):
        if head.startswith("---") and "BEGIN" in head and label in head:
            return body
    raise InvalidArgument(f"a block {label!r} is missing", "give the whole .creds file")
