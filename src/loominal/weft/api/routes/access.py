"""Grants and invitations by HTTP, for operators."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from litestar.datastructures import State

from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.addresses import from_elsewhere
from loominal.fabric.invitation import Token
from loominal.fabric.operations.access import (
    GrantAccess,
    Grants,
    GrantView,
    InvitationRevoked,
    Invite,
    Invited,
    ListGrants,
    ListMachines,
    Machines,
    RevokeGrant,
    RevokeInvitation,
)
from loominal.fabric.operations.types import Arguments, View
from loominal.fabric.runtime_file import read_runtime
from loominal.model.errors import HubUnavailable
from loominal.model.grant import Role
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import makes, reads, removes


class NewInvitation(Arguments, frozen=True, kw_only=True):
    """Let one more machine join; what names nothing means any of yours, but not corporate."""

    role: Role = Role.AGENT
    projects: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    expires: str | None = None


class Invitation(View, frozen=True, kw_only=True):
    """An invitation as it is handed over, once: `command` holds its secret."""

    id: str
    command: str
    expires_at: datetime


class OpenInvitation(View, frozen=True, kw_only=True):
    """An invitation that nobody has used."""

    id: str
    role: str
    since: datetime
    expires_at: datetime | None = None
    launch: str = ""


class Invitations(View, frozen=True, kw_only=True):
    """Every invitation that is still good."""

    invitations: tuple[OpenInvitation, ...]
    total: int


@reads("/grants")
async def list_grants(asker: Asker) -> Answer[Grants]:
    """Return every grant that concerns the project."""
    return await asker.answer("list_grants", ListGrants())


@makes("/grants")
async def grant_access(asker: Asker, data: GrantAccess) -> Answer[GrantView]:
    """Let a user's agents work on these boundaries of these projects."""
    return await asker.answer("grant_access", data)


@removes("/grants/{grant_id:str}")
async def revoke_grant(asker: Asker, grant_id: str) -> Answer[GrantView]:
    """Take a grant back."""
    return await asker.answer("revoke_grant", RevokeGrant(id=grant_id))


@reads("/invitations")
async def list_invitations(asker: Asker) -> Answer[Invitations]:
    """Return every invitation that is still good."""
    known = await asker.view("list_machines", ListMachines(), Machines)
    found = tuple(
        OpenInvitation(
            id=each.invitation, role=each.role, since=each.since, expires_at=each.expires_at, launch=each.launch
        )
        for each in known.machines
        if each.invitation
    )
    return Answer(Invitations(invitations=found, total=len(found)))


@makes("/invitations")
async def invite(asker: Asker, state: State, data: NewInvitation = NewInvitation()) -> Answer[Invitation]:
    """Let one more machine join: return the line to run there. 403 if other machines cannot reach the fabric."""
    home: Path = state.home
    runtime = read_runtime(home)
    if runtime is None:
        raise HubUnavailable("the coordinator has not said yet where the fabric is", "ask again in a moment")
    reach, secret = from_elsewhere(runtime), KeyPair(Kind.USER, asker.secret())
    wanted = {name: getattr(data, name) for name in NewInvitation.__struct_fields__}
    made = await asker.view("invite", Invite(key=secret.public, **wanted), Invited)
    token = Token(urls=reach.urls, ca=reach.ca, jwt=made.jwt, seed=secret.seed, expires_at=made.expires_at)
    return Answer(Invitation(id=made.id, command=f"loominal join {token.to_text()}", expires_at=made.expires_at))


@removes("/invitations/{invitation_id:str}")
async def revoke_invitation(asker: Asker, invitation_id: str) -> Answer[InvitationRevoked]:
    """Take back an invitation that nobody has used."""
    return await asker.answer("revoke_invitation", RevokeInvitation(id=invitation_id))


ACCESS = (list_grants, grant_access, revoke_grant, list_invitations, invite, revoke_invitation)
