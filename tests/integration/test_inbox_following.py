"""follow_inbox: a reader that says itself what it has shown; looking alone marks nothing, and nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from loominal.fabric.hub.project import Project
from loominal.model.errors import BadCursor, NotFound
from tests.integration.conftest import NatsServer
from tests.integration.talk import Speaker, loaded, texts
from tests.patience import SOON


@pytest.fixture
async def project(nats_server: NatsServer, project_id: str) -> AsyncIterator[Project]:
    async with loaded(nats_server.url, project_id) as project:
        yield project


@pytest.fixture
async def ada(project: Project) -> Speaker:
    return await Speaker(project).register("ada")


@pytest.fixture
async def bob(project: Project) -> Speaker:
    return await Speaker(project).register("bob")


async def told(sender: Speaker, recipient: Speaker, *words: str) -> list[str]:
    return [(await sender.tell(recipient.guid, word)).id for word in words]


async def test_looking_marks_nothing_and_what_is_said_to_be_shown_is_read(ada: Speaker, bob: Speaker) -> None:
    first, _ = await told(bob, ada, "one", "two")

    assert texts(await ada.follow()) == texts(await ada.follow()) == ["one", "two"]
    left = await ada.follow(shown=(first,))

    assert (texts(left), left.unread) == (["two"], 1)
    assert texts(await ada.again().inbox()) == ["two"]


async def test_the_newest_of_all_come_with_a_cursor_behind_them(ada: Speaker, bob: Speaker) -> None:
    ids = await told(bob, ada, "one", "two", "three")
    await ada.follow(shown=ids[:2])

    newest = await ada.follow(unreadOnly=False, limit=2)
    later = await ada.follow(unreadOnly=False, cursor=newest.next_cursor)
    await told(bob, ada, "four")

    assert (texts(newest), newest.unread, texts(later)) == (["two", "three"], 1, [])
    assert texts(await ada.follow(unreadOnly=False, cursor=newest.next_cursor)) == ["four"]


async def test_pages_go_on_behind_each_other_until_all_is_seen(ada: Speaker, bob: Speaker) -> None:
    await told(bob, ada, *(f"{number} {'x' * 3000}" for number in range(30)))
    page = await ada.follow(limit=20)
    seen = texts(page)

    while page.messages:
        page = await ada.follow(limit=20, cursor=page.next_cursor)
        seen += texts(page)

    assert [text.partition(" ")[0] for text in seen] == [str(number) for number in range(30)]


async def test_every_reader_that_waits_gets_what_comes_and_of_one_sender_if_it_asks_so(
    project: Project, ada: Speaker, bob: Speaker
) -> None:
    cyd = await Speaker(project).register("cyd")
    cursor = (await ada.follow(unreadOnly=False, limit=1)).next_cursor
    waits = {"cursor": cursor, "unreadOnly": False, "waitSeconds": SOON}
    everything, again = (asyncio.create_task(ada.follow(**waits)) for _ in range(2))
    of_cyd = asyncio.create_task(ada.follow(**waits, senderGuid="cyd"))

    await told(bob, ada, "from bob")
    assert texts(await everything) == texts(await again) == ["from bob"]
    await told(cyd, ada, "from cyd")

    assert texts(await of_cyd) == ["from cyd"]


async def test_what_is_not_in_the_inbox_and_cursors_of_others_are_refused(ada: Speaker, bob: Speaker) -> None:
    [mine] = await told(bob, ada, "one")
    cursor = (await ada.follow()).next_cursor

    with pytest.raises(NotFound, match="in your inbox"):
        await bob.follow(shown=(mine,))
    with pytest.raises(BadCursor):
        await bob.follow(cursor=cursor)
