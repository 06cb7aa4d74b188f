"""What a weft counts of what it does, for whoever reads its metrics: plain numbers that only grow.

Those of a project are its leader's, of what happened while it led, so that several wefts count nothing twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from enum import StrEnum

from loominal.model.launch import BOOTING, Launch, LaunchStatus
from loominal.model.mechanism import Mechanism
from loominal.model.message import Kind
from loominal.model.work import ENDED, DeadReason, Move, Status, WorkItem

SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)  # a poll lasts 25 s
LONG_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
MECHANISMS, OTHER = frozenset(Mechanism), "(other)"  # of another release
ATTEMPTS = (1.0, 2.0, 3.0, 5.0, 10.0)


class Change(StrEnum):
    """What can become of a project's lead."""

    TAKEN = "taken"
    HANDED_OVER = "handed_over"
    LOST = "lost"  # another weft took it


class Histogram:
    """How many values were at most each of `bounds`, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.sum, self.count = 0.0, 0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count `value`."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value
        self.count += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bound as text and how many values were at most that; the last one, "+Inf", counts them all."""
        found, so_far = [], 0
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class Tally:
    """One weft's numbers that belong to no project."""

    def __init__(self) -> None:
        self.operations: dict[tuple[str, str], Histogram] = {}  # by operation and code of the answer: seconds
        self.leads: Counter[Change] = Counter()

    def answered(self, operation: str, code: str, seconds: float) -> None:
        """Count an answer; `code` is "ok" or that of an error."""
        key = (operation, code)
        if key not in self.operations:
            self.operations[key] = Histogram(SHORT_SECONDS)
        self.operations[key].add(seconds)


class ProjectTally:
    """One project's numbers; `weft` are those that it shares with the other projects of its weft."""

    def __init__(self, weft: Tally | None = None) -> None:
        self.weft = weft or Tally()
        self.moves: Counter[Move] = Counter()
        self.dead: Counter[DeadReason] = Counter()
        self.messages: Counter[Kind] = Counter()
        self.events_lost = 0  # events of agents that could not be written
        self.claim_wait = Histogram(LONG_SECONDS)  # seconds, from ready to claimed
        self.runs: defaultdict[Move, Histogram] = defaultdict(lambda: Histogram(LONG_SECONDS))  # by how the claim ended
        self.attempts = Histogram(ATTEMPTS)  # of items that have ended
        self.launches: Counter[tuple[str, LaunchStatus]] = Counter()  # by mechanism and what first came of them
        self.boots: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(LONG_SECONDS))  # by mechanism: seconds

    def moved(self, before: WorkItem | None, item: WorkItem) -> None:
        """Count a move that took an item to where it is."""
        move, at = item.last.move, item.last.at
        self.moves[move] += 1
        if move is Move.CLAIM and before is not None:
            waited_since = before.due_at if before.status is Status.SCHEDULED else before.ready_at
            self.claim_wait.add(max((at - (waited_since or before.submitted_at)).total_seconds(), 0.0))
        ran = before is not None and before.status is Status.CLAIMED and item.status is not Status.CLAIMED
        if before is not None and ran and before.claimed_at is not None:
            self.runs[move].add(max((at - before.claimed_at).total_seconds(), 0.0))
        if item.status not in ENDED or (before is not None and before.status in ENDED):
            return
        self.attempts.add(item.attempt)
        if item.dead_reason is not None:
            self.dead[item.dead_reason] += 1

    def launched(self, before: Launch | None, launch: Launch) -> None:
        """Count what came of a launch: its agent registered, or it ended without; and how long that agent took."""
        if launch.status in BOOTING or (before is not None and before.status not in BOOTING):
            return
        mechanism = launch.mechanism if launch.mechanism in MECHANISMS else OTHER
        self.launches[mechanism, launch.status] += 1
        if launch.registered_at is not None:
            self.boots[mechanism].add(max((launch.registered_at - launch.requested_at).total_seconds(), 0.0))
