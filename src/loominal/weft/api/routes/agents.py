"""Agents by HTTP: who is there, and cutting one off."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar.params import Parameter

from loominal.fabric.operations.access import RevokeAgent, Revoked, ShutdownAgent, ShuttingDown
from loominal.fabric.operations.registry import AgentView, DiscoverAgents, Discovered, GetAgentInfo
from loominal.fabric.operations.types import Arguments
from loominal.model.agent import AgentStatus
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import Cursor, Limit, does, makes, reads


class Shutdown(Arguments, frozen=True, kw_only=True):
    """How an agent is ended; not graceful: without a grace."""

    graceful: bool = True
    grace_period_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 30.0
    reason: str = ""


@reads("/agents")
async def list_agents(
    asker: Asker,
    agent_type: Annotated[str | None, Parameter(query="agentType")] = None,
    capability: str | None = None,
    boundary: str | None = None,
    status: AgentStatus | None = None,
    hostname: str | None = None,
    handle: str | None = None,
    include_offline: Annotated[bool, Parameter(query="includeOffline")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Answer[Discovered]:
    """Return a page of agents for which all filters hold."""
    wanted = DiscoverAgents(
        agent_type=agent_type,
        capability=capability,
        boundary=boundary,
        status=status,
        hostname=hostname,
        handle=handle,
        include_offline=include_offline,
        limit=limit,
        cursor=cursor,
    )
    return await asker.answer("discover_agents", wanted)


@reads("/agents/{agent_id:str}")
async def get_agent(asker: Asker, agent_id: str) -> Answer[AgentView]:
    """Return one agent, named by guid or handle."""
    return await asker.answer("get_agent_info", GetAgentInfo(guid=agent_id))


@does("/agents/{agent_id:str}/revoke")
async def revoke_agent(asker: Asker, agent_id: str) -> Answer[Revoked]:
    """Cut an agent off for good: its connection ends, its claims are handed back."""
    return await asker.answer("revoke_agent", RevokeAgent(guid=agent_id))


@makes("/agents/{agent_id:str}/shutdown", status_code=202)
async def shutdown_agent(asker: Asker, agent_id: str, data: Shutdown = Shutdown()) -> Answer[ShuttingDown]:
    """Have an agent end: it gets nothing new, is told, and after the grace what it holds is handed back."""
    fields = {name: getattr(data, name) for name in Shutdown.__struct_fields__}
    return await asker.answer("shutdown_agent", ShutdownAgent(guid=agent_id, **fields))


AGENTS = (list_agents, get_agent, revoke_agent, shutdown_agent)
