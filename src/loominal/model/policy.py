"""Policy: which agent types may take the work of each boundary. One per project, kept by the hub, set by operators."""

from __future__ import annotations

import msgspec

from loominal.model.errors import BoundaryRefused
from loominal.model.grant import CORPORATE
from loominal.model.names import shown
from loominal.model.record import version

STALLED_SECONDS = 900.0  # no sign of life about a claim for 15 min: its agent is woken with it
HAND_BACK_SECONDS = 7200.0  # nor for 2 h: the claim is taken away


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a project says about the work of one boundary."""

    agent_types: tuple[str, ...] = ()  # that may take it; empty: any
    preferred: tuple[str, ...] = ()  # that get a head start
    spin_up: bool = True  # whether agents may be started for it
    targets: tuple[str, ...] = ()  # where; empty: on any target


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project's rules by boundary; a boundary without a rule does not exist there."""

    v: int = version(1)
    version: int = 0  # counts the changes made to it
    boundaries: dict[str, Rule]
    cross_project: bool = True  # whether the project takes part in discovery and messages across projects
    stalled_seconds: float = STALLED_SECONDS
    hand_back_seconds: float = HAND_BACK_SECONDS

    def rule(self, boundary: str) -> Rule:
        """Return the rule of `boundary`. Raises: BoundaryRefused if the policy does not name it."""
        found = self.boundaries.get(boundary)
        if found is None:
            known = ", ".join(sorted(self.boundaries)) or "none"
            raise BoundaryRefused(f"this project has no boundary {shown(boundary)}", f"its boundaries: {known}")
        return found


DEFAULT_POLICY = Policy(
    boundaries={
        "corporate": Rule(agent_types=("copilot-cli",)),
        "corporate-adjacent": Rule(preferred=("copilot-cli",)),
        "personal": Rule(preferred=("claude-code",)),
        "open-source": Rule(),
    }
)
OPEN_POLICY = msgspec.structs.replace(  # nobody can be granted `corporate` where nobody is authenticated
    DEFAULT_POLICY, boundaries={name: rule for name, rule in DEFAULT_POLICY.boundaries.items() if name != CORPORATE}
)
