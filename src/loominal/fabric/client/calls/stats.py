"""How much of everything there is."""

from __future__ import annotations

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.stats import Projects, Stats


class StatsCalls(Calls):
    """The project in numbers."""

    async def list_projects(self) -> Projects:
        """Return every project where this agent may be anything at all; who is no operator sees its own."""
        return await self._ask("list_projects", Projects)

    async def get_stats(self) -> Stats:
        """Return how many agents and items there are by status, and how long the oldest ready item waits."""
        return await self._ask("get_stats", Stats)
