"""Work items: what is asked, where it stands, and what is kept of it.

`model/moves.py` moves them, `model/routing.py` chooses among them, the hub stores them.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import Annotated

import msgspec

from loominal.model.record import version
from loominal.model.times import Instant

OPS_KEPT = 16  # a repeated operation finds its answer among the item's last moves
FAILURES_KEPT = 8
FULL_FAILURES = 3  # the newest; of older ones the beginning is kept
FAILURE_BYTES = 2048
OLD_FAILURE_BYTES = 200
NOTE_BYTES = 300  # reasons and progress messages
REVIEW_BYTES = 512
SUMMARY_CHARACTERS = 200
ROUTING_BYTES = 3072  # what a submission may fill of a record
RECORD_BYTES = 16_384  # a whole record without its result: never more, whatever happens to the item
NO_DATA = msgspec.Raw(b"null")


class Status(StrEnum):
    """Where an item stands."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    READY = "ready"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


WAITING = frozenset({Status.SCHEDULED, Status.BLOCKED, Status.READY})
ENDED = frozenset({Status.DONE, Status.DEAD, Status.CANCELLED, Status.DISCARDED})
FAILED = ENDED - {Status.DONE}  # ends of a dependency that its children do not survive


class Move(StrEnum):
    """What can happen to an item; each is one event of `model/moves.py`."""

    SUBMIT = "submit"
    CLAIM = "claim"
    ADOPT = "adopt"
    PROGRESS = "progress"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    LAPSE = "lapse"
    RECOVER = "recover"
    ASK_CANCEL = "ask-cancel"
    CANCEL = "cancel"
    RESOLVE = "resolve"
    EXPIRE = "expire"
    EXHAUST = "exhaust"
    TIME_OUT = "time-out"
    RETRY = "retry"
    DISCARD = "discard"
    TELL = "tell"
    KEEP = "keep"
    COLLECT = "collect"


class DeadReason(StrEnum):
    """Why an item is a dead letter."""

    MAX_ATTEMPTS = "max_attempts"
    NOT_RETRYABLE = "not_retryable"
    CRASHES = "crashes"
    EXPIRED = "expired"
    DEPENDENCY_FAILED = "dependency_failed"
    TOO_MANY_MOVES = "too_many_moves"


class Notify(StrEnum):
    """How the offerer hears of the end."""

    INBOX = "inbox"
    NONE = "none"


class ArtifactKind(StrEnum):
    """What an artifact's value refers to."""

    BRANCH = "branch"
    COMMIT = "commit"
    FILE = "file"
    URL = "url"
    TEXT = "text"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A reference to something the work made."""

    kind: ArtifactKind
    value: str
    note: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a holder delivered."""

    summary: str
    result: msgspec.Raw = NO_DATA  # a JSON object of the holder's own
    artifacts: tuple[Artifact, ...] = ()


Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What an attempt has used up, as far as its holder knows; the input includes what came from a cache."""

    cost_usd: Amount | None = None
    turns: Count | None = None
    input_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    output_tokens: Count | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An attempt that did not work; `by` is its holder."""

    at: Instant
    by: str
    message: str


class OpDone(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An operation that moved the item, with what its answer needs, for when it is asked again."""

    op: str
    move: Move
    status: Status
    at: Instant
    next_attempt_at: Instant | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the holder last said about how far it is."""

    percent: float
    message: str
    at: Instant


class LateResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a holder whose lease token was stale delivered: its summary's beginning, and the SHA-256 of all of it."""

    at: Instant
    by: str
    token: int
    summary: str
    digest: str


class LastMove(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What caused a record; `by` is an agent's id, or empty for the hub. An item's records tell its history."""

    move: Move
    at: Instant
    by: str = ""
    note: str = ""
    usage: Usage | None = None  # of an attempt that this ended without a result, which has its own


class Submission(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was asked, word for word; stored once on the item's `spec` subject, before its first state."""

    v: int = version(1)
    id: str
    op: str
    digest: str = ""  # of all that was asked, as it was worded: the same id with another one is refused
    task_id: str
    submitter: str  # agent id
    description: str
    capabilities: tuple[str, ...] = ()  # labels, all needed
    boundary: str
    priority: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5  # 10 first
    deadline: Instant | None = None
    not_before: Instant | None = None
    depends_on: tuple[str, ...] = ()  # item ids
    context_data: msgspec.Raw = NO_DATA  # a JSON object
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 14_400.0
    preferred_agent_type: str = ""
    required_agent_type: str = ""
    assign_to: str = ""  # agent id
    notify: Notify = Notify.INBOX
    submitted_at: Instant


class WorkItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An item's whole state, as each record on its `wk` subject holds it."""

    v: int = version(1)
    id: str
    # from the submission
    task_id: str
    submitter: str
    summary: str  # the description's beginning, on one line
    capabilities: tuple[str, ...] = ()
    boundary: str
    priority: int = 5
    deadline: Instant | None = None
    preferred_agent_type: str = ""
    required_agent_type: str = ""
    assign_to: str = ""
    max_attempts: int = 3
    timeout_seconds: float = 14_400.0
    notify: Notify = Notify.INBOX
    submitted_at: Instant
    deps: dict[str, Status | None] = {}  # item id: how it ended
    # waiting
    status: Status
    ready_at: Instant | None = None  # since when it waits for a taker
    due_at: Instant | None = None  # when a scheduled one becomes ready
    # held
    token: int = (
        0  # the lease token: sequence of the claim's record, 0 inside that record and when nobody may come back
    )
    attempt: int = 0
    claimed_by: str = ""
    incarnation: str = ""
    claim_op: str = ""
    claimed_at: Instant | None = None
    timeout_at: Instant | None = None
    last_holder: str = ""
    progress: Progress | None = None
    cancel_asked_at: Instant | None = None
    cancel_reason: str = ""
    # ended
    result: Result | None = None
    dead_reason: DeadReason | None = None
    ended_at: Instant | None = None
    told: bool = False  # the offerer's inbox holds the end
    # kept
    ops: tuple[OpDone, ...] = ()  # oldest first
    errors: tuple[Failure, ...] = ()  # oldest first
    crashed: tuple[str, ...] = ()  # agents whose process was seen to end while they held it
    moves: int = 0  # since the submission or the last retry
    review: tuple[LateResult, ...] = ()
    last: LastMove

    @property
    def collected(self) -> bool:
        """Return whether this is the tombstone that keeps the id refused."""
        return self.last.move is Move.COLLECT


def status_at(item: WorkItem, now: Instant) -> Status:
    """Return where `item` stands at `now`: a scheduled one is ready once it is due, without a record saying so."""
    due = item.status is Status.SCHEDULED and (item.due_at is None or item.due_at <= now)
    return Status.READY if due else item.status


def with_sequence(item: WorkItem, sequence: int) -> WorkItem:
    """Return `item` as read from the record at `sequence`: a claim's own record is what its lease token names."""
    if item.status is Status.CLAIMED and item.token == 0:
        return msgspec.structs.replace(item, token=sequence)
    return item


def done_op(item: WorkItem, op: str) -> OpDone | None:
    """Return what `op` did to `item`, or None if it is not among its last moves."""
    return next((done for done in reversed(item.ops) if op and done.op == op), None)


def fits(item: WorkItem) -> bool:
    """Return whether a new item's state leaves room for all that can happen to it.

    True for its first state means that no later record exceeds RECORD_BYTES and its result: everything else is cut.
    """
    bare = msgspec.structs.replace(item, result=None, errors=(), ops=(), review=(), progress=None)
    return len(msgspec.json.encode(bare)) <= ROUTING_BYTES


def beginning(text: str, limit_bytes: int) -> str:
    """Return as much of `text` as fills at most `limit_bytes` of a record, escapes counted."""
    lengths = range(min(len(text), limit_bytes) + 1)
    return text[
        : bisect_right(lengths, limit_bytes, key=lambda length: len(msgspec.json.encode(text[:length])) - 2) - 1
    ]
