"""How a machine joins a fabric: the token that an operator hands over, what the machine asks with it, what it gets.

`loominal invite` makes the token, `loominal join` uses it (`client/joining.py`), the hub answers (`hub/joining.py`).
"""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Self

import msgspec

from loominal.model.errors import InvalidArgument, UpgradeNeeded
from loominal.model.times import Instant

PREFIX = "loominal-"
LARGEST_BYTES = 64_000  # of a token, unpacked
COPY_AGAIN = "it may be cut: copy the whole line that `loominal invite` printed"


class Join(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A machine asks to be let in; asking again with the same key is the same as asking once."""

    proto: int
    key: str  # the machine's public key, "U…"
    hostname: Annotated[str, msgspec.Meta(max_length=300)] = ""
    user: Annotated[str, msgspec.Meta(max_length=300)] = ""


class Admitted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The machine may enrol agents with this JWT, as that user, until it is cut off."""

    jwt: str
    machine: str
    user: str


class Token(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an invited machine needs to know. It holds a secret: whoever joins with it first has it."""

    v: int = 1
    urls: tuple[str, ...]  # of the fabric's broker, all with TLS
    ca: str  # PEM: the certificate of the fabric's own authority
    jwt: str
    seed: str
    expires_at: Instant

    def to_text(self) -> str:
        """Return the token as one word."""
        packed = zlib.compress(msgspec.json.encode(self), 9)
        return PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the token; white space that a terminal put into it does no harm.

        Raises: InvalidArgument, UpgradeNeeded if a later version made it.
        """
        word = "".join(text.split()).removeprefix(PREFIX)
        try:
            unpacking = zlib.decompressobj()
            raw = unpacking.decompress(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)), LARGEST_BYTES)
            if not unpacking.eof:
                raise InvalidArgument("this is no whole invitation", COPY_AGAIN)
            if msgspec.json.decode(raw, type=_Version).v > 1:
                raise UpgradeNeeded("a newer Loominal made this invitation", "run `pip install -U loominal`")
            token = msgspec.json.decode(raw, type=cls)
        except (ValueError, zlib.error, msgspec.DecodeError) as error:
            raise InvalidArgument("this is no invitation", COPY_AGAIN) from error
        if not token.urls or not all(url.startswith("tls://") for url in token.urls):
            raise InvalidArgument("this invitation names no address with TLS", "ask for another one")
        return token

    def __repr__(self) -> str:
        return f"Token({', '.join(self.urls)})"


class _Version(msgspec.Struct):
    v: int
