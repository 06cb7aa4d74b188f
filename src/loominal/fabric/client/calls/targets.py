"""Where agents can be started, and the starting of them."""

from __future__ import annotations

from collections.abc import Sequence

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.spin_ups import SpinUpList, SpinUpView
from loominal.fabric.operations.targets import Checks, HealthView, TargetList, TargetView
from loominal.model.agent import JsonObject
from loominal.model.launch import LaunchStatus
from loominal.model.mechanism import Mechanism


class TargetCalls(Calls):
    """Targets, named by id or name, and spin-ups. What changes something raises Forbidden for who is no operator."""

    async def list_targets(self) -> TargetList:
        """Return every target, by name."""
        return await self._ask("list_targets", TargetList)

    async def get_target(self, target: str) -> TargetView:
        """Return one target. Raises: NotFound."""
        return await self._ask("get_target", TargetView, target=target)

    async def add_target(
        self,
        name: str,
        agent_type: str,
        capabilities: Sequence[str],
        boundaries: Sequence[str],
        mechanism: Mechanism | str,
        config: JsonObject,
        *,
        description: str = "",
        max_concurrent: int = 1,
        cooldown_seconds: float = 30,
        idle_seconds: float = 300,
        boot_timeout_seconds: float = 120,
        health_check: Checks | JsonObject | None = None,
        tags: Sequence[str] = (),
        enabled: bool | None = None,
    ) -> TargetView:
        """Say where agents can be started, and how. Raises: InvalidArgument with the field, Duplicate for the name."""
        return await self._ask(
            "add_target",
            TargetView,
            name=name,
            description=description,
            agent_type=agent_type,
            capabilities=capabilities,
            boundaries=boundaries,
            mechanism=mechanism,
            config=config,
            max_concurrent=max_concurrent,
            cooldown_seconds=cooldown_seconds,
            idle_seconds=idle_seconds,
            boot_timeout_seconds=boot_timeout_seconds,
            health_check=health_check,
            tags=tags,
            enabled=enabled,
        )

    async def update_target(
        self,
        target: str,
        *,
        name: str | None = None,
        description: str | None = None,
        agent_type: str | None = None,
        capabilities: Sequence[str] | None = None,
        boundaries: Sequence[str] | None = None,
        mechanism: Mechanism | str | None = None,
        config: JsonObject | None = None,
        max_concurrent: int | None = None,
        cooldown_seconds: float | None = None,
        idle_seconds: float | None = None,
        boot_timeout_seconds: float | None = None,
        health_check: Checks | JsonObject | None = None,
        tags: Sequence[str] | None = None,
        enabled: bool | None = None,
        version: int | None = None,
    ) -> TargetView:
        """Change a target, if it is still at `version` when that is given; what is left out stays.

        Raises: NotFound, InvalidArgument, Duplicate, IllegalMove if somebody changed it meanwhile.
        """
        return await self._ask(
            "update_target",
            TargetView,
            target=target,
            name=name,
            description=description,
            agent_type=agent_type,
            capabilities=capabilities,
            boundaries=boundaries,
            mechanism=mechanism,
            config=config,
            max_concurrent=max_concurrent,
            cooldown_seconds=cooldown_seconds,
            idle_seconds=idle_seconds,
            boot_timeout_seconds=boot_timeout_seconds,
            health_check=health_check,
            tags=tags,
            enabled=enabled,
            version=version,
        )

    async def remove_target(self, target: str) -> TargetView:
        """Forget a target; agents that it has started go on until they are idle. Raises: NotFound."""
        return await self._ask("remove_target", TargetView, target=target)

    async def enable_target(self, target: str) -> TargetView:
        """Let agents be started there again. Raises: NotFound."""
        return await self._ask("enable_target", TargetView, target=target)

    async def disable_target(self, target: str) -> TargetView:
        """Start no more agents there; those that were started go on. Raises: NotFound."""
        return await self._ask("disable_target", TargetView, target=target)

    async def test_target(self, target: str) -> HealthView:
        """Ask the target's mechanism whether an agent could be started there. Raises: NotFound."""
        return await self._ask("test_target", HealthView, target=target)

    async def spin_up(self, target: str) -> SpinUpView:
        """Start one agent there now. Raises: NotFound, IllegalMove if it is disabled or at its maximum, Forbidden."""
        return await self._ask("spin_up", SpinUpView, target=target)

    async def list_spin_ups(
        self,
        *,
        target: str | None = None,
        status: LaunchStatus | str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> SpinUpList:
        """Return a page of spin-ups, the newest first, and why none is made for work that waits. Raises: BadCursor."""
        return await self._ask("list_spin_ups", SpinUpList, target=target, status=status, limit=limit, cursor=cursor)

    async def get_spin_up(self, id: str) -> SpinUpView:  # noqa: A002  # the argument's name in every interface
        """Return one spin-up, with the end of what a failed start printed. Raises: NotFound."""
        return await self._ask("get_spin_up", SpinUpView, id=id)
