"""What an agent may register as: its own word, bounded by the project's policy and the grants of its user."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec

from loominal.model import names
from loominal.model.errors import BoundaryRefused, Forbidden, InvalidArgument, TooLarge
from loominal.model.grant import Grant, Visibility, admits, allows, within
from loominal.model.policy import Policy
from loominal.model.times import Instant

PERSON = "person"
MOST_LABELS = 100  # capabilities, and boundaries, of one agent
LABELS_BYTES = 12_000  # of one agent's capabilities together: a list shows them whole


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds an agent's own word in one project at one moment."""

    grants: tuple[Grant, ...]
    policy: Policy
    project: str
    now: Instant
    may_be_person: bool  # messages of a person are shown as such, so no agent may pose as one
    target: str = ""  # the name of the one that started it; then the grants are that target's

    def agent_type(self, text: str) -> str:
        """Return the agent type as it is kept and compared. Raises: InvalidArgument, Forbidden."""
        plain = names.label(text, "agentType")
        if plain == PERSON and not self.may_be_person:
            raise Forbidden(
                "only a person's own programs on an operator's machine register as a person",
                "an agent names its client as agentType; `loominal invite --role operator` lets in such a machine",
            )
        if not self._admitting(plain):
            granted = sorted({each for grant in self.grants for each in grant.agent_types})
            if self.target:
                raise Forbidden(*self._unlike_target("agentType", granted, plain))
            known = f"granted: {', '.join(granted)}" if granted else "an operator grants it with `loominal grant`"
            raise Forbidden(f"your grant does not cover the agent type {names.shown(plain)}", known)
        return plain

    def boundaries(self, agent_type: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
        """Return the boundaries as they are kept and compared; without `wanted` all that the grants cover.

        Raises: InvalidArgument, BoundaryRefused naming one the policy does not have or no grant covers.
        """
        granted = tuple(name for name in self.policy.boundaries if self._allows(agent_type, name, ()))
        if wanted is None:
            return granted
        plain = tuple(names.label(each, "boundary") for each in labels(wanted, "boundary"))
        for name in plain:
            self.policy.rule(name)
            if name not in granted:
                if self.target:
                    raise BoundaryRefused(*self._unlike_target("boundaries", granted, name))
                known = f"granted: {', '.join(granted) or 'none'}; `loominal grant --boundary {name}` adds it"
                raise BoundaryRefused(f"your grant does not cover boundary {names.shown(name)} for {agent_type}", known)
        return plain

    def capabilities(self, agent_type: str, boundaries: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the capabilities as they are kept: as given. Raises: InvalidArgument, TooLarge, Forbidden."""
        kept = labels(wanted, "capability")
        for each in kept:
            plain = names.label(each, "capability")
            if boundaries and not any(self._allows(agent_type, boundary, (plain,)) for boundary in boundaries):
                if self.target:
                    granted = sorted({each for grant in self.grants for each in grant.capabilities})
                    raise Forbidden(*self._unlike_target("capabilities", granted, plain))
                raise Forbidden(f"your grant does not cover the capability {names.shown(each)}", "leave it out")
        return kept

    def visibility(self, agent_type: str, wanted: Visibility | None, default: Visibility) -> Visibility:
        """Return the visibility `wanted`; without one the default, or less if no more is granted. Raises: Forbidden."""
        narrowness = list(Visibility).index
        widest = max((grant.visibility for grant in self._admitting(agent_type)), key=narrowness)
        if wanted is None:
            return min(widest, default, key=narrowness)
        if not within(wanted, widest):
            raise Forbidden(f"your grant does not cover the visibility {wanted}", f"the widest granted is {widest}")
        return wanted

    def _unlike_target(self, field: str, granted: Sequence[str], wanted: str) -> tuple[str, str]:
        """Return what to tell an agent that registers as something else than its target says, and what can be done."""
        has = f"target {self.target} has {field} {', '.join(map(names.shown, granted))}"
        return (
            f"{has}, and the agent that it has started registers with {names.shown(wanted)}",
            f"change the target's {field}, or what its command starts",
        )

    def _admitting(self, agent_type: str) -> list[Grant]:
        return [each for each in self.grants if admits(each, project=self.project, agent_type=agent_type, now=self.now)]

    def _allows(self, agent_type: str, boundary: str, capabilities: tuple[str, ...]) -> bool:
        return allows(
            self.grants,
            project=self.project,
            agent_type=agent_type,
            boundary=boundary,
            capabilities=capabilities,
            now=self.now,
        )


def labels(given: Sequence[str], what: str) -> tuple[str, ...]:
    """Return labels as they are kept: in NFC, trimmed, each once as compared. Raises: InvalidArgument, TooLarge."""
    if len(given) > MOST_LABELS:
        raise InvalidArgument(f"{len(given)} {what} labels are given, {MOST_LABELS} are allowed", "give fewer")
    kept: dict[str, str] = {}
    for each in given:
        kept.setdefault(names.label(each, what), unicodedata.normalize("NFC", each).strip())
    if (size := sum(len(each.encode()) for each in kept.values())) > LABELS_BYTES:
        raise TooLarge(f"the {what} labels have {size} bytes, {LABELS_BYTES} are allowed", "give fewer or shorter ones")
    return tuple(kept.values())
