"""What every mechanism can do: start an agent, look for it, stop it, and say whether it could start one.

A mechanism keeps nothing in memory that it needs: after the death of a weft another one finds by the launch's id what
was started. What it may use of this machine is bounded by `Allow`, the machine owner's own word (`weft.toml`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, TypeVar

import msgspec

from loominal.model.mechanism import Config

C = TypeVar("C", bound=Config, contravariant=True)

LAUNCH_VARIABLE = "LOOMINAL_LAUNCH"  # in the environment of everything that a launch starts: the launch's id
ENROLMENT_VARIABLE = "LOOMINAL_ENROLMENT"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One agent to start. `enrolment` is a secret: it goes by the mechanism's safe channel, never into a log."""

    launch: str  # id; a subject token
    target: str  # name
    project: str
    agent_type: str
    capabilities: tuple[str, ...] = ()
    work: str = ""  # the item that called for it
    enrolment: str = ""

    def __repr__(self) -> str:
        return f"Order({self.launch} on {self.target})"


class Condition(StrEnum):
    """Where what was started stands."""

    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"  # there is nothing of that launch, as far as the mechanism can know


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a started agent finds."""

    condition: Condition
    reference: str = ""  # what the mechanism calls it
    exit_code: int | None = None  # of one that has ended
    detail: str = ""  # for people: why it ended, or what it waits for
    output: str = ""  # the end of what it printed, as far as the mechanism can tell, at most 64 KB


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
