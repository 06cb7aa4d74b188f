"""What every mechanism can do: start an agent, look for it, stop it, and say whether it could start one.

A mechanism keeps nothing in memory that it needs: after the death of a weft another one finds by the launch's id what
was started. What it may use of this machine is bounded by `Allow`, the machine owner's own word (`weft.toml`).
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from loominal.model.launch import Condition, Order, Seen
from loominal.model.mechanism import Config

C = TypeVar("C", bound=Config, contravariant=True)

__all__ = ["ENROLMENT_VARIABLE", "LAUNCH_VARIABLE", "Condition", "MechanismDriver", "Order", "Seen"]

LAUNCH_VARIABLE = "LOOMINAL_LAUNCH"  # in the environment of everything that a launch starts: the launch's id
ENROLMENT_VARIABLE = "LOOMINAL_ENROLMENT"


class MechanismDriver(Protocol[C]):
    """One way to start agents. Every method ends within the time that its config or the caller allows."""

    async def start(self, config: C, order: Order) -> str:
        """Start the agent and return its reference, once the mechanism has confirmed it; do it once per launch id.

        Raises: StartFailed, Unconfirmed (`model/errors.py`); Forbidden if the machine's owner does not allow it.
        """

    async def look(self, config: C, launch: str, reference: str) -> Seen:
        """Return where the agent of `launch` stands; `reference` may be "": its start was not confirmed.

        Raises: Unreachable.
        """

    async def stop(self, config: C, launch: str, reference: str, *, grace_seconds: float) -> None:
        """End the agent and everything it has started, in order and after `grace_seconds` by force; none is fine.

        Raises: Unreachable.
        """

    async def check(self, config: C) -> str:
        """Return in one line what was found to be in order. Raises: StartFailed with what is not, Forbidden."""
