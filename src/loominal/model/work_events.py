"""What of an item's life is told to those who watch: the events that each of its records stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loominal.model.work import Move, Status

if TYPE_CHECKING:
    from loominal.model.work import WorkItem

READY, PROGRESS = "work:ready", "work:progress"
DEEDS = {
    Move.SUBMIT: "work:submitted",
    Move.CLAIM: "work:claimed",
    Move.COMPLETE: "work:completed",
    Move.FAIL: "work:failed",
    Move.LAPSE: "work:failed",
    Move.TIME_OUT: "work:failed",
    Move.RELEASE: "work:released",
    Move.RECOVER: "work:recovered",
    Move.RETRY: "work:retried",
}  # of a move that says more than where it led to
ARRIVALS = {
    Status.READY: READY,
    Status.DONE: "work:completed",
    Status.DEAD: "work:dead",
    Status.CANCELLED: "work:cancelled",
    Status.DISCARDED: "work:discarded",
}  # of a status that a move led to
UNTOLD = frozenset({Move.ADOPT, Move.PROGRESS, Move.ASK_CANCEL, Move.TELL, Move.KEEP, Move.COLLECT})
TYPES = tuple(dict.fromkeys((*DEEDS.values(), *ARRIVALS.values(), PROGRESS)))


def told(item: WorkItem) -> tuple[str, ...]:
    """Return the events of the record that left `item` as it is, in order: what was done, then where that led to.

    A submission that is ready at once is only submitted. Progress is none: its records are few, and come late.
    """
    move = item.last.move
    if move in UNTOLD:
        return ()
    arrival = ARRIVALS.get(item.status)
    if move is Move.SUBMIT and arrival == READY:
        arrival = None
    return tuple(dict.fromkeys(each for each in (DEEDS.get(move), arrival) if each is not None))
