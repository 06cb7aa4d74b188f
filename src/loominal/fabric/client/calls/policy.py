"""What the project lets whom do."""

from __future__ import annotations

from collections.abc import Mapping

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.policy import BoundaryRule, PolicyView
from loominal.model.agent import JsonObject
from loominal.model.policy import HAND_BACK_SECONDS, STALLED_SECONDS


class PolicyCalls(Calls):
    """The project's policy."""

    async def get_policy(self) -> PolicyView:
        """Return the policy that holds, and its version."""
        return await self._ask("get_policy", PolicyView)

    async def set_policy(
        self,
        boundaries: Mapping[str, BoundaryRule | JsonObject],
        *,
        cross_project: bool = True,
        stalled_seconds: float = STALLED_SECONDS,
        hand_back_seconds: float = HAND_BACK_SECONDS,
        version: int | None = None,
    ) -> PolicyView:
        """Replace the whole policy, if it is still at `version` when that is given; it holds at once.

        Raises: IllegalMove if somebody changed it meanwhile; Forbidden for who is no operator, and in open mode.
        """
        return await self._ask(
            "set_policy",
            PolicyView,
            boundaries=boundaries,
            cross_project=cross_project,
            stalled_seconds=stalled_seconds,
            hand_back_seconds=hand_back_seconds,
            version=version,
        )
