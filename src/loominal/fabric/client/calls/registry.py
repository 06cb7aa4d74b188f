"""Who is there."""

from __future__ import annotations

from collections.abc import Sequence

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.registry import AgentView, Deregistered, Discovered, PresenceUpdated, Registered, Scope
from loominal.model.agent import AgentStatus, JsonObject
from loominal.model.grant import Visibility


class RegistryCalls(Calls):
    """Registering, discovering, presence."""

    async def register_agent(
        self,
        agent_type: str,
        *,
        capabilities: Sequence[str] = (),
        boundaries: Sequence[str] | None = None,
        handle: str | None = None,
        visibility: Visibility | str = Visibility.PROJECT_ONLY,
        max_concurrent: int = 1,
        metadata: JsonObject | None = None,
    ) -> Registered:
        """Say what this agent is and can do; left-out boundaries are all of its grant.

        Raises: Forbidden or BoundaryRefused for what the grant does not hold, HandleTaken.
        """
        return await self._ask(
            "register_agent",
            Registered,
            agent_type=agent_type,
            capabilities=capabilities,
            boundaries=boundaries,
            handle=handle,
            visibility=visibility,
            max_concurrent=max_concurrent,
            metadata=metadata,
        )

    async def discover_agents(
        self,
        *,
        agent_type: str | None = None,
        capability: str | None = None,
        boundary: str | None = None,
        hostname: str | None = None,
        status: AgentStatus | str | None = None,
        handle: str | None = None,
        scope: Scope | str = Scope.PROJECT,
        include_offline: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Discovered:
        """Return a page of the agents for which all filters hold, this one among them. Raises: BadCursor."""
        return await self._ask(
            "discover_agents",
            Discovered,
            agent_type=agent_type,
            capability=capability,
            boundary=boundary,
            hostname=hostname,
            status=status,
            handle=handle,
            scope=scope,
            include_offline=include_offline,
            limit=limit,
            cursor=cursor,
        )

    async def get_agent_info(self, guid: str) -> AgentView:
        """Return what this agent may see of another, named by guid or handle. Raises: NotFound."""
        return await self._ask("get_agent_info", AgentView, guid=guid)

    async def update_presence(
        self,
        *,
        status: AgentStatus | str | None = None,
        current_task_count: int | None = None,
        capabilities: Sequence[str] | None = None,
    ) -> PresenceUpdated:
        """Say how this agent is doing; return it before and after."""
        return await self._ask(
            "update_presence",
            PresenceUpdated,
            status=status,
            current_task_count=current_task_count,
            capabilities=capabilities,
        )

    async def deregister_agent(self) -> Deregistered:
        """Leave the registry; return what was handed back."""
        return await self._ask("deregister_agent", Deregistered)
