"""Talking to one."""

from __future__ import annotations

from collections.abc import Sequence

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.inbox import DirectSent, Inbox
from loominal.model.agent import JsonObject
from loominal.model.message import Importance


class InboxCalls(Calls):
    """Direct messages."""

    async def send_direct_message(
        self,
        recipient_guid: str,
        message: str,
        *,
        message_type: str = "text",
        reply_to: str | None = None,
        ack_required: bool = False,
        importance: Importance | str = Importance.NORMAL,
        metadata: JsonObject | None = None,
    ) -> DirectSent:
        """Tell one agent, named by guid or handle. Raises: NotFound, InboxFull, QuotaExceeded."""
        return await self._ask(
            "send_direct_message",
            DirectSent,
            recipient_guid=recipient_guid,
            message=message,
            message_type=message_type,
            reply_to=reply_to,
            ack_required=ack_required,
            importance=importance,
            metadata=metadata,
        )

    async def read_direct_messages(
        self,
        *,
        limit: int = 10,
        cursor: str | None = None,
        message_type: str | None = None,
        sender_guid: str | None = None,
        unread_only: bool = True,
        wait_seconds: float = 0,
        ack: Sequence[str] = (),
        id: str | None = None,  # noqa: A002  # the tool's name for it
        offset: int = 0,
    ) -> Inbox:
        """Return a page of the inbox, oldest first, once something is there or `wait_seconds` (at most 50) are over.

        A page counts as read when this process asks for anything else; a process that ends before sees it again.
        With `id` one message, from `offset` characters on.
        """
        return await self._ask(
            "read_direct_messages",
            Inbox,
            limit=limit,
            cursor=cursor,
            message_type=message_type,
            sender_guid=sender_guid,
            unread_only=unread_only,
            wait_seconds=wait_seconds,
            ack=ack,
            id=id,
            offset=offset,
        )

    async def follow_inbox(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        unread_only: bool = True,
        sender_guid: str | None = None,
        wait_seconds: float = 0,
        shown: Sequence[str] = (),
    ) -> Inbox:
        """Return what came behind `cursor`, oldest first, waiting for it up to `wait_seconds` (at most 50).

        Without a cursor the oldest unread messages, or the newest of all; `next_cursor`, always there, goes on behind
        them. Nothing counts as read but the messages of which `shown` has the ids. Raises: NotFound, BadCursor.
        """
        return await self._ask(
            "follow_inbox",
            Inbox,
            limit=limit,
            cursor=cursor,
            unread_only=unread_only,
            sender_guid=sender_guid,
            wait_seconds=wait_seconds,
            shown=shown,
        )
