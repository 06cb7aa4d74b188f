"""Grants and invitations by HTTP, for operators."""

from __future__ import annotations

from loominal.fabric.operations.access import GrantAccess, Grants, GrantView, ListGrants, RevokeGrant
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import makes, reads, removes


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


ACCESS = (list_grants, grant_access, revoke_grant)
