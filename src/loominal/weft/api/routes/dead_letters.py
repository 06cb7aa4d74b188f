"""Dead letters by HTTP."""

from __future__ import annotations

from loominal.fabric.operations.dead_letters import (
    DeadLetterMoved,
    DeadLetters,
    DiscardDeadLetterItem,
    ListDeadLetterItems,
    RetryDeadLetterItem,
)
from loominal.fabric.operations.types import Arguments
from loominal.weft.api.asker import Answer, Asker
from loominal.weft.api.routes.interface import Cursor, Limit, does, reads
from loominal.weft.api.routes.work import Reason


class Retry(Arguments, frozen=True, kw_only=True):
    """How an item is tried again."""

    reset_attempts: bool = False


@reads("/dead-letters")
async def list_dead_letters(
    asker: Asker, capability: str | None = None, limit: Limit = 20, cursor: Cursor = None
) -> Answer[DeadLetters]:
    """Return a page of dead letters, newest first."""
    wanted = ListDeadLetterItems(capability=capability, limit=limit, cursor=cursor)
    return await asker.answer("list_dead_letter_items", wanted)


@does("/dead-letters/{item_id:str}/retry")
async def retry_dead_letter(asker: Asker, item_id: str, data: Retry = Retry()) -> Answer[DeadLetterMoved]:
    """Give a dead item at least one more attempt."""
    wanted = RetryDeadLetterItem(item_id=item_id, reset_attempts=data.reset_attempts)
    return await asker.answer("retry_dead_letter_item", wanted)


@does("/dead-letters/{item_id:str}/discard")
async def discard_dead_letter(asker: Asker, item_id: str, data: Reason = Reason()) -> Answer[DeadLetterMoved]:
    """Give a dead item up for good."""
    wanted = DiscardDeadLetterItem(item_id=item_id, reason=data.reason)
    return await asker.answer("discard_dead_letter_item", wanted)


DEAD_LETTERS = (list_dead_letters, retry_dead_letter, discard_dead_letter)
