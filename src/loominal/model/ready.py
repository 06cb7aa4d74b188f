"""The ready index: what waits for a taker, arranged so that the next item for an agent is found at once.

The hub's leader keeps one per project in memory and tells it of every item that becomes ready, is claimed or ends.
"""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from loominal.model.routing import Route, effective_priority, route_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loominal.model.times import Instant
    from loominal.model.work import WorkItem

_SLACK = 64  # entries of items that have left, kept in a line before it is swept


class Rank(NamedTuple):
    """The order of choosing, the smallest first."""

    urgency: int  # effective priority, negated
    load: int  # how many of the submitter's items are being worked on
    served: int  # when the submitter was last served
    ready_at: float
    item_id: str


class ReadyIndex:
    """Ready items by route, priority and submitter; each such line is in order of waiting.

    Choosing looks at the head of each line: its time grows with the lines, not with the items.
    """

    def __init__(self) -> None:
        self._lines: dict[Route, dict[tuple[int, str], _Line]] = {}
        self._places: dict[str, tuple[Route, tuple[int, str]]] = {}
        self._claimed: dict[str, str] = {}  # item id: submitter
        self._loads: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._served_count = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._places

    def add(self, item: WorkItem, ready_at: Instant) -> None:
        """Let `item` wait; one that waited or was worked on is moved here."""
        self.remove(item.id)
        route, key = route_of(item), (item.priority, item.submitter)
        self._places[item.id] = route, key
        lines = self._lines.setdefault(route, {})
        if (line := lines.get(key)) is None:
            line = lines[key] = _Line()
        line.add(item.id, ready_at.timestamp())

    def claim(self, item: WorkItem) -> None:
        """Count `item` as worked on, and its submitter as served."""
        self.remove(item.id)
        self._claimed[item.id] = item.submitter
        self._loads[item.submitter] += 1
        self._served_count += 1
        self._served[item.submitter] = self._served_count

    def remove(self, item_id: str) -> None:
        """Forget an item, whether it waits, is worked on or is not known."""
        if submitter := self._claimed.pop(item_id, ""):
            self._loads[submitter] -= 1
        if item_id not in self._places:
            return
        route, key = self._places.pop(item_id)
        lines = self._lines[route]
        lines[key].remove(item_id)
        if not lines[key]:
            del lines[key]
        if not lines:
            del self._lines[route]

    def best(self, claimable_after: Callable[[Route], float | None], now: Instant) -> str | None:
        """Return the id of the item to give next, None if there is none; it stays where it is.

        `claimable_after` tells for each route how long an item must have waited for this agent, None for not at all
        (`routing.claimable_after`). The highest effective priority goes first; among equals the submitter with the
        fewest items being worked on, then the one served longest ago, then the item that waits longest.
        """
        at = now.timestamp()
        best: Rank | None = None
        for route, lines in self._lines.items():
            after_seconds = claimable_after(route)
            if after_seconds is None:
                continue
            for (priority, submitter), line in lines.items():
                rank = self._rank(priority, submitter, line, at)
                waited = max(at - rank.ready_at, 0.0)  # a clock that was set may have let it wait since later than now
                if waited >= after_seconds and (best is None or rank < best):
                    best = rank
        return best.item_id if best else None

    def first(self, route: Route, limit: int) -> list[str]:
        """Return up to `limit` items of `route`, in no promised order."""
        lines = self._lines.get(route, {}).values()
        return list(islice((item_id for line in lines for item_id in line), max(limit, 0)))

    def waiting(self) -> dict[Route, int]:
        """Return how many items wait by route."""
        return {route: sum(map(len, lines.values())) for route, lines in self._lines.items()}

    def waiting_since(self) -> dict[Route, float]:
        """Return since when the oldest item of each route waits, in seconds since the epoch."""
        return {route: min(line.head()[0] for line in lines.values()) for route, lines in self._lines.items()}

    def _rank(self, priority: int, submitter: str, line: _Line, at: float) -> Rank:
        ready_at, item_id = line.head()
        urgency = -effective_priority(priority, at - ready_at)
        return Rank(urgency, self._loads[submitter], self._served.get(submitter, 0), ready_at, item_id)


class _Line:
    """The waiting items of one route, priority and submitter, longest first."""

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []  # also holds items that have left, until they come to the head
        self._live: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[str]:
        return iter(self._live)

    def add(self, item_id: str, ready_at: float) -> None:
        self._live[item_id] = ready_at
        heapq.heappush(self._heap, (ready_at, item_id))

    def remove(self, item_id: str) -> None:
        del self._live[item_id]
        if len(self._heap) > 2 * len(self._live) + _SLACK:
            self._heap = [(ready_at, live) for live, ready_at in self._live.items()]
            heapq.heapify(self._heap)

    def head(self) -> tuple[float, str]:
        """Return since when the longest waiting item waits, and its id; the line must not be empty."""
        while self._live.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0]
