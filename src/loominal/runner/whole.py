"""An item as it was offered: what a claim's answer had no room for is read on."""

from __future__ import annotations

import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkField, WorkView


async def whole(agent: Agent, item: WorkView) -> WorkView:
    """Return the item with its long fields whole, and without its lease token. Raises: as `get_work`."""
    if WorkField.DESCRIPTION in item.truncated:
        item = msgspec.structs.replace(item, description=await _text(agent, item.id, WorkField.DESCRIPTION))
    if WorkField.CONTEXT_DATA in item.truncated:
        data = msgspec.json.decode(await _text(agent, item.id, WorkField.CONTEXT_DATA))
        item = msgspec.structs.replace(item, context_data=data)
    return msgspec.structs.replace(item, lease_token=0, truncated=(), chars={})


async def _text(agent: Agent, item: str, field: WorkField) -> str:
    text, goes_on = "", True
    while goes_on:
        part = await agent.get_work(item, field=field, offset=len(text))
        text += part.description
        goes_on = field in part.truncated
    return text
