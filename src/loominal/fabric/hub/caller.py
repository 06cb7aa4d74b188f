"""Who asks: what the broker authenticated, and what the fabric knows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Protocol

import msgspec

from loominal.fabric.hub.access.fabric_records import Enrolment, Invitation, Machine
from loominal.model.errors import Forbidden
from loominal.model.grant import Grant, Role
from loominal.model.names import api_role, shown

HINT = "an operator of the whole fabric can: who runs it, or who was let in without naming projects"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the fabric knows of an agent id: whose it is and what it may do."""

    agent: str
    user: str
    role: Role
    grants: tuple[Grant, ...]
    machine: str = ""
    launch: str = ""


class Authority(Protocol):
    """Where standings come from: the fabric's registry, or trust in open mode."""

    @property
    def open_mode(self) -> bool:
        """Whether everything is on trust."""

    def standing(self, project: str, agent: str) -> Standing | None:
        """Return the standing of `agent` in `project`; None if it never enrolled or was revoked."""

    async def catch_up(self) -> None:
        """Know what was written elsewhere until now. Raises: BrokerUnavailable."""

    def is_cut_off(self, agent: str) -> bool:
        """Return whether `agent`, or its machine, was cut off for good."""

    async def grant(self, grant: Grant) -> None:
        """Store a grant; it holds at once."""

    def grants(self, project: str) -> list[Grant]:
        """Return the grants that concern `project`."""

    def grants_of_user(self, user: str) -> list[Grant]:
        """Return every grant of `user`, in whatever project."""

    async def revoke_grant(self, grant_id: str) -> Grant:
        """Take a grant back. Raises: NotFound."""

    async def revoke_agent(self, project: str, agent: str, tell: Callable[[], Awaitable[None]]) -> None:
        """Cut `agent` off for good; `tell` is awaited once that is recorded, while its connection is still there."""

    async def invite(self, invitation: Invitation) -> str:
        """Store an invitation, and return the JWT with which its holder may join."""

    def machines(self) -> list[Machine]:
        """Return every machine, also those that were revoked."""

    def invitations(self) -> list[Invitation]:
        """Return every invitation."""

    async def revoke_invitation(self, invitation_id: str) -> Invitation:
        """Take back an invitation that nobody has used. Raises: NotFound, Forbidden."""

    async def revoke_machine(self, name: str, tell: Callable[[Enrolment], Awaitable[None]]) -> list[Enrolment]:
        """Cut a machine off for good, each of its agents after `tell`, and return these. Raises: NotFound."""

    async def end_enrolment(self, invitation_id: str) -> None:
        """Make an invitation worthless, and what it has let in."""

    async def cut(self, project: str, agent: str) -> None:
        """End the connections that `agent` has now; it may come again."""

    def titles(self) -> dict[str, str]:
        """Return how lists show each project that is known, by id."""

    def due_at(self, project: str) -> datetime | None:
        """Return when `project` must be loaded if it is not, as far as that is written down."""

    async def set_due(self, project: str, at: datetime | None) -> None:
        """Write down when `project` must be loaded; None: there is no such time."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request's asker."""

    agent: str
    incarnation: str
    op: str
    standing: Standing
    lease_token: int = 0
    answered: tuple[str, ...] = ()  # ops of the pages of messages that the process says have come
    limit_bytes: int = 0  # the longest answer wanted, already bounded by what the broker carries
    again: bool = False  # the same request was answered before: nothing new may come of it
    projects: tuple[str, ...] = ()  # where the caller may be anything at all; none: everywhere

    @property
    def over_rest(self) -> bool:
        """Whether a weft asks for the holder of a bearer token: no agent, so never there, without inbox and handle."""
        return bool(api_role(self.agent))

    def reaches(self, projects: Collection[str]) -> bool:
        """Return whether what concerns `projects` (none: every one) concerns none where the caller is nobody."""
        return not self.projects or (bool(projects) and set(projects) <= set(self.projects))

    def check_reach(self, projects: Collection[str], what: str) -> None:
        """Raises: Forbidden if `what` concerns a project where the caller is nobody."""
        if not self.reaches(projects):
            concerned = ", ".join(projects) or "every project"
            raise Forbidden(f"{what} concerns {shown(concerned)}; you are for {', '.join(self.projects)}", HINT)
