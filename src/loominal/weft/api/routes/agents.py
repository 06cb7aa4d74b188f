"""Agents by HTTP: who is there, and cutting one off."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Parameter

from loominal.fabric.operations.access import RevokeAgent, Revoked
from loominal.fabric.operations.registry import AgentView, DiscoverAgents, Discovered, GetAgentInfo
from loominal.model.agent import AgentStatus
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import Cursor, Limit, does, reads


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


AGENTS = (list_agents, get_agent, revoke_agent)
