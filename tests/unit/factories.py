"""Values for the unit tests: each function returns a plausible one, with what the test cares about overridden."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from loominal.model.grant import Grant, own_user_grant
from loominal.model.lifecycle import step, submitted
from loominal.model.moves import Claim, WorkEvent
from loominal.model.routing import Candidate
from loominal.model.work import Result, Submission, WorkItem, with_sequence

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PROJECT = "p1"


def after(seconds: float) -> datetime:
    """Return the instant so many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_submission(**changes: Any) -> Submission:  # Any: whichever fields the test cares about
    """Return what an agent called boss asked for."""
    plain = Submission(
        id="w_1",
        op="op-submit",
        task_id="task-1",
        submitter="boss",
        description="Write the parser",
        capabilities=("python",),
        boundary="open-source",
        submitted_at=NOW,
    )
    return replace(plain, **changes)


def an_item(**changes: Any) -> WorkItem:  # Any: whichever fields of the submission the test cares about
    """Return the first state of an item, ready unless its submission says otherwise."""
    return submitted(a_submission(**changes), {}, NOW)


def a_claimed_item(by: str = "ann", token: int = 7, **changes: Any) -> WorkItem:  # Any: as above
    """Return an item that `by` claimed at NOW under lease token `token`."""
    claim = Claim(by=by, op=f"claim-{token}", incarnation=f"{by}-1")
    return with_sequence(step(an_item(**changes), claim, NOW), token)


def a_result(summary: str = "Parser written") -> Result:
    """Return what a holder delivers."""
    return Result(summary=summary)


def moved(item: WorkItem, *events: WorkEvent, at: datetime = NOW) -> WorkItem:
    """Return `item` after `events`, all at one instant; their sequences, and so the lease tokens, count from 100."""
    for place, event in enumerate(events):
        item = with_sequence(step(item, event, at), 100 + place)
    return item


def a_grant(**changes: Any) -> Grant:  # Any: whichever fields the test cares about
    """Return the grant of the fabric's own user."""
    return replace(own_user_grant("me"), **changes)


def an_agent(**changes: Any) -> Candidate:  # Any: whichever fields the test cares about
    """Return an agent that may take `an_item()`."""
    plain = Candidate(
        id="ann",
        agent_type="codex",
        capabilities=frozenset({"python"}),
        boundaries=frozenset({"open-source", "personal", "corporate", "corporate-adjacent"}),
        grants=(own_user_grant("me"),),
    )
    return replace(plain, **changes)
