"""The moves of a work item: one event each, and the one table of which status each may lead from and to.

The hub makes the events; `model/lifecycle.py` applies them.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from loominal.model.work import ENDED, WAITING, Move, Result, Status, Usage


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to an item, `by` an agent (empty: the hub), as operation `op` (empty: nobody asks for it again)."""

    move: ClassVar[Move]
    by: str = ""
    op: str = ""

    @property
    def note(self) -> str:
        """Return what the item's history says beside the move."""
        return ""

    @property
    def used(self) -> Usage | None:
        """Return what the attempt that this ends has used up, if its holder says so."""
        return None


class Held(Event, frozen=True, kw_only=True):
    """An event that only the holder `by` of the lease `token` can cause; the hub hands back in the holder's name."""

    token: int


class Reasoned(Event, frozen=True, kw_only=True):
    """An event somebody may give a reason for."""

    reason: str = ""

    @property
    def note(self) -> str:
        """Return the reason."""
        return self.reason


class Claim(Event, frozen=True, kw_only=True):
    """An agent takes the item: the attempt counts, the record's sequence becomes the lease token."""

    move = Move.CLAIM
    incarnation: str


class Adopt(Held, frozen=True, kw_only=True):
    """The holder's new process takes its claim over: a new lease token, the same attempt."""

    move = Move.ADOPT
    incarnation: str


class Progress(Held, frozen=True, kw_only=True):
    """The holder says how far it is."""

    move = Move.PROGRESS
    percent: float
    message: str = ""

    @property
    def note(self) -> str:
        """Return the message."""
        return self.message


class Complete(Held, frozen=True, kw_only=True):
    """The holder delivers."""

    move = Move.COMPLETE
    result: Result

    @property
    def note(self) -> str:
        """Return the result's summary."""
        return self.result.summary


class Fail(Held, frozen=True, kw_only=True):
    """The holder tried and could not; tried again after `delay_seconds`, or the backoff with `jitter` (-1 to 1)."""

    move = Move.FAIL
    error: str
    retryable: bool = True
    delay_seconds: float | None = None
    jitter: float = 0.0
    usage: Usage | None = None

    @property
    def note(self) -> str:
        """Return the error."""
        return self.error

    @property
    def used(self) -> Usage | None:
        """Return what the attempt has used up."""
        return self.usage


class Release(Held, frozen=True, kw_only=True):
    """The holder did not do it, or never had it (its answer was lost): the attempt does not count."""

    move = Move.RELEASE
    reason: str = ""
    usage: Usage | None = None

    @property
    def note(self) -> str:
        """Return the reason."""
        return self.reason

    @property
    def used(self) -> Usage | None:
        """Return what has been used up."""
        return self.usage


class Lapse(Event, frozen=True, kw_only=True):
    """The lease ran out, or (`seen_to_end`) the holder's process was seen to end, which counts as a crash."""

    move = Move.LAPSE
    seen_to_end: bool = False
    delay_seconds: float | None = None  # before it is offered again; a moment if not said

    @property
    def note(self) -> str:
        """Return how the holder was lost."""
        return "its process ended" if self.seen_to_end else "its lease ran out"


class Recover(Held, frozen=True, kw_only=True):
    """The last holder of a lapsed item is back: it resumes as `incarnation`, or delivers `result` at once."""

    move = Move.RECOVER
    incarnation: str = ""
    result: Result | None = None

    @property
    def note(self) -> str:
        """Return the result's summary, if it delivers."""
        return self.result.summary if self.result else ""


class AskCancel(Reasoned, frozen=True, kw_only=True):
    """The holder is asked to stop."""

    move = Move.ASK_CANCEL


class Cancel(Reasoned, frozen=True, kw_only=True):
    """The item is called off; a claimed one must have been asked first, and is fenced by this."""

    move = Move.CANCEL


class Resolve(Event, frozen=True, kw_only=True):
    """A dependency, `parent`, has ended as `outcome`."""

    move = Move.RESOLVE
    parent: str
    outcome: Status

    @property
    def note(self) -> str:
        """Return the parent and its end."""
        return f"{self.parent} is {self.outcome}"


class Expire(Event, frozen=True, kw_only=True):
    """The deadline passed while the item waited."""

    move = Move.EXPIRE


class Exhaust(Event, frozen=True, kw_only=True):
    """The item was about to be claimed after MAX_MOVES moves; it becomes a dead letter instead."""

    move = Move.EXHAUST


class TimeOut(Event, frozen=True, kw_only=True):
    """The holder took too long, or showed no sign of work for too long: a retryable failure."""

    move = Move.TIME_OUT
    error: str = "timed out"
    delay_seconds: float | None = None
    jitter: float = 0.0

    @property
    def note(self) -> str:
        """Return the error."""
        return self.error


class Retry(Event, frozen=True, kw_only=True):
    """A dead letter gets at least one more attempt, all of them with `reset_attempts`."""

    move = Move.RETRY
    reset_attempts: bool = False


class Discard(Reasoned, frozen=True, kw_only=True):
    """A dead letter is given up for good."""

    move = Move.DISCARD


class Tell(Event, frozen=True, kw_only=True):
    """The offerer's inbox holds the end."""

    move = Move.TELL


class Keep(Event, frozen=True, kw_only=True):
    """A holder whose lease was lost delivered all the same: kept for review, nothing else changes."""

    move = Move.KEEP
    token: int
    result: Result


class Collect(Event, frozen=True, kw_only=True):
    """The item is forgotten but for the tombstone that keeps its id refused."""

    move = Move.COLLECT


WorkEvent = (
    Claim
    | Adopt
    | Progress
    | Complete
    | Fail
    | Release
    | Lapse
    | Recover
    | AskCancel
    | Cancel
    | Resolve
    | Expire
    | Exhaust
    | TimeOut
    | Retry
    | Discard
    | Tell
    | Keep
    | Collect
)


def _from(*statuses: Status) -> frozenset[Status]:
    return frozenset(statuses)


_CLAIMED = _from(Status.CLAIMED)
_DEAD = _from(Status.DEAD)
_GIVEN_UP = _from(Status.SCHEDULED, Status.DEAD, Status.CANCELLED)  # cancelled: its holder had been asked to stop

# statuses a move leads from, and those it may lead to; `submit` makes the first
MOVES: dict[Move, tuple[frozenset[Status], frozenset[Status]]] = {
    Move.SUBMIT: (_from(), WAITING | _DEAD),
    Move.CLAIM: (_from(Status.READY), _CLAIMED),
    Move.ADOPT: (_CLAIMED, _CLAIMED),
    Move.PROGRESS: (_CLAIMED, _CLAIMED),
    Move.COMPLETE: (_CLAIMED, _from(Status.DONE)),
    Move.FAIL: (_CLAIMED, _GIVEN_UP),
    Move.RELEASE: (_CLAIMED, _from(Status.READY, Status.CANCELLED)),
    Move.LAPSE: (_CLAIMED, _GIVEN_UP),
    Move.TIME_OUT: (_CLAIMED, _GIVEN_UP),
    Move.RECOVER: (_from(Status.SCHEDULED, Status.READY), _from(Status.CLAIMED, Status.DONE)),
    Move.ASK_CANCEL: (_CLAIMED, _CLAIMED),
    Move.CANCEL: (WAITING | _CLAIMED, _from(Status.CANCELLED)),
    Move.RESOLVE: (_from(Status.BLOCKED), WAITING | _DEAD),
    Move.EXPIRE: (WAITING, _DEAD),
    Move.EXHAUST: (_from(Status.READY), _DEAD),
    Move.RETRY: (_DEAD, _from(Status.READY, Status.BLOCKED)),
    Move.DISCARD: (_DEAD, _from(Status.DISCARDED)),
    Move.TELL: (ENDED, ENDED),
    Move.KEEP: (frozenset(Status), frozenset(Status)),
    Move.COLLECT: (ENDED, ENDED),
}
