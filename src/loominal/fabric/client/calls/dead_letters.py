"""Items that cannot go on by themselves."""

from __future__ import annotations

from loominal.fabric.client.calls.interface import Calls
from loominal.fabric.operations.dead_letters import DeadLetterMoved, DeadLetters


class DeadLetterCalls(Calls):
    """Dead letters, for those who offered the items and for operators."""

    async def list_dead_letter_items(
        self, *, capability: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> DeadLetters:
        """Return a page of dead letters, newest first. Raises: BadCursor."""
        return await self._ask("list_dead_letter_items", DeadLetters, capability=capability, limit=limit, cursor=cursor)

    async def retry_dead_letter_item(self, item_id: str, *, reset_attempts: bool = False) -> DeadLetterMoved:
        """Give a dead item at least one more attempt. Raises: NotOwner, IllegalMove."""
        return await self._ask(
            "retry_dead_letter_item", DeadLetterMoved, item_id=item_id, reset_attempts=reset_attempts
        )

    async def discard_dead_letter_item(self, item_id: str, *, reason: str = "") -> DeadLetterMoved:
        """Give a dead item up for good. Raises: NotOwner, IllegalMove."""
        return await self._ask("discard_dead_letter_item", DeadLetterMoved, item_id=item_id, reason=reason)
