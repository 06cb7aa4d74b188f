"""Who may do what on somebody else's broker: everything is on trust there. Weft makes one for all its projects."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.hub.access.fabric_records import Enrolment, Invitation, Machine
from loominal.fabric.hub.caller import Standing
from loominal.model.errors import Forbidden
from loominal.model.grant import Grant, Role
from loominal.model.names import SUBJECT_TOKEN, api_role, api_user

OPEN_HINT = "in open mode the broker tells nobody apart; grants come from weft's own file alone"


class OpenAuthority:
    """Trust: in open mode the broker tells nobody apart, so everybody is an agent, and nobody has `corporate`."""

    open_mode = True

    def standing(self, project: str, agent: str) -> Standing | None:
        """Return the standing of `agent`; None only for what cannot be an agent id.

        Who asks over REST has the role that its id tells, and no grants, as in a fabric of ours.
        """
        if not SUBJECT_TOKEN.fullmatch(agent):
            return None
        if role := api_role(agent):
            return Standing(agent=agent, user=api_user(agent, ""), role=Role(role), grants=())
        return Standing(agent=agent, user="", role=Role.AGENT, grants=tuple(self.grants(project)))

    def is_cut_off(self, agent: str) -> bool:  # noqa: ARG002 - the protocol's
        """Return False: nobody is cut off here."""
        return False

    async def catch_up(self) -> None:
        """Return: nothing is written down here."""

    async def grant(self, grant: Grant) -> None:
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"nothing can be granted to {grant.user!r} in open mode", OPEN_HINT)

    def grants(self, project: str) -> list[Grant]:  # noqa: ARG002 - the protocol's
        """Return the one grant that holds for everybody."""
        return [Grant(id="open", user="", every_boundary=True)]

    def grants_of_user(self, user: str) -> list[Grant]:  # noqa: ARG002 - the protocol's
        """Return none: nobody is anybody here."""
        return []

    async def revoke_grant(self, grant_id: str) -> Grant:
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"grant {grant_id!r} cannot be taken back in open mode", OPEN_HINT)

    async def revoke_agent(self, project: str, agent: str, tell: object = None) -> None:  # noqa: ARG002 - the protocol's
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"agent {agent!r} cannot be cut off in open mode", "its broker's settings can")

    async def invite(self, invitation: Invitation) -> str:
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"invitation {invitation.id} cannot be given in open mode", "its broker lets machines in")

    def machines(self) -> list[Machine]:
        """Return none: the broker tells no machines apart."""
        return []

    def invitations(self) -> list[Invitation]:
        """Return none."""
        return []

    async def revoke_invitation(self, invitation_id: str) -> Invitation:
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"invitation {invitation_id!r} cannot be taken back in open mode", "there are none")

    async def revoke_machine(self, name: str, tell: object = None) -> list[Enrolment]:  # noqa: ARG002 - the protocol's
        """Refuse. Raises: Forbidden."""
        raise Forbidden(f"machine {name!r} cannot be cut off in open mode", "its broker's settings can")

    async def end_enrolment(self, invitation_id: str) -> None:
        """Do nothing: nobody is invited here."""

    async def cut(self, project: str, agent: str) -> None:
        """Do nothing: the broker tells nobody apart."""

    def titles(self) -> dict[str, str]:
        """Return none: no project is written down here."""
        return {}

    def due_at(self, project: str) -> datetime | None:  # noqa: ARG002 - the protocol's
        """Return None: nothing is written down in open mode."""
        return None

    async def set_due(self, project: str, at: datetime | None) -> None:
        """Do nothing: a project with a deadline stays loaded in open mode."""
