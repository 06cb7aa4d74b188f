"""Who may do what, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.access import (
    Grants,
    GrantView,
    InvitationRevoked,
    Invited,
    MachineRevoked,
    Machines,
    Revoked,
    ShuttingDown,
)
from loominal.model.grant import Role


class AccessCalls(Calls):
    """Grants and revocation. All raise Forbidden for who is no operator, and in open mode."""

    async def grant_access(
        self,
        *,
        user: str | None = None,
        projects: Sequence[str] = (),
        boundaries: Sequence[str] = (),
        agent_types: Sequence[str] = (),
        capabilities: Sequence[str] = (),
        expires: datetime | str | None = None,
    ) -> GrantView:
        """Let a user's agents work on these boundaries; an empty list of anything else means any."""
        return await self._ask(
            "grant_access",
            GrantView,
            user=user,
            projects=projects,
            boundaries=boundaries,
            agent_types=agent_types,
            capabilities=capabilities,
            expires=expires,
        )

    async def list_grants(self) -> Grants:
        """Return every grant that concerns the project."""
        return await self._ask("list_grants", Grants)

    async def revoke_grant(self, id: str) -> GrantView:  # noqa: A002  # the argument's name in every interface
        """Take a grant back. Raises: NotFound."""
        return await self._ask("revoke_grant", GrantView, id=id)

    async def revoke_agent(self, guid: str) -> Revoked:
        """Cut an agent off for good: its connection ends, its claims are handed back. Raises: NotFound."""
        return await self._ask("revoke_agent", Revoked, guid=guid)

    async def shutdown_agent(
        self, guid: str, *, graceful: bool = True, grace_period_seconds: float = 30, reason: str = ""
    ) -> ShuttingDown:
        """Have an agent end: it gets nothing new; after the grace what it holds is handed back. Raises: NotFound."""
        return await self._ask(
            "shutdown_agent",
            ShuttingDown,
            guid=guid,
            graceful=graceful,
            grace_period_seconds=grace_period_seconds,
            reason=reason,
        )

    async def invite(
        self,
        key: str,
        *,
        role: Role | str = Role.AGENT,
        projects: Sequence[str] = (),
        boundaries: Sequence[str] = (),
        capabilities: Sequence[str] = (),
        agent_types: Sequence[str] = (),
        expires: datetime | str | None = None,
        launch: str = "",
    ) -> Invited:
        """Let one more machine join, with the secret whose public half is `key`; what is not named is any.

        No boundary means every one but `corporate`. With `launch` it is one agent that may enrol, in one project (by
        default this one): `Token` makes of the answer the text that LOOMINAL_ENROLMENT takes.
        """
        return await self._ask(
            "invite",
            Invited,
            key=key,
            role=role,
            projects=projects,
            boundaries=boundaries,
            capabilities=capabilities,
            agent_types=agent_types,
            expires=expires,
            launch=launch,
        )

    async def revoke_invitation(self, id: str) -> InvitationRevoked:  # noqa: A002  # the argument's name in every interface
        """Take back an invitation, or an enrolment, that nobody has used. Raises: NotFound, Forbidden."""
        return await self._ask("revoke_invitation", InvitationRevoked, id=id)

    async def list_machines(self) -> Machines:
        """Return every machine, and every invitation that is still good."""
        return await self._ask("list_machines", Machines)

    async def revoke_machine(self, name: str) -> MachineRevoked:
        """Cut a machine off for good, with all its agents. Raises: NotFound, Forbidden for the fabric's own."""
        return await self._ask("revoke_machine", MachineRevoked, name=name)
