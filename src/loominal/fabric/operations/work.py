"""Handing work over: offer, claim, report, end, look."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from loominal.fabric.operations.types import Arguments, Limit100, Offset, Text, View, WaitSeconds
from loominal.model.agent import JsonObject
from loominal.model.routing import Exclusion
from loominal.model.scaling import Bar
from loominal.model.work import Artifact, DeadReason, Notify, Status, Usage

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class BroadcastWorkOffer(Arguments, frozen=True, kw_only=True):
    """Offer an item to whoever can do it."""

    task_id: str | None = None
    description: Text
    required_capability: str | None = None
    capabilities: tuple[str, ...] = ()
    boundary: str = "personal"
    priority: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    deadline: str | None = None
    not_before: str | None = None
    depends_on: tuple[str, ...] = ()
    context_data: JsonObject = {}
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=30 * 86400)] = 14400.0
    preferred_agent_type: str | None = None
    required_agent_type: str | None = None
    assign_to: str | None = None
    notify: Notify = Notify.INBOX


class Offered(View, frozen=True, kw_only=True):
    """The item, and who could take it."""

    id: str
    task_id: str
    status: Status
    duplicate: bool
    eligible: int
    note: str | None = None
    agent_types: tuple[str, ...] | None = None  # that the policy lets take it; only for operators and over REST,
    spin_up_triggered: bool | None = None  # and whether an agent is being started for work like it


class ProgressView(View, frozen=True, kw_only=True):
    """How far a claimed item is, by its holder's word."""

    percent: float | None = None
    message: str = ""
    at: datetime | None = None


class FailureView(View, frozen=True, kw_only=True):
    """Why an attempt did not succeed."""

    at: datetime
    by: str
    message: str


class HistoryEntry(View, frozen=True, kw_only=True):
    """One move of an item."""

    at: datetime
    by: str
    move: str
    note: str = ""
    usage: Usage | None = None  # of an attempt that failed or was handed back


class WorkView(View, frozen=True, kw_only=True):
    """An item as its holder, its offerer and lists see it."""

    id: str
    task_id: str = ""
    description: str = ""
    capabilities: tuple[str, ...] = ()
    boundary: str = ""
    priority: int = 5
    status: Status | None = None
    deadline: datetime | None = None
    not_before: datetime | None = None
    context_data: JsonObject = {}
    attempt: int = 0
    max_attempts: int = 3
    offered_by: str = ""
    claimed_by: str | None = None
    timeout_at: datetime | None = None
    due_at: datetime | None = None
    progress: ProgressView | None = None
    cancel_requested: bool = False
    waits_for: str | None = None
    depends_on: tuple[str, ...] = ()
    lease_token: int = 0  # for the client, which keeps it; tools do not show it
    truncated: tuple[str, ...] = ()
    chars: dict[str, int] = {}


class WorkDetail(WorkView, frozen=True, kw_only=True):
    """An item with everything known of it."""

    result: JsonObject = {}
    summary: str = ""
    artifacts: tuple[Artifact, ...] = ()
    errors: tuple[FailureView, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    dead_reason: DeadReason | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None


class ClaimWork(Arguments, frozen=True, kw_only=True):
    """Take items that one can do."""

    capability: str | None = None
    wait_seconds: WaitSeconds = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


class Claimed(View, frozen=True, kw_only=True):
    """What is now the agent's to do."""

    work: tuple[WorkView, ...]
    note: str | None = None


class AbandonClaim(Arguments, frozen=True, kw_only=True):
    """Nobody waits for the answer to a claim any more; sent by the client, not a tool."""

    op: str  # of the claim


class ClaimAbandoned(View, frozen=True, kw_only=True):
    """What the claim had taken and is handed back."""

    released: tuple[str, ...]


class ReportProgress(Arguments, frozen=True, kw_only=True):
    """Say how far one is."""

    work_id: str
    percent: Percent | None = None
    message: str = ""


class ProgressReported(View, frozen=True, kw_only=True):
    """The report was taken; look whether to stop."""

    work_id: str
    percent: float | None = None
    cancel_requested: bool


class CompleteWork(Arguments, frozen=True, kw_only=True):
    """The item is done."""

    work_id: str
    summary: Text
    result: JsonObject = {}
    artifacts: tuple[Artifact, ...] = ()


class FailWork(Arguments, frozen=True, kw_only=True):
    """One tried and it failed."""

    work_id: str
    error: Text
    retryable: bool = True
    usage: Usage | None = None


class ReleaseWork(Arguments, frozen=True, kw_only=True):
    """One did not do it: hand it back, no attempt counted."""

    work_id: str
    reason: str = ""
    usage: Usage | None = None


class WorkMoved(View, frozen=True, kw_only=True):
    """Where the item went."""

    work_id: str
    status: Status
    next_attempt_at: datetime | None = None
    note: str | None = None


class ListWork(Arguments, frozen=True, kw_only=True):
    """Look through the items; `agent` (guid or handle) is who offered or holds them."""

    status: Status | None = None
    capability: str | None = None
    boundary: str | None = None
    mine: bool = False
    agent: str | None = None
    min_priority: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    limit: Limit100 = 20
    cursor: str | None = None


class WorkPage(View, frozen=True, kw_only=True):
    """A page of items, newest submission first."""

    items: tuple[WorkView, ...]
    total: int
    next_cursor: str | None = None


class WorkField(StrEnum):
    """A long field that can be read in parts."""

    DESCRIPTION = "description"
    CONTEXT_DATA = "contextData"
    SUMMARY = "summary"
    RESULT = "result"
    ARTIFACTS = "artifacts"
    ERRORS = "errors"


class GetWork(Arguments, frozen=True, kw_only=True):
    """Look at one item; with `field`, read on in it from `offset` characters on."""

    work_id: str
    wait_seconds: WaitSeconds = 0
    field: WorkField | None = None
    offset: Offset = 0


class FollowWork(Arguments, frozen=True, kw_only=True):
    """Hear what becomes of items (ids or task ids); `after` is the cursor of what was heard last."""

    work_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1000)]
    after: str | None = None
    wait_seconds: WaitSeconds = 0


class FollowedWork(WorkView, frozen=True, kw_only=True):
    """An item as it stands, and the events (`model/work_events.py`) of its last record: none if that told nothing."""

    events: tuple[str, ...] = ()
    moved_at: datetime | None = None
    ended_at: datetime | None = None
    dead_reason: DeadReason | None = None


class Followed(View, frozen=True, kw_only=True):
    """The items that have moved or were reported on, each as it stands now; several moves at once are told as one.

    What ready items wait for changes with the agents that are there, and alone is nothing that is told.
    """

    items: tuple[FollowedWork, ...]
    cursor: str
    missing: tuple[str, ...] = ()  # what names no item, or none that the asker may see
    more: bool = False  # there was no room for all: the rest comes at once under the cursor


class ExplainWork(Arguments, frozen=True, kw_only=True):
    """Ask who may take an item, and what keeps all others from it."""

    work_id: str


class AgentVerdict(View, frozen=True, kw_only=True):
    """Whether an agent may take an item now, or the first rule that keeps it from it."""

    guid: str
    handle: str
    agent_type: str = ""
    eligible: bool = False
    polling: bool = False  # it waits for work now
    rule: Exclusion | None = None
    reason: str = ""  # completes "the agent is ..."
    seconds: float | None = None  # for how much longer, where the rule is that another type has a head start


class TargetVerdict(View, frozen=True, kw_only=True):
    """Whether an agent could be started on a target for an item now, or the first rule that keeps it from that."""

    name: str
    eligible: bool = False
    rule: Bar | None = None
    reason: str = ""  # completes "the target is ..."


class PreviewWorkOffer(Arguments, frozen=True, kw_only=True):
    """Ask what an offer would come to, without making it."""

    offer: BroadcastWorkOffer


class OfferPreview(View, frozen=True, kw_only=True):
    """What an item would be at first, who could take it now, else why nobody, and where agents could be started."""

    status: Status
    eligible: int
    note: str | None = None
    targets: tuple[TargetVerdict, ...] = ()


class Explained(View, frozen=True, kw_only=True):
    """An item, why it waits, and of each registered agent the first rule that excludes it; the nearest come first."""

    id: str
    task_id: str
    status: Status
    boundary: str
    waits_for: str | None = None
    agents: tuple[AgentVerdict, ...] = ()
    targets: tuple[TargetVerdict, ...] = ()
    more: int = 0  # agents that are not in the list: the answer would be too long, or the asker may not see them


class CancelWork(Arguments, frozen=True, kw_only=True):
    """Call an item off."""

    work_id: str
    reason: str = ""
