"""Who am I."""

from __future__ import annotations

from collections.abc import Sequence

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.identity import HandleSet, Joined, MyHandle
from loominal.model.grant import Visibility


class IdentityCalls(Calls):
    """Handles, and the one call that starts everything."""

    async def set_handle(self, handle: str) -> HandleSet:
        """Take a handle, or get it back. Raises: HandleTaken with a free one in its hint."""
        return await self._ask("set_handle", HandleSet, handle=handle)

    async def get_my_handle(self) -> MyHandle:
        """Return who this agent is, and where."""
        return await self._ask("get_my_handle", MyHandle)

    async def join(
        self,
        handle: str | None = None,
        *,
        agent_type: str | None = None,
        capabilities: Sequence[str] | None = None,
        boundaries: Sequence[str] | None = None,
        visibility: Visibility | str | None = None,
    ) -> Joined:
        """Register (again) and return what waits: mail, claims, ready work, channels.

        What is left out is as last registered, else the client's name and all boundaries of the grant.
        """
        return await self._ask(
            "join",
            Joined,
            handle=handle,
            agent_type=agent_type,
            capabilities=capabilities,
            boundaries=boundaries,
            visibility=visibility,
        )
