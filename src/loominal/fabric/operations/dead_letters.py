"""Items that cannot go on by themselves."""

from __future__ import annotations

from datetime import datetime

from loominal.fabric.operations.types import Arguments, Limit100, View
from loominal.fabric.operations.work import FailureView
from loominal.model.work import DeadReason, Status


class ListDeadLetterItems(Arguments, frozen=True, kw_only=True):
    """Look through the dead letters."""

    capability: str | None = None
    limit: Limit100 = 20
    cursor: str | None = None


class DeadLetter(View, frozen=True, kw_only=True):
    """A dead item."""

    id: str
    task_id: str
    capabilities: tuple[str, ...] = ()
    reason: DeadReason
    attempts: int = 0
    errors: tuple[FailureView, ...] = ()
    failed_at: datetime


class DeadLetters(View, frozen=True, kw_only=True):
    """A page of dead letters, newest first."""

    items: tuple[DeadLetter, ...]
    total: int
    next_cursor: str | None = None


class RetryDeadLetterItem(Arguments, frozen=True, kw_only=True):
    """Give a dead item at least one more attempt."""

    item_id: str
    reset_attempts: bool = False


class DiscardDeadLetterItem(Arguments, frozen=True, kw_only=True):
    """Give a dead item up for good."""

    item_id: str
    reason: str = ""


class DeadLetterMoved(View, frozen=True, kw_only=True):
    """Where the item went."""

    id: str
    status: Status
