"""Launches: the starting of one agent on a target, recorded before the mechanism is asked, guarded by the fence.

One enum, one table of moves and one function that makes them, as for work.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from loominal.model.errors import IllegalMove, InvalidArgument
from loominal.model.mechanism import CONFIGS, Config, Mechanism, checked_config
from loominal.model.record import version
from loominal.model.times import Instant

OUTPUT_BYTES = 65_536  # of what a failed start printed: the last
DETAIL_CHARACTERS = 2_000


class LaunchStatus(StrEnum):
    """Where a launch stands."""

    REQUESTED = "requested"  # recorded; the mechanism may have been asked
    STARTED = "started"  # the mechanism has confirmed it
    UNCONFIRMED = "unconfirmed"  # the mechanism's answer was lost: it is looked up, never asked again blindly
    REGISTERED = "registered"  # its agent is there
    STOPPED = "stopped"  # it has ended in order
    FAILED = "failed"
    TIMED_OUT = "timed_out"  # no agent came


class LaunchMove(StrEnum):
    """What happens to a launch."""

    START = "start"
    LOSE = "lose"
    REGISTER = "register"
    STOP = "stop"
    FAIL = "fail"
    TIME_OUT = "time-out"


_BOOTING = frozenset({LaunchStatus.REQUESTED, LaunchStatus.STARTED, LaunchStatus.UNCONFIRMED})
LIVE = _BOOTING | {LaunchStatus.REGISTERED}  # these count against a target's maximum
BOOTING = _BOOTING
CLOSED = frozenset(LaunchStatus) - LIVE

MOVES: dict[LaunchMove, tuple[frozenset[LaunchStatus], LaunchStatus]] = {
    LaunchMove.START: (frozenset({LaunchStatus.REQUESTED, LaunchStatus.UNCONFIRMED}), LaunchStatus.STARTED),
    LaunchMove.LOSE: (frozenset({LaunchStatus.REQUESTED}), LaunchStatus.UNCONFIRMED),
    LaunchMove.REGISTER: (_BOOTING, LaunchStatus.REGISTERED),
    LaunchMove.STOP: (LIVE, LaunchStatus.STOPPED),
    LaunchMove.FAIL: (_BOOTING, LaunchStatus.FAILED),
    LaunchMove.TIME_OUT: (_BOOTING, LaunchStatus.TIMED_OUT),
}


class Launch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The starting of one agent, from the decision to its end."""

    v: int = version(1)
    id: str
    target: str  # id of the target; `target_name` is what it was called then
    target_name: str
    mechanism: str
    config: msgspec.Raw = msgspec.Raw(b"{}")  # the target's when it was started: it is looked for and ended by this one
    agent_type: str
    agent: str = ""  # id of the agent it is for, known once it is invited
    work: str = ""  # the item that called for it, "" if a person did
    by: str = ""  # who asked for it, "" if the autoscaler did
    status: LaunchStatus = LaunchStatus.REQUESTED
    reference: str = ""  # what the mechanism calls it: a pid, the name of a Job, the number of a run
    detail: str = ""  # why it failed, or what is known
    refusal: str = ""  # why its agent was not let register when it last asked
    output: str = ""  # the end of what a failed start printed
    draining: bool = False  # its agent was told to end
    closing: LaunchMove | None = None  # the move that ends it, once nothing of it is left
    closing_at: Instant | None = None  # when that was decided
    fruitless: bool = False  # its agent came, took nothing and went again, which nobody had told it to
    unended: bool = False  # it was closed although what it had started could not be ended
    requested_at: Instant
    started_at: Instant | None = None
    registered_at: Instant | None = None
    ended_at: Instant | None = None
    boot_timeout_seconds: float = 120.0

    @property
    def settings(self) -> Config:
        """What its mechanism needs to know, as its own type. Raises: InvalidArgument, also for another release's."""
        if self.mechanism not in CONFIGS:
            raise InvalidArgument(f"launch {self.id} is by {self.mechanism}, which this release does not have")
        return checked_config(Mechanism(self.mechanism), self.config)


def closing(
    launch: Launch, move: LaunchMove, now: Instant, *, reference: str = "", detail: str = "", output: str = ""
) -> Launch:
    """Return `launch` as one that is to end by `move`, and by no other from now on. Raises: IllegalMove."""
    if launch.closing is not None:
        raise IllegalMove(f"launch {launch.id} is about to end already")
    if launch.refusal and move in (LaunchMove.FAIL, LaunchMove.TIME_OUT):
        detail = f"{launch.refusal}; {detail}"
    told = moved(launch, move, now, reference=reference, detail=detail, output=output)
    return replace(
        launch, closing=move, closing_at=now, reference=told.reference, detail=told.detail, output=told.output
    )


def moved(
    launch: Launch, move: LaunchMove, now: Instant, *, reference: str = "", detail: str = "", output: str = ""
) -> Launch:
    """Return `launch` after `move`. Raises: IllegalMove if its status has no such move, or it is about to end."""
    allowed, after = MOVES[move]
    if launch.status not in allowed or launch.closing not in (None, move):
        raise IllegalMove(f"launch {launch.id} is {launch.status}: no {move}")
    changed = replace(
        launch,
        status=after,
        reference=reference or launch.reference,
        detail=detail[:DETAIL_CHARACTERS] or launch.detail,
        output=_last(output) or launch.output,
    )
    match after:
        case LaunchStatus.STARTED:
            return replace(changed, started_at=now)
        case LaunchStatus.REGISTERED:
            return replace(changed, registered_at=now)
        case LaunchStatus.UNCONFIRMED:
            return changed
    return replace(changed, ended_at=now)


def overdue(launch: Launch, now: Instant) -> bool:
    """Return whether the agent of `launch` should have come by now."""
    return launch.status in BOOTING and (now - launch.requested_at).total_seconds() > launch.boot_timeout_seconds


def _last(output: str) -> str:
    """Return the end of an output, at most OUTPUT_BYTES in UTF-8."""
    return output.encode("utf-8", "replace")[-OUTPUT_BYTES:].decode("utf-8", "ignore")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One agent to start. `enrolment` is a secret: it goes by the mechanism's safe channel, never into a log."""

    launch: str  # id; a subject token
    target: str  # name
    project: str
    agent_type: str
    capabilities: tuple[str, ...] = ()
    work: str = ""  # the item that called for it
    enrolment: str = ""

    def __repr__(self) -> str:
        return f"Order({self.launch} on {self.target})"


class Condition(StrEnum):
    """Where what was started stands."""

    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"  # there is nothing of that launch, as far as the mechanism can know


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a started agent finds."""

    condition: Condition
    reference: str = ""  # what the mechanism calls it
    exit_code: int | None = None  # of one that has ended
    detail: str = ""  # for people: why it ended, or what it waits for
    output: str = ""  # the end of what it printed, as far as the mechanism can tell, at most 64 KB
