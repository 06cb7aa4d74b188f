"""What the hub asks of whoever starts agents: weft, by its mechanisms."""

from __future__ import annotations

from typing import Protocol

import msgspec

from loominal.fabric.addresses import Reach
from loominal.model.launch import Launch, Order, Seen
from loominal.model.target import Target

WHERE_ALLOWED = "weft.toml in the fabric's directory says what its weft may run, which reads it when it starts"


class Launcher(Protocol):
    """Starts agents on targets, looks after them, ends them. Every method has a time limit of its own."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of weft's own file, which every project has."""

    def refusal(self, target: Target) -> str:
        """Return why this weft may not use `target` at all (it completes "the target is …"); "" if it may."""

    def reach(self, target: Target) -> Reach:
        """Return how an agent on `target` reaches the broker. Raises: Forbidden if it cannot."""

    async def start(self, target: Target, order: Order) -> str:
        """Start the agent and return what the mechanism calls it. Raises: StartFailed, Unconfirmed, Forbidden."""

    def config(self, target: Target) -> msgspec.Raw:
        """Return the config of `target` with what it leaves open to whoever is asked first, such as the machine."""

    async def look(self, launch: Launch) -> Seen:
        """Return where the agent of `launch` stands. Raises: Unreachable."""

    async def stop(self, launch: Launch, *, grace_seconds: float) -> None:
        """End the agent and all it has started. Raises: Unreachable."""

    async def check(self, target: Target) -> str:
        """Return in one line what is in order. Raises: StartFailed with what is not, Forbidden."""
