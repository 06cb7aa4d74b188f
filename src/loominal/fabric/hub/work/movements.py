"""In which order the items of a project moved or were reported on: a follower is told what did since it last asked."""

from __future__ import annotations

import uuid
from collections import OrderedDict

KEPT = 10_000  # items whose last movement is known; a follower that is further behind is told everything again


class Movements:
    """Counts every movement of every item, in memory: another life of it counts anew, and knows no earlier count."""

    def __init__(self, kept: int = KEPT) -> None:
        self.life = uuid.uuid4().hex
        self.count = 0
        self._kept = kept
        self._forgotten = 0  # the newest count that is not kept
        self._last: OrderedDict[str, int] = OrderedDict()  # item -> the count of its last movement, oldest first

    def note(self, item_id: str) -> None:
        """Count that an item has a new record, was reported on, or became ready by time; then wake who waits for it."""
        self.count += 1
        self._last[item_id] = self.count
        self._last.move_to_end(item_id)
        if len(self._last) > self._kept:
            _, self._forgotten = self._last.popitem(last=False)

    def last(self, item_id: str) -> int:
        """Return the count of an item's last movement, 0 if it is older than all that `reaches` allows."""
        return self._last.get(item_id, 0)

    def reaches(self, count: int) -> bool:
        """Return whether everything that moved since `count` is known."""
        return self._forgotten <= count <= self.count
