"""How a machine joins a fabric: the token that an operator hands over, what the machine asks with it, what it gets.

`loominal invite` makes the token, `loominal join` uses it (`client/joining.py`), the hub answers
(`hub/access/joining.py`). LOOMINAL_ENROLMENT is such a token, for one agent.
"""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Self

import msgspec

from loominal.model.errors import InvalidArgument, UpgradeNeeded
from loominal.model.record import version
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


class Token(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What an invited machine, or agent, needs to know. It holds a secret: whoever comes with it first has it."""

    v: int = version(1)
    urls: tuple[str, ...]  # of the fabric's broker; a machine joins with TLS only
    ca: str = ""  # PEM: the certificate of the fabric's own authority
    jwt: str
    seed: str
    expires_at: Instant
    agent: str = ""  # of a launched agent: its id,
    project: str = ""  # where it enrols

    def to_text(self) -> str:
        """Return the token as one word."""
        packed = zlib.compress(msgspec.json.encode(self), 9)
        return PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return a machine's token; white space that a terminal put into it does no harm.

        Raises: InvalidArgument, UpgradeNeeded if a later version made it.
        """
        token = cls._unpacked(text, "invitation", COPY_AGAIN)
        if token.agent:
            raise InvalidArgument("this is the enrolment of a launched agent", "LOOMINAL_ENROLMENT takes it")
        if not token.ca or not token.urls or not all(url.startswith("tls://") for url in token.urls):
            raise InvalidArgument("this invitation names no address with TLS", "ask for another one")
        return token

    @classmethod
    def enrolment(cls, text: str) -> Self:
        """Return a launched agent's token. Raises: as `from_text`."""
        token = cls._unpacked(text, "enrolment", "whoever launches the agent makes it: launch again")
        if not token.agent or not token.project:
            raise InvalidArgument(
                "this is an invitation for a machine, no agent's enrolment", "`loominal join` takes it"
            )
        if not token.urls or (token.ca and not all(url.startswith("tls://") for url in token.urls)):
            raise InvalidArgument("this enrolment names no address that can be used", "launch again")
        return token

    @classmethod
    def _unpacked(cls, text: str, what: str, hint: str) -> Self:
        word = "".join(text.split()).removeprefix(PREFIX)
        try:
            unpacking = zlib.decompressobj()
            raw = unpacking.decompress(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)), LARGEST_BYTES)
            if not unpacking.eof:
                raise InvalidArgument(f"this is no whole {what}", hint)
            if msgspec.json.decode(raw, type=_Version).v > 1:
                raise UpgradeNeeded(f"a newer Loominal made this {what}", "run `pip install -U loominal`")
            return msgspec.json.decode(raw, type=cls)
        except (ValueError, zlib.error, msgspec.DecodeError) as error:
            raise InvalidArgument(f"this is no {what}", hint) from error

    def __repr__(self) -> str:
        return f"Token({', '.join(self.urls)})"


class _Version(msgspec.Struct):
    v: int
