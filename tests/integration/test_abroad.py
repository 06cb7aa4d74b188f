"""Across projects: public agents of projects that take part find and tell each other, and nobody else anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from tests.integration.fabric import Fabric
from tests.integration.workshop import Workshop


class Two:
    """Two projects of one fabric."""

    def __init__(self, here: Workshop, there: Workshop) -> None:
        self.here = here
        self.there = there


@pytest.fixture
async def two(fabric: Fabric) -> AsyncIterator[Two]:
    """Two new projects on the fabric of the run."""
    async with AsyncExitStack() as stack:
        here, there = (Workshop(fabric, f"p-{uuid4().hex[:12]}", stack) for _ in range(2))
        yield Two(here, there)


async def test_a_message_reaches_a_public_agent_of_another_project_and_is_answered(two: Two) -> None:
    ada = await two.here.agent("ada", visibility="public")
    bob = await two.there.agent("bob", visibility="public")

    sent = await ada.send_direct_message(f"bob@{two.there.project}", "how is the loom?")
    [got] = (await bob.read_direct_messages(wait_seconds=10)).messages
    answer = await bob.send_direct_message(got.sender.handle, "it runs", reply_to=got.id)
    [back] = (await ada.read_direct_messages(wait_seconds=10)).messages

    assert (got.id, got.message, got.sender.guid) == (sent.id, "how is the loom?", ada.guid)
    assert got.sender.handle == f"ada@{two.here.project}"
    assert (sent.recipient.guid, sent.recipient.handle) == (bob.guid, f"bob@{two.there.project}")
    assert (sent.note, answer.note) == (None, None)
    assert (back.message, back.reply_to, back.sender.guid) == ("it runs", sent.id, bob.guid)
