"""Handing work over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.work import (
    BroadcastWorkOffer,
    Claimed,
    Explained,
    Followed,
    Offered,
    OfferPreview,
    ProgressReported,
    WorkDetail,
    WorkField,
    WorkMoved,
    WorkPage,
)
from loominal.model.agent import JsonObject
from loominal.model.work import Artifact, Notify, Status, Usage


class WorkCalls(Calls):
    """Offer, claim, report, end, look. An item is named by its id or its task id."""

    async def broadcast_work_offer(
        self,
        description: str,
        *,
        task_id: str | None = None,
        required_capability: str | None = None,
        capabilities: Sequence[str] = (),
        boundary: str = "personal",
        priority: int = 5,
        deadline: datetime | str | None = None,
        not_before: datetime | str | None = None,
        depends_on: Sequence[str] = (),
        context_data: JsonObject | None = None,
        max_attempts: int = 3,
        timeout_seconds: float = 14400,
        preferred_agent_type: str | None = None,
        required_agent_type: str | None = None,
        assign_to: str | None = None,
        notify: Notify | str = Notify.INBOX,
    ) -> Offered:
        """Offer an item; its end comes to the inbox unless `notify` is none. `timeout_seconds` bounds one attempt.

        The same `task_id` and content again is the same item. Times may be durations (`"2h"`: from now).
        Raises: Duplicate for other content, BoundaryRefused, QuotaExceeded.
        """
        return await self._ask(
            "broadcast_work_offer",
            Offered,
            description=description,
            task_id=task_id,
            required_capability=required_capability,
            capabilities=capabilities,
            boundary=boundary,
            priority=priority,
            deadline=deadline,
            not_before=not_before,
            depends_on=depends_on,
            context_data=context_data,
            max_attempts=max_attempts,
            timeout_seconds=timeout_seconds,
            preferred_agent_type=preferred_agent_type,
            required_agent_type=required_agent_type,
            assign_to=assign_to,
            notify=notify,
        )

    async def preview_work_offer(self, offer: BroadcastWorkOffer) -> OfferPreview:
        """Return who could take an offer now; nothing is offered. Raises: as `broadcast_work_offer`."""
        return await self._ask("preview_work_offer", OfferPreview, offer=offer)

    async def claim_work(self, *, capability: str | None = None, wait_seconds: float = 0, limit: int = 1) -> Claimed:
        """Take up to `limit` items, once there is one or `wait_seconds` (at most 50) are over.

        They are leased: heartbeats renew them until they are completed, failed or released. Raises: NotCapable.
        """
        return await self._ask("claim_work", Claimed, capability=capability, wait_seconds=wait_seconds, limit=limit)

    async def report_progress(
        self, work_id: str, *, percent: float | None = None, message: str = ""
    ) -> ProgressReported:
        """Say how far one is; the answer says whether to stop. Raises: LeaseLost, NotOwner."""
        return await self._ask("report_progress", ProgressReported, work_id=work_id, percent=percent, message=message)

    async def complete_work(
        self,
        work_id: str,
        summary: str,
        *,
        result: JsonObject | None = None,
        artifacts: Sequence[Artifact | JsonObject] = (),
    ) -> WorkMoved:
        """Say that the item is done. Raises: LeaseLost (the result is kept for review), NotOwner, IllegalMove."""
        return await self._ask(
            "complete_work", WorkMoved, work_id=work_id, summary=summary, result=result, artifacts=artifacts
        )

    async def fail_work(
        self, work_id: str, error: str, *, retryable: bool = True, usage: Usage | None = None
    ) -> WorkMoved:
        """Say that one tried and it failed; this counts as an attempt. Raises: LeaseLost, NotOwner."""
        return await self._ask("fail_work", WorkMoved, work_id=work_id, error=error, retryable=retryable, usage=usage)

    async def release_work(self, work_id: str, *, reason: str = "", usage: Usage | None = None) -> WorkMoved:
        """Hand the item back untried; no attempt is counted. Raises: LeaseLost, NotOwner."""
        return await self._ask("release_work", WorkMoved, work_id=work_id, reason=reason, usage=usage)

    async def list_work(
        self,
        *,
        status: Status | str | None = None,
        capability: str | None = None,
        boundary: str | None = None,
        mine: bool = False,
        agent: str | None = None,
        min_priority: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> WorkPage:
        """Return a page of items, newest first; `agent` is who offered or holds them. Raises: BadCursor, NotFound."""
        return await self._ask(
            "list_work",
            WorkPage,
            status=status,
            capability=capability,
            boundary=boundary,
            mine=mine,
            agent=agent,
            min_priority=min_priority,
            limit=limit,
            cursor=cursor,
        )

    async def get_work(
        self, work_id: str, *, wait_seconds: float = 0, field: WorkField | str | None = None, offset: int = 0
    ) -> WorkDetail:
        """Return an item, once it has ended or `wait_seconds` (at most 50) are over.

        With `field` that long field, from `offset` characters on. Raises: NotFound.
        """
        return await self._ask(
            "get_work", WorkDetail, work_id=work_id, wait_seconds=wait_seconds, field=field, offset=offset
        )

    async def explain_work(self, work_id: str) -> Explained:
        """Return who may take an item, and of every other agent the first rule that excludes it. Raises: NotFound."""
        return await self._ask("explain_work", Explained, work_id=work_id)

    async def follow_work(
        self, work_ids: Sequence[str], *, after: str | None = None, wait_seconds: float = 0
    ) -> Followed:
        """Return of up to 1 000 items those that moved since the cursor `after`, or all of them without one.

        With `after` once one has moved or `wait_seconds` (at most 50) are over. Raises: BadCursor.
        """
        return await self._ask("follow_work", Followed, work_ids=work_ids, after=after, wait_seconds=wait_seconds)

    async def cancel_work(self, work_id: str, *, reason: str = "") -> WorkMoved:
        """Call an item off; its holder is asked to stop first. Raises: NotOwner, IllegalMove."""
        return await self._ask("cancel_work", WorkMoved, work_id=work_id, reason=reason)
