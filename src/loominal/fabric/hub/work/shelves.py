"""Items in the order of their submission, by status and boundary: for lists, and for counts that look at no item."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime

from loominal.model.work import Status, WorkItem

Place = tuple[datetime, str]  # when an item was submitted (or is due), and its id


class Shelves:
    """Every item that is not forgotten, once."""

    def __init__(self) -> None:
        self._shelves: defaultdict[tuple[Status, str], list[Place]] = defaultdict(list)
        self._due: defaultdict[str, list[Place]] = defaultdict(list)  # of the scheduled ones, by boundary

    def add(self, item: WorkItem) -> None:
        """Put an item where it belongs now."""
        _insert(self._shelves[item.status, item.boundary], (item.submitted_at, item.id))
        if item.status is Status.SCHEDULED:
            _insert(self._due[item.boundary], (item.due_at or item.submitted_at, item.id))

    def remove(self, item: WorkItem) -> None:
        """Take an item away, which is as it was when it was added."""
        key = item.status, item.boundary
        _delete(self._shelves[key], (item.submitted_at, item.id))
        if not self._shelves[key]:
            del self._shelves[key]
        if item.status is Status.SCHEDULED:
            _delete(self._due[item.boundary], (item.due_at or item.submitted_at, item.id))
            if not self._due[item.boundary]:
                del self._due[item.boundary]

    def boundaries(self) -> set[str]:
        """Return the boundaries of which there are items."""
        return {boundary for _, boundary in self._shelves}

    def counts(self, now: datetime | None) -> Counter[Status]:
        """Return how many items stand where; scheduled ones that are due at `now` count as ready."""
        counts: Counter[Status] = Counter()
        for (status, _), shelf in self._shelves.items():
            counts[status] += len(shelf)
        if now is not None:
            due = sum(bisect_right(shelf, now, key=_at) for shelf in self._due.values())
            counts.update({Status.READY: due, Status.SCHEDULED: -due})
        return counts

    def count(self, boundary: str, status: Status | None, now: datetime) -> int:
        """Return how many items of a boundary stand at `status` at `now` (None: anywhere); due ones are ready."""
        if status is None:
            return sum(len(self._shelves.get((each, boundary), ())) for each in Status)
        kept = len(self._shelves.get((status, boundary), ()))
        if status not in (Status.READY, Status.SCHEDULED):
            return kept
        due = bisect_right(self._due.get(boundary, ()), now, key=_at)
        return kept + due if status is Status.READY else kept - due

    def newest_first(
        self, statuses: Collection[Status], boundaries: Collection[str] | None, before: Place | None
    ) -> Iterator[str]:
        """Yield items of `statuses` and `boundaries` (None: any), newest submission first, from behind `before` on."""
        runs = [
            _newest_first(shelf, before)
            for (status, boundary), shelf in self._shelves.items()
            if status in statuses and (boundaries is None or boundary in boundaries)
        ]
        for _, item_id in heapq.merge(*runs, reverse=True):
            yield item_id

    def oldest_first(self, status: Status) -> Iterator[str]:
        """Yield the items of `status`, oldest submission first."""
        for _, item_id in heapq.merge(*(shelf for (each, _), shelf in self._shelves.items() if each is status)):
            yield item_id


def _newest_first(shelf: list[Place], before: Place | None) -> Iterator[Place]:
    end = len(shelf) if before is None else bisect_left(shelf, before)
    for place in range(end - 1, -1, -1):
        yield shelf[place]


def _insert(shelf: list[Place], place: Place) -> None:
    if not shelf or shelf[-1] < place:  # nearly always while a project is loaded
        shelf.append(place)
    else:
        insort(shelf, place)


def _delete(shelf: list[Place], place: Place) -> None:
    at = bisect_left(shelf, place)
    if at < len(shelf) and shelf[at] == place:
        del shelf[at]


def _at(place: Place) -> datetime:
    return place[0]
