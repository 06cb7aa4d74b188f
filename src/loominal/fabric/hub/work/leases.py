"""Leases: which claims are alive, by what heartbeats name. Soft: a new leader grants every claim anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loominal.fabric.protocol import Beat
    from loominal.model.work import WorkItem


@dataclass(slots=True)
class Lease:
    """One claim's life. All times are monotonic seconds."""

    item: str
    agent: str
    token: int
    renewed_at: float
    named_at: float  # when a heartbeat last named it, or it began
    active_at: float  # when something was last done about it
    nudged: bool = False  # its holder was told that it seems stalled


class Leases:
    """The leases of one project's claimed items."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._beats: dict[str, float] = {}  # agent -> when its present incarnation last beat

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, item_id: str) -> Lease | None:
        """Return the lease of `item_id`, or None if nobody holds it."""
        return self._leases.get(item_id)

    def begin(self, item: WorkItem, now: float) -> None:
        """Begin (or keep) the lease of a claimed item; another lease token is another lease."""
        lease = self._leases.get(item.id)
        if lease is None or (lease.agent, lease.token) != (item.claimed_by, item.token):
            self._leases[item.id] = Lease(item.id, item.claimed_by, item.token, now, now, now)

    def end(self, item_id: str) -> None:
        """The item is not claimed any more."""
        self._leases.pop(item_id, None)

    def renew_all(self, now: float) -> None:
        """Grant every lease anew: the leader could not hear anybody for a while."""
        for lease in self._leases.values():
            lease.renewed_at = lease.named_at = lease.active_at = now
        self._beats.clear()

    def beat(self, agent: str, beat: Beat, now: float) -> list[tuple[str, int]]:
        """Renew what the heartbeat names; return the (item, lease token) pairs that are not this agent's leases."""
        self._beats[agent] = now
        strange, active = [], frozenset(beat.active)
        for item_id, token in beat.holds:
            lease = self._leases.get(item_id)
            if lease is None or (lease.agent, lease.token) != (agent, token):
                strange.append((item_id, token))
                continue
            lease.renewed_at = lease.named_at = now
            if item_id in active:
                self.active(item_id, now)
        return strange

    def active(self, item_id: str, now: float) -> None:
        """Something was done about the item."""
        if lease := self._leases.get(item_id):
            lease.active_at, lease.nudged = now, False

    def unnamed(self, lease: Lease, seconds: float) -> bool:
        """Return whether the holder has been beating for `seconds` without naming the claim: it does not know of it."""
        return self._beats.get(lease.agent, lease.named_at) - lease.named_at > seconds
