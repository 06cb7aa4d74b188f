"""Channels: sending, and reading a history that others go on writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from loominal.broker import subjects
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.talk.recent import Recent
from loominal.fabric.operations.channels import History
from loominal.fabric.protocol import FIELD_BYTES
from loominal.model import cursor as cursors
from loominal.model.errors import BadCursor, InvalidArgument, NotFound, QuotaExceeded, TooLarge, UnknownChannel
from loominal.model.message import FIRST_CHANNELS, Importance
from tests.integration.conftest import NatsServer, eventually
from tests.integration.talk import Speaker, loaded, texts


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


async def whole(reader: Speaker, channel: str, **more: object) -> list[str]:
    """Return the texts of a whole history, read backwards page by page."""
    page = await reader.history(channel, **more)
    found = texts(page)
    while page.next_cursor:
        page = await reader.history(channel, **{**more, "cursor": page.next_cursor})
        found = texts(page) + found
    return found


async def test_a_message_comes_back_as_it_was_sent(ada: Speaker, bob: Speaker) -> None:
    first = await ada.say("general", "who is there?")
    sent = await bob.say(
        "#general", "me\n# not a heading", replyTo=first.id, importance="high", metadata={"b": [1, None]}
    )

    page = await ada.history("general")

    assert page.messages[1].id == sent.id
    assert page.messages[1].timestamp == sent.timestamp
    assert page.messages[1].message == "me\n# not a heading"
    assert (page.messages[1].reply_to, page.messages[1].importance) == (first.id, Importance.HIGH)
    assert page.messages[1].metadata == {"b": [1, None]}
    assert page.senders == {"ada": ada.guid, "bob": bob.guid}
    assert page.next_cursor is None


async def test_every_project_starts_with_its_channels(ada: Speaker) -> None:
    await ada.say("builds", "green", create=True)

    channels = (await ada.channels()).channels

    assert [channel.name for channel in channels] == [*FIRST_CHANNELS, "builds"]
    assert (channels[-1].messages, channels[0].messages, channels[0].last_at) == (1, 0, None)
    assert channels[-1].last_at is not None


async def test_an_unknown_channel_is_refused_with_the_nearest_name(ada: Speaker) -> None:
    with pytest.raises(UnknownChannel, match="genral") as refused:
        await ada.say("genral", "hello")
    with pytest.raises(UnknownChannel):
        await ada.history("nowhere")

    assert "'general'" in refused.value.hint


@pytest.mark.parametrize("name", ["a b", "a.b", "*", ">", "", "x" * 65, "über"])
async def test_a_channel_is_one_plain_token(ada: Speaker, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await ada.say(name, "hello", create=True)


async def test_a_created_channel_is_there_for_the_next_hub(
    ada: Speaker, project: Project, nats_server: NatsServer
) -> None:
    await ada.say("Builds", "green", create=True)

    async with loaded(nats_server.url, project.id) as next_project:
        page = await ada.at(next_project).history("Builds")

    assert texts(page) == ["green"]


async def test_the_same_op_is_one_message_with_one_id_and_time(
    ada: Speaker, project: Project, nats_server: NatsServer
) -> None:
    sent = await ada.say("general", "once", op="op-1")
    again = await ada.say("general", "once", op="op-1")
    async with loaded(nats_server.url, project.id) as next_project:
        afterwards = await ada.at(next_project).say("general", "once", op="op-1")

    assert sent == again == afterwards
    assert texts(await ada.history("general")) == ["once"]


async def test_a_send_that_was_stored_is_not_refused_when_asked_again(ada: Speaker, project: Project) -> None:
    sent = await ada.say("general", "once", op="op-1")
    project.fullness.use = 0.75

    again = await ada.say("general", "once", op="op-1")

    assert again == sent
    with pytest.raises(QuotaExceeded):
        await ada.say("general", "more")


async def test_paging_back_gives_every_message_once_while_others_write(ada: Speaker, bob: Speaker) -> None:
    for number in range(57):
        await ada.say("general", f"old {number}")
    page = await bob.history("general", limit=10)
    pages, newest = [texts(page)], page.new_cursor
    while page.next_cursor:
        await asyncio.gather(*(ada.say("general", f"new {len(pages)} {number}") for number in range(3)))
        page = await bob.history("general", limit=10, cursor=page.next_cursor)
        pages.insert(0, texts(page))

    assert [text for each in pages for text in each] == [f"old {number}" for number in range(57)]
    assert [len(each) for each in pages] == [7, 10, 10, 10, 10, 10]
    later = await bob.history("general", cursor=newest)
    assert texts(later) == texts(await bob.history("general", cursor=page.new_cursor))
    assert sorted(texts(later)) == sorted(f"new {turn} {number}" for turn in range(1, 6) for number in range(3))


async def test_reading_on_gives_only_what_comes_later(ada: Speaker, bob: Speaker) -> None:
    empty = await bob.history("general")
    assert (empty.messages, empty.next_cursor) == ((), None)
    found: list[str] = []
    cursor = empty.new_cursor
    for number in range(12):
        await ada.say("general", f"n{number}")
        if number % 5 == 4:
            page = await bob.history("general", cursor=cursor, limit=3)
            found, cursor = found + texts(page), page.new_cursor
    while (page := await bob.history("general", cursor=cursor, limit=3)).messages:
        found, cursor = found + texts(page), page.new_cursor

    assert found == [f"n{number}" for number in range(12)]
    assert page.new_cursor == cursor


async def test_since_bounds_every_page(ada: Speaker, bob: Speaker) -> None:
    before = await ada.say("general", "before")
    a_second_later = before.timestamp + timedelta(seconds=1)  # times are whole seconds, and the hub's
    await eventually(lambda: ada.project.clock.now() >= a_second_later)
    first = await ada.say("general", "n0")
    for number in range(1, 8):
        await ada.say("general", f"n{number}")

    found = await whole(bob, "general", since=first.timestamp.isoformat(), limit=3)

    assert found == [f"n{number}" for number in range(8)]
    assert texts(await bob.history("general", since="1h"))[0] == "before"
    assert texts(await bob.history("general", since="2999-01-01T00:00:00Z")) == []
    with pytest.raises(InvalidArgument):
        await bob.history("general", since="yesterday")


async def test_a_page_of_long_messages_ends_early_and_goes_on(ada: Speaker, bob: Speaker) -> None:
    for number in range(12):
        await ada.say("general", f"{number}:" + "é" * 3000)

    found = await whole(bob, "general")

    assert [text.partition(":")[0] for text in found] == [str(number) for number in range(12)]
    assert all(len(text.partition(":")[2]) == 3000 for text in found)


@pytest.mark.parametrize("text", ["x" * 150_000, "\x01" * 60_000, "𝄞" * 40_000, "é\n" * 50_000])
async def test_a_text_longer_than_an_answer_is_read_in_parts(ada: Speaker, bob: Speaker, text: str) -> None:
    sent = await ada.say("general", text, metadata={"kind": "log"})

    [first] = (await bob.history("general")).messages
    parts, message = [], (await bob.history("general", id=sent.id)).messages[0]
    parts.append(message.message)
    while message.truncated:
        [message] = (await bob.history("general", id=sent.id, offset=message.next_offset)).messages
        parts.append(message.message)

    assert first.truncated
    assert text.startswith(first.message)
    assert "".join(parts) == text
    assert (message.chars, message.metadata) == (len(text), {"kind": "log"})
    with pytest.raises(InvalidArgument):
        await bob.history("general", id=sent.id, offset=len(text) + 1)


async def test_metadata_longer_than_an_answer_is_read_as_text(ada: Speaker, bob: Speaker) -> None:
    sent = await ada.say("general", "see below", metadata={"lines": ["x" * 1000] * 40})

    parts, offset = "", 0
    while True:
        [message] = (await bob.history("general", id=sent.id, offset=offset)).messages
        parts, offset = parts + message.message, message.next_offset
        if not message.truncated:
            break
    patient = Speaker(bob.project, bob.guid, limit_bytes=900_000)

    assert parts.startswith("see below\n\nmetadata: {")
    assert (await patient.history("general")).messages[0].metadata == {"lines": ["x" * 1000] * 40}


async def test_a_text_over_the_limit_is_refused_by_us(ada: Speaker) -> None:
    await ada.say("general", "x" * FIELD_BYTES)
    with pytest.raises(TooLarge, match=str(FIELD_BYTES)):
        await ada.say("general", "x" * (FIELD_BYTES + 1))


async def test_a_cursor_of_another_list_is_refused(ada: Speaker, project: Project) -> None:
    for number in range(4):
        await ada.say("general", str(number))
        await ada.say("updates", str(number))
    page = await ada.history("general", limit=2)
    forged = cursors.cursor("channel general", project.generation, "older", "1", 2)

    for arguments in (
        {"channel": "updates", "cursor": page.next_cursor},
        {"channel": "general", "cursor": "nonsense"},
        {"channel": "general", "cursor": forged},
        {"channel": "general", "cursor": page.next_cursor, "since": "1h"},
    ):
        with pytest.raises(BadCursor):
            await ada.history(**arguments)


async def test_a_reply_names_a_message_that_is_there(ada: Speaker, bob: Speaker, project: Project) -> None:
    secret = await bob.tell(bob.guid, "note to myself")
    missing = f"m_c{project.generation[:6]}999"

    for reply in (secret.id, missing, "m_1", "general"):
        with pytest.raises(NotFound):
            await ada.say("general", "what?", replyTo=reply)

    assert texts(await ada.history("general")) == []


async def test_an_id_is_read_in_its_own_channel_only(ada: Speaker) -> None:
    sent = await ada.say("updates", "here")

    assert texts(await ada.history("updates", id=sent.id)) == ["here"]
    with pytest.raises(NotFound):
        await ada.history("general", id=sent.id)


async def test_a_sender_goes_by_the_handle_under_which_it_is_found_now(ada: Speaker, bob: Speaker) -> None:
    first = await ada.say("general", "hello")
    await ada.register("ada-2")
    await bob.register("ada")
    await bob.say("general", "hello again")

    history = await bob.history("general")
    assert [message.handle for message in history.messages] == ["ada-2", "ada"]
    assert history.senders == {"ada-2": ada.guid, "ada": bob.guid}
    assert (await bob.history("general", id=first.id)).messages[0].handle == "ada-2"


async def test_who_has_no_handle_gets_one_by_sending(project: Project, bob: Speaker) -> None:
    await Speaker(project).say("general", "hello")

    assert (await bob.history("general")).messages[0].handle == "codex-loom-1"


async def test_a_record_that_cannot_be_read_is_passed_over_and_reported(ada: Speaker, project: Project) -> None:
    await ada.say("general", "before")
    subject = subjects.channel(project.id, "general")
    stored = await project.channel_log.append(subject, b"\xff nonsense")
    await project.channels.intake.reach(stored.sequence)
    await ada.say("general", "after")

    assert texts(await ada.history("general")) == ["before", "after"]
    assert any(subject in where for where in project.corrupt)


async def test_a_thousand_channels_are_enough_and_are_listed_within_the_limit(ada: Speaker, project: Project) -> None:
    for number in range(1000 - len(FIRST_CHANNELS)):
        project.channels._trails[f"made-{number:04}-{'x' * 40}"]
    with pytest.raises(QuotaExceeded, match="1000"):
        await ada.say("one-more", "hello", create=True)

    listed = await ada.channels()

    assert listed.total == 1000
    assert len(listed.channels) > 100


@pytest.mark.pitfall(9)
async def test_fifty_messages_are_read_in_one_round_trip_and_then_from_memory(ada: Speaker, project: Project) -> None:
    for number in range(60):
        await ada.say("general", str(number))
    project.channels.recent = Recent()
    asked: list[str] = []
    request_all = project.broker.request_all

    async def counting(subject: str, *arguments: object, **more: object) -> object:
        asked.append(subject)
        return await request_all(subject, *arguments, **more)  # type: ignore[arg-type]  # passed on as they came

    project.broker.request_all = counting  # type: ignore[assignment, method-assign]  # counts, changes nothing
    page: History = await ada.history("general")
    again: History = await ada.history("general")

    assert (len(page.messages), len(asked)) == (50, 1)
    assert again == page
    assert page.messages[0].timestamp <= datetime.now(UTC)


async def test_a_message_is_read_alike_from_memory_and_from_the_log(ada: Speaker, project: Project) -> None:
    await ada.say("general", "short", metadata={"n": 1.5, "list": [1, None, "ü"]}, importance="high")
    await ada.say("general", "much beside it", metadata={"notes": "x" * 1500})
    await ada.say("general", "long " * 1000)
    limits = (200_000, 24_000, 4_000)

    async def pages() -> list[History]:
        speakers = [Speaker(project, ada.guid, limit_bytes=limit) for limit in limits]
        return [await speaker.history("general") for speaker in speakers]

    sent = await pages()
    project.channels.recent = Recent()

    assert sent == await pages()
