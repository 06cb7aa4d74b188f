"""What a project lets whom do: its policy."""

from __future__ import annotations

from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, View
from loominal.model.policy import HAND_BACK_SECONDS, LONGEST_SECONDS, STALLED_SECONDS, Rule

PolicySeconds = Annotated[float, msgspec.Meta(ge=1, le=LONGEST_SECONDS)]


class BoundaryRule(Arguments, frozen=True, kw_only=True):
    """Who may take the work of one boundary; an empty list means any."""

    agent_types: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()  # these have a head start of 30 s
    spin_up: bool = True
    targets: tuple[str, ...] = ()


class GetPolicy(Arguments, frozen=True, kw_only=True):
    """Ask for the policy."""


class SetPolicy(Arguments, frozen=True, kw_only=True):
    """Replace the whole policy; what is left out gets its default, and a boundary that is left out is no more."""

    boundaries: dict[str, BoundaryRule]
    cross_project: bool = True
    stalled_seconds: PolicySeconds = STALLED_SECONDS
    hand_back_seconds: PolicySeconds = HAND_BACK_SECONDS
    version: int | None = None  # of the policy that this one replaces; None: of whichever there is


class PolicyView(View, frozen=True, kw_only=True):
    """The policy that holds."""

    version: int  # 0: nobody has set one, these are the defaults
    boundaries: dict[str, Rule]
    cross_project: bool
    stalled_seconds: float
    hand_back_seconds: float
    unreadable: bool = False  # what is stored cannot be read: nobody may take anything until an operator sets one
    unknown_targets: tuple[str, ...] = ()  # that rules name, and no target is called so, or not yet
