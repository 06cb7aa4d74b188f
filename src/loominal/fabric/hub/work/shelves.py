"""Items in the order of their submission, by status, boundary and priority: for lists, and to count without looking."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from loominal.model.work import Status, WorkItem

Place = tuple[datetime, str]  # when an item was submitted (or is due), and its id


class Label(NamedTuple):
    """What the items of one shelf have in common."""

    status: Status
    boundary: str
    priority: int


class Shelves:
    """Some items, each once."""

    def __init__(self) -> None:
        self._shelves: defaultdict[Label, list[Place]] = defaultdict(list)
        self._due: defaultdict[Label, list[Place]] = defaultdict(list)  # of the scheduled ones

    def __bool__(self) -> bool:
        return bool(self._shelves)

    def add(self, item: WorkItem, label: Label, place: Place) -> None:
        """Put an item where it belongs now; `label` and `place` are its own, for all the shelves that it stands on."""
        _insert(self._shelves[label], place)
        if item.status is Status.SCHEDULED:
            _insert(self._due[label], (item.due_at or item.submitted_at, item.id))

    def remove(self, item: WorkItem) -> None:
        """Take an item away, which is as it was when it was added."""
        label = label_of(item)
        _delete(self._shelves, label, (item.submitted_at, item.id))
        if item.status is Status.SCHEDULED:
            _delete(self._due, label, (item.due_at or item.submitted_at, item.id))

    def boundaries(self) -> set[str]:
        """Return the boundaries of which there are items."""
        return {label.boundary for label in self._shelves}

    def counts(self, now: datetime | None) -> Counter[Status]:
        """Return how many items stand where; scheduled ones that are due at `now` count as ready."""
        counts: Counter[Status] = Counter()
        for label, shelf in self._shelves.items():
            due = self._due_count(label, now) if now else 0
            counts[label.status] += len(shelf) - due
            counts[Status.READY] += due
        return counts

    def count(self, boundaries: Collection[str], status: Status | None, least: int, now: datetime) -> int:
        """Return how many items of these boundaries stand at `status` at `now`; None: anywhere.

        Counted are those of at least the priority `least`. Scheduled ones that are due are ready.
        """
        found = 0
        for label, shelf in self._shelves.items():
            if label.boundary not in boundaries or label.priority < least:
                continue
            due = self._due_count(label, now)
            found += len(shelf) - due if status in (None, label.status) else 0
            found += due if status in (None, Status.READY) else 0
        return found

    def newest_first(
        self, statuses: Collection[Status], boundaries: Collection[str] | None, least: int, before: Place | None
    ) -> Iterator[Place]:
        """Yield items of `statuses` and `boundaries` (None: any) and at least the priority `least`.

        The newest submission comes first, of those behind `before`.
        """
        runs = [
            _newest_first(shelf, before)
            for label, shelf in self._shelves.items()
            if label.status in statuses
            and (boundaries is None or label.boundary in boundaries)
            and label.priority >= least
        ]
        return heapq.merge(*runs, reverse=True)

    def oldest_first(self, status: Status) -> Iterator[Place]:
        """Yield the items of `status`, oldest submission first."""
        return heapq.merge(*(shelf for label, shelf in self._shelves.items() if label.status is status))

    def _due_count(self, label: Label, now: datetime) -> int:
        return bisect_right(self._due[label], now, key=_at) if label in self._due else 0


def label_of(item: WorkItem) -> Label:
    """Return on which shelf an item stands."""
    return Label(item.status, item.boundary, item.priority)


def _newest_first(shelf: list[Place], before: Place | None) -> Iterator[Place]:
    end = len(shelf) if before is None else bisect_left(shelf, before)
    for place in range(end - 1, -1, -1):
        yield shelf[place]


def _insert(shelf: list[Place], place: Place) -> None:
    if not shelf or shelf[-1] < place:  # nearly always while a project is loaded
        shelf.append(place)
    else:
        insort(shelf, place)


def _delete(shelves: defaultdict[Label, list[Place]], label: Label, place: Place) -> None:
    shelf = shelves[label]
    at = bisect_left(shelf, place)
    if at < len(shelf) and shelf[at] == place:
        del shelf[at]
    if not shelf:
        del shelves[label]


def _at(place: Place) -> datetime:
    return place[0]
