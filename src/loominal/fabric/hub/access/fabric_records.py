"""What the fabric's own bucket stores beside grants; `FabricRegistry` keeps it."""

from __future__ import annotations

import msgspec

from loominal.model.grant import Grant, Role
from loominal.model.record import version
from loominal.model.times import Instant

TITLE_CHARACTERS = 200
INVITED = "inv_"  # before an invitation's id


class Machine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A machine that may enrol agents, and the user whose agents they are."""

    v: int = version(1)
    name: str
    user: str
    key: str = ""  # public key of its credential
    role: Role = Role.AGENT
    let_in_by: str = ""  # the invitation whose grant it was given last
    created_at: Instant
    revoked_at: Instant | None = None


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An agent id bound for ever to a key, a project and the user whose machine enrolled it."""

    v: int = version(1)
    agent: str
    key: str
    machine: str
    user: str
    project: str
    launch: str = ""
    role: Role = Role.AGENT  # what it asked to be; never more than its machine is
    enrolled_at: Instant
    revoked_at: Instant | None = None
    cut_at: Instant | None = None  # credentials older than this are void; it may enrol again


class Invitation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Leave for one more machine to join, or for one agent to enrol; spent by the first key that comes."""

    v: int = version(1)
    id: str
    key: str  # public half of the one-time secret, which only the invitation itself holds
    agent: str = ""  # the one agent that may enrol with it; then no machine may join
    launch: str = ""  # which starts that agent
    role: Role = Role.AGENT
    projects: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()  # none: every one but `corporate`
    capabilities: tuple[str, ...] = ()
    by: str
    created_at: Instant
    expires_at: Instant
    spent_by: str = ""  # public key of the machine that joined
    spent_at: Instant | None = None
    machine: str = ""  # that machine's name; an agent's is `user_name`
    refused_at: Instant | None = None  # when another key came last
    revoked_at: Instant | None = None  # when it was taken back; only one that nobody had used is

    @property
    def user_name(self) -> str:
        """As whom its holder connects; no machine is called so but the one that stands for an invited agent."""
        return INVITED + self.id


class ProjectRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project that the fabric knows."""

    v: int = version(1)
    id: str
    title: str
    created_at: Instant


class DueRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When a project must be loaded although nobody asks for it."""

    v: int = version(1)
    project: str
    at: Instant


class Bearer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bearer token for the HTTP interface; of the token itself only the hash is kept."""

    v: int = version(1)
    name: str
    sha256: str  # of the token's text, in hex
    role: Role
    projects: tuple[str, ...] = ()  # none: every one
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None = None


FabricRecord = Machine | Invitation | Enrolment | ProjectRecord | DueRecord | Grant | Bearer
KINDS: dict[str, type[FabricRecord]] = {
    "machine": Machine,
    "invitation": Invitation,
    "agent": Enrolment,
    "project": ProjectRecord,
    "due": DueRecord,
    "grant": Grant,
    "bearer": Bearer,
}  # first token of the key -> what is stored there


def name_of(record: FabricRecord) -> str:
    """Return what stands behind the kind in the record's key."""
    match record:
        case Machine() | Bearer():
            return record.name
        case Enrolment():
            return record.agent
        case DueRecord():
            return record.project
    return record.id


def title_of(text: str, project: str) -> str:
    """Return how lists show a project: one printable line of `text`, or the id."""
    plain = "".join(char for char in text if char.isprintable()).strip()
    return plain[:TITLE_CHARACTERS] or project
