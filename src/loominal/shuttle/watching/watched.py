"""What is known of the items that somebody watches, and what each answer about them means. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from loominal.fabric.operations.work import FollowedWork, WorkDetail
from loominal.model.work import ENDED, Status
from loominal.model.work_events import ARRIVALS, PROGRESS
from loominal.shuttle.tables import last_line

SUBMITTED, FAILED, CLAIMED = "work:submitted", "work:failed", "work:claimed"


class Happened(NamedTuple):
    """One event of an item, in the words of `GET /api/events`."""

    type: str
    at: datetime | None
    item: FollowedWork


class Watched:
    """The items in the order in which they were named, as they were last told."""

    def __init__(self) -> None:
        self.items: dict[str, FollowedWork] = {}
        self.details: dict[str, WorkDetail] = {}  # of those that have ended

    def is_over(self, ids: Iterable[str]) -> bool:
        """Return whether all of these have ended."""
        return all(self.items[each].status in ENDED for each in ids)

    def take(self, told: Sequence[FollowedWork]) -> list[Happened]:
        """Take how some items stand now, and return what has happened to them."""
        found: list[Happened] = []
        for item in told:
            found += happened(self.items.get(item.id), item)
            self.items[item.id] = item
            if item.status not in ENDED:
                self.details.pop(item.id, None)  # it was retried: its next end is another one
        return found


def happened(before: FollowedWork | None, item: FollowedWork) -> list[Happened]:
    """Return what `item` tells somebody who knew it as `before`; of several moves since then the last is told."""
    moved = before is None or (item.events, item.moved_at) != (before.events, before.moved_at)
    told: Sequence[str] = ()
    if before is None:
        told = item.events[-1:] or (_arrival(item),)
    elif item.events and moved:
        told = item.events
    elif (item.status, item.attempt) != (before.status, before.attempt):
        told = (_arrival(item),)
    found = [Happened(each, item.ended_at or item.moved_at, item) for each in told]
    if before is not None and item.progress is not None and item.progress != before.progress:
        found.append(Happened(PROGRESS, item.progress.at, item))
    return found


def note(item: FollowedWork, detail: WorkDetail | None = None) -> str:
    """Return what is to be said of how an item stands: who is at it, what it waits for, what came of it."""
    if detail is not None and item.status in ENDED:
        return outcome(detail)
    if item.status is not Status.CLAIMED:
        return item.dead_reason or item.waits_for or ""
    attempt = f"(attempt {item.attempt})" if item.attempt > 1 else ""
    asked = "is asked to stop" if item.cancel_requested else ""
    said = item.progress.message if item.progress is not None else ""
    return " ".join(each for each in (item.claimed_by, attempt, asked, said) if each)


def outcome(detail: WorkDetail) -> str:
    """Return what came of an item: its summary, or why it is dead and the last error; else what it waits for."""
    if detail.status not in ENDED:
        return detail.waits_for or detail.claimed_by or ""
    error = last_line(detail.errors[-1].message) if detail.errors and detail.status is not Status.DONE else ""
    return ": ".join(each for each in (detail.dead_reason, error or detail.summary) if each)


def percent(item: FollowedWork) -> str:
    """Return how far a claimed item is, "" if its holder has not said."""
    far = item.progress.percent if item.progress is not None else None
    return "" if far is None else f"{far:.0f} %"


def _arrival(item: FollowedWork) -> str:
    """Return the event that led to where an item stands, of which its last record does not tell."""
    if item.status in ARRIVALS:
        return ARRIVALS[item.status]
    if item.status is Status.CLAIMED:
        return CLAIMED
    return FAILED if item.attempt else SUBMITTED
