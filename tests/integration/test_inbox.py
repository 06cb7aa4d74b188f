"""Direct messages: stored once, shown until they were seen, never lost by a filter, a crash or a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from loominal.broker import subjects
from loominal.broker.log import StreamSettings
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.talk import ops_inbox
from loominal.fabric.operations.inbox import NOTICE
from loominal.model.agent import AgentStatus
from loominal.model.errors import BadCursor, InboxFull, InvalidArgument, NotFound
from loominal.model.message import Message, Receipt, Sender
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


async def tell_many(sender: Speaker, recipient: str, count: int, text: str = "n{}") -> list[str]:
    return [(await sender.tell(recipient, text.format(number))).id for number in range(count)]


async def test_a_message_comes_back_as_it_was_sent(ada: Speaker, bob: Speaker) -> None:
    question = await ada.tell(bob.guid, "how?")
    sent = await bob.tell(
        "ada", "so", messageType="réponse", replyTo=question.id, ackRequired=True, metadata={"n": 1.5}, importance="low"
    )

    inbox = await ada.inbox()

    [message] = inbox.messages
    assert (message.id, message.sender.guid, message.sender.handle) == (sent.id, bob.guid, "bob")
    assert (message.message, message.message_type, message.reply_to) == ("so", "réponse", question.id)
    assert (message.ack_required, message.metadata, message.importance) == (True, {"n": 1.5}, "low")
    assert (message.redelivered, message.truncated, message.sender.person) == (False, False, False)
    assert (inbox.unread, inbox.notice, inbox.next_cursor) == (0, NOTICE, None)
    assert (sent.recipient.handle, sent.recipient.status, sent.receipt) == ("ada", AgentStatus.ONLINE, Receipt.STORED)


async def test_an_empty_read_is_immediate(ada: Speaker) -> None:
    async with asyncio.timeout(20):  # of those that it would wait for
        inbox = await ada.inbox()

    assert (inbox.messages, inbox.unread, inbox.notice) == ((), 0, "")


async def test_waiting_ends_with_the_message(ada: Speaker, bob: Speaker) -> None:
    waiting = asyncio.create_task(ada.inbox(waitSeconds=SOON))
    await asyncio.sleep(0)
    await bob.tell("ada", "now")

    async with asyncio.timeout(SOON):
        assert texts(await waiting) == ["now"]


async def test_waiting_for_a_sender_sleeps_through_others(ada: Speaker, bob: Speaker, project: Project) -> None:
    eve = await Speaker(project).register("eve")
    waiting = asyncio.create_task(ada.inbox(waitSeconds=SOON, senderGuid="bob"))
    await eve.tell("ada", "me!")
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await bob.tell("ada", "me")

    assert texts(await waiting) == ["me"]
    assert texts(await ada.inbox()) == ["me!"]


async def test_each_read_goes_on_where_the_last_one_ended(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 5)

    pages = [await ada.inbox(limit=2) for _ in range(4)]

    assert [texts(page) for page in pages] == [["n0", "n1"], ["n2", "n3"], ["n4"], []]
    assert [page.unread for page in pages] == [3, 1, 0, 0]
    assert [page.next_cursor is None for page in pages] == [False, False, True, True]


async def test_reads_at_the_same_time_share_the_inbox(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 6)

    pages = await asyncio.gather(*(ada.inbox(limit=2) for _ in range(3)))

    assert sorted(text for page in pages for text in texts(page)) == [f"n{number}" for number in range(6)]


async def test_a_process_that_ends_is_followed_by_one_that_sees_its_last_page(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 3)
    await ada.inbox(limit=1)
    await ada.inbox(limit=1)  # so the first page was seen

    inbox = await ada.again().inbox()

    assert [(message.message, message.redelivered) for message in inbox.messages] == [("n1", True), ("n2", False)]


async def test_a_read_asked_again_gives_the_same_page(
    ada: Speaker, bob: Speaker, project: Project, nats_server: NatsServer
) -> None:
    await tell_many(bob, "ada", 4)
    first = await ada.inbox(op="read-1", limit=2)
    other = await ada.inbox(op="read-2", limit=2)

    again = await ada.inbox(op="read-1", limit=2)
    async with loaded(nats_server.url, project.id) as next_project:
        afterwards = await ada.at(next_project).inbox(op="read-1", limit=2)
        rest = await ada.at(next_project).inbox()

    assert texts(first) == texts(again) == texts(afterwards) == ["n0", "n1"]
    assert not any(message.redelivered for page in (again, afterwards) for message in page.messages)
    assert (texts(other), texts(rest)) == (["n2", "n3"], [])


async def test_a_page_whose_ack_was_lost_is_not_shown_longer_than_it_was_noted(
    ada: Speaker, bob: Speaker, project: Project
) -> None:
    await bob.tell("ada", "n0")
    box = project.inboxes.box(ada.guid)
    before = box.marks, box.revision
    await ada.inbox(op="read-1")
    box.marks, box.revision = before  # as if the hub had not heard that the page was noted
    await bob.tell("ada", "n1")

    again = await ada.inbox(op="read-1")
    rest = await ada.inbox()

    assert (texts(again), texts(rest)) == (["n0"], ["n1"])


async def test_what_was_seen_is_not_shown_again_by_the_next_hub(
    ada: Speaker, bob: Speaker, project: Project, nats_server: NatsServer
) -> None:
    await tell_many(bob, "ada", 3)
    await ada.inbox(limit=2)
    ada.request()  # any other request
    project.inboxes.flushed_at = 0
    await ops_inbox.flush(project)

    async with loaded(nats_server.url, project.id) as next_project:
        inbox = await ada.again().at(next_project).inbox()

    assert texts(inbox) == ["n2"]
    assert project.inboxes.unwritten() == []


async def test_a_filter_marks_only_what_it_shows(ada: Speaker, bob: Speaker, project: Project) -> None:
    eve = await Speaker(project).register("eve")
    for number in range(3):
        await bob.tell("ada", f"bob {number}", messageType="note")
        await eve.tell("ada", f"eve {number}")

    by_sender = await ada.inbox(senderGuid=eve.guid, limit=2)
    by_type = await ada.inbox(messageType="note", limit=1)
    rest = await ada.inbox()

    assert (texts(by_sender), by_sender.unread) == (["eve 0", "eve 1"], 4)
    assert (texts(by_type), by_type.unread) == (["bob 0"], 3)
    assert texts(rest) == ["bob 1", "bob 2", "eve 2"]


async def test_the_whole_inbox_is_paged_by_cursor(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 7)
    await ada.inbox(limit=4)

    page = await ada.inbox(unreadOnly=False, limit=3)
    found = texts(page)
    while page.next_cursor:
        await bob.tell("ada", "later")
        page = await ada.inbox(unreadOnly=False, limit=3, cursor=page.next_cursor)
        found += texts(page)

    assert [text for text in found if text != "later"] == [f"n{number}" for number in range(7)]
    assert page.unread == 0


async def test_passing_the_cursor_is_having_seen(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 3)
    page = await ada.inbox(limit=2)

    successor = ada.again()
    await successor.inbox(cursor=page.next_cursor)

    assert texts(await successor.again().inbox()) == ["n2"]


async def test_a_cursor_of_another_read_is_refused(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 3)
    cursor = (await ada.inbox(limit=1)).next_cursor

    for more in ({"unreadOnly": False}, {"messageType": "text"}, {"senderGuid": "bob"}):
        with pytest.raises(BadCursor):
            await ada.inbox(cursor=cursor, **more)
    with pytest.raises(BadCursor):
        await ada.inbox(cursor="x" * 30)
    with pytest.raises(BadCursor):
        await bob.inbox(cursor=cursor)


async def test_acknowledging_is_having_seen(ada: Speaker, bob: Speaker) -> None:
    ids = await tell_many(bob, "ada", 3)
    await ada.inbox()

    await ada.again().inbox(ack=[ids[0], ids[2]])
    await ada.again().inbox(ack=[ids[0]])

    assert texts(await ada.again().inbox(limit=1)) == ["n1"]


@pytest.mark.parametrize("wrong", ["m_d000000{}", "m_c{}1", "m_d{}999999", "n0", ""])
async def test_acknowledging_what_is_not_there_is_refused(ada: Speaker, project: Project, wrong: str) -> None:
    with pytest.raises(NotFound):
        await ada.inbox(ack=[wrong.format(project.generation[:6])])


async def test_mail_to_others_cannot_be_named(ada: Speaker, bob: Speaker, project: Project) -> None:
    eve = await Speaker(project).register("eve")
    sent = await ada.tell("bob", "between us")

    for more in ({"ack": [sent.id]}, {"id": sent.id}):
        with pytest.raises(NotFound):
            await eve.inbox(**more)
    with pytest.raises(NotFound):
        await eve.tell("bob", "what?", replyTo=sent.id)
    assert texts(await ada.inbox(id=sent.id)) == ["between us"]
    await ada.tell("bob", "and more", replyTo=sent.id)


async def test_a_long_message_stays_unread_until_its_last_part_was_read(ada: Speaker, bob: Speaker) -> None:
    long = "é" * 30_000
    sent = await bob.tell("ada", long)
    await bob.tell("ada", "short")

    first = await ada.inbox()
    again = await ada.inbox()
    parts, offset, left = "", 0, []
    while True:
        page = await ada.inbox(id=sent.id, offset=offset)
        parts, offset = parts + page.messages[0].message, page.messages[0].next_offset
        left.append(page.unread)
        if not page.messages[0].truncated:
            break

    assert [(message.truncated, message.chars) for message in first.messages] == [(True, 30_000), (False, 0)]
    assert (first.unread, [message.truncated for message in again.messages]) == (1, [True])
    assert parts == long
    assert left == [1, 1, 0]
    assert texts(await ada.inbox()) == []


async def test_a_page_with_a_long_message_is_the_same_when_asked_again(ada: Speaker, bob: Speaker) -> None:
    await bob.tell("ada", "x" * 30_000)
    await tell_many(bob, "ada", 3)
    first = await ada.inbox(op="read-1", limit=3)
    await bob.tell("ada", "later")
    again = await ada.inbox(op="read-1", limit=3)

    assert again.messages == first.messages


async def test_a_page_of_the_whole_inbox_is_the_same_when_asked_again(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 4)
    await ada.inbox(limit=2)
    first = await ada.inbox(op="read-1", unreadOnly=False)

    assert texts(await ada.inbox(op="read-1", unreadOnly=False)) == texts(first) == ["n0", "n1", "n2", "n3"]


async def test_two_hubs_at_once_lose_nothing(
    ada: Speaker, bob: Speaker, project: Project, nats_server: NatsServer
) -> None:
    ids = await tell_many(bob, "ada", 30)
    seen: set[str] = set()

    async with loaded(nats_server.url, project.id) as other_project:
        hubs = [ada, ada.at(other_project)]
        for turn in range(20):
            pages = await asyncio.gather(*(hub.inbox(limit=2) for hub in hubs[turn % 2 :]))
            seen.update(message.id for page in pages for message in page.messages)
        left = {message.id for message in (await ada.again().inbox(limit=100)).messages}

    assert seen | left == set(ids)


async def test_many_long_messages_do_not_block_short_ones(ada: Speaker, bob: Speaker) -> None:
    await tell_many(bob, "ada", 6, "{}" + "x" * 150_000)
    await bob.tell("ada", "short")

    page = await ada.inbox()
    found = texts(page)
    while page.next_cursor:
        page = await ada.inbox(cursor=page.next_cursor)
        found += texts(page)

    assert [text[:1] for text in found] == [*"012345", "s"]
    assert page.unread == 6


async def test_the_same_op_is_one_message(
    ada: Speaker, bob: Speaker, project: Project, nats_server: NatsServer
) -> None:
    sent = await bob.tell("ada", "once", op="op-1")
    again = await bob.tell("ada", "once", op="op-1")
    async with loaded(nats_server.url, project.id) as next_project:
        afterwards = await bob.at(next_project).tell(ada.guid, "once", op="op-1")

    assert sent.id == again.id == afterwards.id
    assert texts(await ada.inbox()) == ["once"]


async def test_a_full_inbox_refuses_and_takes_again_what_it_took(ada: Speaker, bob: Speaker, project: Project) -> None:
    await asyncio.gather(*(bob.tell("ada", str(number)) for number in range(999)))
    last = await bob.tell("ada", "999", op="op-last")

    with pytest.raises(InboxFull, match="ada"):
        await bob.tell("ada", "1000")
    again = await bob.tell("ada", "999", op="op-last")
    result = Message(sender=Sender(guid=bob.guid, handle="bob"), text="done", message_type="work-result")
    await ops_inbox.deliver(project, ada.guid, result, "w_1:1")
    await ada.inbox(limit=100)
    await ada.inbox(limit=1)

    assert again.id == last.id
    await bob.tell("ada", "there is room again")


async def test_what_ran_out_of_time_makes_room(ada: Speaker, bob: Speaker, project: Project) -> None:
    await asyncio.gather(*(bob.tell("ada", str(number)) for number in range(1000)))
    await project.inbox_log.purge(subjects.inbox(project.id, ada.guid))

    await bob.tell("ada", "fresh")

    assert texts(await ada.inbox()) == ["fresh"]


async def test_what_is_gone_from_the_log_is_passed_over(ada: Speaker, bob: Speaker, project: Project) -> None:
    ids = await tell_many(bob, "ada", 3)
    await project.inbox_log.purge(subjects.inbox(project.id, ada.guid), below=int(ids[1][len("m_d000000") :]))

    inbox = await ada.inbox()

    assert (texts(inbox), inbox.unread) == (["n1", "n2"], 0)


async def test_a_record_that_cannot_be_read_does_not_stand_in_the_way(
    ada: Speaker, bob: Speaker, project: Project
) -> None:
    subject = subjects.inbox(project.id, ada.guid)
    stored = await project.inbox_log.append(subject, b'{"v":1}')
    await project.inboxes.intake.reach(stored.sequence)
    await bob.tell("ada", "hello")

    inbox = await ada.inbox()

    assert (texts(inbox), inbox.unread) == (["hello"], 0)
    assert any(subject in where for where in project.corrupt)


async def test_marks_that_cannot_be_read_show_everything_again(
    ada: Speaker, bob: Speaker, project: Project, nats_server: NatsServer
) -> None:
    await tell_many(bob, "ada", 2)
    await ada.inbox()
    key = f"in.{ada.guid}"
    entry = await project.bucket.get(key)
    assert entry is not None
    await project.bucket.write(key, b"nonsense", revision=entry.revision)

    async with loaded(nats_server.url, project.id) as next_project:
        reader = ada.again().at(next_project)
        assert texts(await reader.inbox()) == ["n0", "n1"]
        assert texts(await reader.inbox()) == []


async def test_a_full_store_does_not_stop_reading(ada: Speaker, bob: Speaker, project: Project) -> None:
    await tell_many(bob, "ada", 2)
    bucket = project.bucket
    full = StreamSettings(
        subjects=(subjects.bucket_filter(bucket.name),),
        max_per_subject=1,
        max_bytes=1,
        allow_msg_ttl=True,
        allow_rollup=True,
        deny_delete=True,
    )
    await bucket.log.ensure(full)

    assert [texts(await ada.inbox(limit=1)) for _ in range(3)] == [["n0"], ["n1"], []]
    assert project.inboxes.unwritten() == [ada.guid]


@pytest.mark.parametrize("kind", ["", " ", "a\nb", "x" * 101, "work-result"])
async def test_a_message_type_is_one_line_and_not_the_fabrics_own(ada: Speaker, bob: Speaker, kind: str) -> None:
    with pytest.raises(InvalidArgument):
        await bob.tell("ada", "hello", messageType=kind)


async def test_an_agent_that_may_not_be_seen_cannot_be_written_to(bob: Speaker) -> None:
    with pytest.raises(NotFound):
        await bob.tell("nobody", "hello")


async def test_join_shows_mail_as_a_read_does(ada: Speaker, bob: Speaker, project: Project) -> None:
    await tell_many(bob, "ada", 7)

    unread, messages = await ops_inbox.peek(project, ada.request(), 5)

    assert (unread, [message.message for message in messages]) == (2, [f"n{number}" for number in range(5)])
    assert texts(await ada.inbox()) == ["n5", "n6"]
