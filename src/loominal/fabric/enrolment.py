"""How an agent's key becomes a user of its project's account: what a machine asks, and what the fabric answers.

The client asks (`client/enrolling.py`) with the machine's credential, or a launched agent's own, the hub answers
(`hub/access/enrolment.py`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from loominal.model.grant import Role
from loominal.model.times import Instant

CREDENTIAL_SECONDS = 86_400.0  # how long an agent's JWT is good for; it is renewed at half of that
ENROL_AGAIN = "enrol again"  # the hint of Forbidden when the fabric does not know the agent (any more)


class Enrol(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A machine asks for the JWT of one agent's key; asking again is the same as asking once."""

    proto: int
    agent: str  # UUID; the first enrolment binds it to `key` and `project`
    key: str  # the agent's public key, "U…"
    project: str
    title: Annotated[str, msgspec.Meta(max_length=4096)] = ""  # the project's directory or name, for lists
    client: Annotated[str, msgspec.Meta(max_length=100)] = ""
    role: Role = Role.AGENT  # no more than this, whatever the machine's own role is
    looks: bool = False  # only if the project is there; otherwise it is made


class Enrolled(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The agent may connect to the project's account with this JWT until it expires."""

    jwt: str
    project: str
    expires_at: Instant
    account: str  # public key of the project's account
