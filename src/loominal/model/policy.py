"""Policy: which agent types may take the work of each boundary. One per project, kept by the hub, set by operators."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from loominal.model.errors import BoundaryRefused, InvalidArgument, TooLarge
from loominal.model.grant import CORPORATE
from loominal.model.names import label, shown
from loominal.model.record import version

STALLED_SECONDS = 900.0  # no sign of life about a claim for 15 min: its agent is woken with it
HAND_BACK_SECONDS = 7200.0  # nor for 2 h: the claim is taken away
LONGEST_SECONDS = 30 * 86_400.0  # for either; an item's own time-out may not be longer
MOST_BOUNDARIES = 100
MOST_NAMED = 100  # agent types, preferred ones and targets, each, of one boundary
POLICY_BYTES = 64_000  # of the whole; every hub of the project holds it in memory


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a project says about the work of one boundary."""

    agent_types: tuple[str, ...] = ()  # that may take it; empty: any
    preferred: tuple[str, ...] = ()  # that get a head start
    spin_up: bool = True  # whether agents may be started for it
    targets: tuple[str, ...] = ()  # where; empty: on any target


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A project's rules by boundary; a boundary without a rule does not exist there."""

    v: int = version(1)
    version: int = 0  # the revision at which it is stored, so no two are alike; 0: nobody has set one
    boundaries: dict[str, Rule]
    cross_project: bool = True  # whether the project takes part in discovery and messages across projects
    stalled_seconds: float = STALLED_SECONDS
    hand_back_seconds: float = HAND_BACK_SECONDS
    ops: tuple[str, ...] = ()  # of the newest changes, oldest first
    closed: bool = False  # nobody may take anything: what is stored cannot be read

    @property
    def takes_part(self) -> bool:
        """Whether agents of other projects may see and tell this one's public agents, and the other way round."""
        return self.cross_project and not self.closed

    def rule(self, boundary: str) -> Rule:
        """Return the rule of `boundary`. Raises: BoundaryRefused if nobody may take work of it."""
        if why := self.refuses(boundary):
            known = ", ".join(sorted(self.boundaries)) or "none"
            raise BoundaryRefused(why, MENDING if self.closed else f"its boundaries: {known}")
        return self.boundaries[boundary]

    def refuses(self, boundary: str) -> str:
        """Return why nobody may take work of `boundary`, whoever it is; empty if there is a rule that says who may."""
        if self.closed:
            return "this project's policy cannot be read"
        return "" if boundary in self.boundaries else f"this project has no boundary {shown(boundary)}"


MENDING = "an operator has to set the policy"
DEFAULT_POLICY = Policy(
    boundaries={
        "corporate": Rule(agent_types=("copilot-cli",)),
        "corporate-adjacent": Rule(preferred=("copilot-cli",)),
        "personal": Rule(preferred=("claude-code",)),
        "open-source": Rule(),
    }
)
OPEN_POLICY = replace(  # nobody can be granted `corporate` where nobody is authenticated
    DEFAULT_POLICY, boundaries={name: rule for name, rule in DEFAULT_POLICY.boundaries.items() if name != CORPORATE}
)


def checked(policy: Policy) -> Policy:
    """Return what a person wrote with its names as they are compared, each once.

    Raises: InvalidArgument, naming what is wrong; TooLarge.
    """
    _at_most(len(policy.boundaries), MOST_BOUNDARIES, "boundaries")
    boundaries: dict[str, Rule] = {}
    for name, rule in policy.boundaries.items():
        plain = label(name, "boundary")
        if plain in boundaries:
            raise InvalidArgument(f"the boundary {shown(plain)} is named twice", "capitals make no difference")
        boundaries[plain] = Rule(
            agent_types=_labels(rule.agent_types, "agent type"),
            preferred=_labels(rule.preferred, "agent type"),
            spin_up=rule.spin_up,
            targets=_labels(rule.targets, "target"),
        )
    for what, seconds in (("stalledSeconds", policy.stalled_seconds), ("handBackSeconds", policy.hand_back_seconds)):
        if not 1 <= seconds <= LONGEST_SECONDS:
            raise InvalidArgument(f"{what} must be from 1 to {LONGEST_SECONDS:.0f}")
    plain_policy = replace(policy, boundaries=boundaries)
    if (size := len(msgspec.json.encode(boundaries))) > POLICY_BYTES:
        raise TooLarge(f"the policy has {size} bytes, {POLICY_BYTES} are allowed", "name fewer boundaries or types")
    return plain_policy


def _labels(given: Iterable[str], what: str) -> tuple[str, ...]:
    plain = tuple(dict.fromkeys(label(each, what) for each in given))
    _at_most(len(plain), MOST_NAMED, f"{what}s of one boundary")
    return plain


def _at_most(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidArgument(f"{count} {what} are given, {most} are allowed", "give fewer")
