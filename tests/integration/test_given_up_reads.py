"""A read that its reader gave up: the next one is answered for itself, and no page is lost with the first."""

from __future__ import annotations

import asyncio

from loominal.fabric.client.agent import Agent
from tests.integration.conftest import eventually
from tests.integration.workshop import Workshop
from tests.patience import SOON

PROMPT_SECONDS = 25.0  # half of what is given up would wait


async def given_up(reader: Agent) -> None:
    """Let `reader` wait for mail until the request is sent, and give up; the hub gets it before any later one."""
    questions = reader._session.broker._questions
    known = set(questions)
    reading = asyncio.create_task(reader.read_direct_messages(wait_seconds=SOON))
    await eventually(lambda: bool(set(questions) - known))
    reading.cancel()
    await asyncio.wait([reading])


async def test_a_read_at_once_does_not_wait_for_the_end_of_the_one_given_up(workshop: Workshop) -> None:
    reader, sender = await workshop.agent("reader"), await workshop.agent("sender")
    await given_up(reader)

    async with asyncio.timeout(PROMPT_SECONDS):
        empty = await reader.read_direct_messages()
    await sender.send_direct_message(reader.guid, "hello")
    [message] = (await reader.read_direct_messages(wait_seconds=SOON)).messages

    assert (empty.messages, message.message) == ((), "hello")


async def test_what_is_acknowledged_after_a_read_was_given_up_is_noted(workshop: Workshop) -> None:
    reader, sender = await workshop.agent("reader"), await workshop.agent("sender")
    before = await sender.wait_for_events(kinds=["receipt"], wait_seconds=0)
    await sender.send_direct_message(reader.guid, "hello", ack_required=True)
    [message] = (await reader.read_direct_messages()).messages
    await given_up(reader)

    async with asyncio.timeout(PROMPT_SECONDS):
        await reader.read_direct_messages(ack=[message.id])
        told, cursor = "", before.cursor
        while "acknowledged" not in told:
            page = await sender.wait_for_events(kinds=["receipt"], wait_seconds=PROMPT_SECONDS, cursor=cursor)
            told, cursor = " ".join(event.summary for event in page.events), page.cursor
