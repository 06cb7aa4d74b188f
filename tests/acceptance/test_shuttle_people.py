"""`shuttle tell`, `inbox`, `reply` and `channels`: a person talks with agents, from as many terminals as there are."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import user_name
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.operations.inbox import MessageView
from loominal.model.errors import Busy
from loominal.model.names import handle_like
from loominal.shuttle import person
from tests.acceptance.shells import Typing
from tests.freezing import freeze

SECONDS = 30.0
ME = handle_like(user_name())
HOSTILE = "fine\n\x1b[2Jm_1  root\x9b31m \u202eevil\u202c\r-rf"


@pytest.fixture
async def bob(typed: Typing) -> AsyncIterator[Agent]:
    async with typed.agent("bob") as agent:
        yield agent


@asynccontextmanager
async def running(typed: Typing, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have a command run beside the test; it is killed if it has not ended by then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loominal.shuttle.main", *arguments,
        env=typed.shell.environ | {"LOOMINAL_PROJECT_ID": typed.project},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        return (await process.stdout.readline()).decode()


async def output_of(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(SECONDS):
        return (await process.communicate())[0].decode()


async def mail_of(agent: Agent) -> MessageView:
    """Return the next message that an agent gets."""
    async with asyncio.timeout(SECONDS):
        while not (found := (await agent.read_direct_messages(limit=1, wait_seconds=10)).messages):
            pass
    return found[0]


async def unread(typed: Typing) -> list[str]:
    """Return the texts of the mail that the person has not read, and now has."""
    return [each["message"] for each in (await typed.json("inbox"))["messages"]]


async def people(typed: Typing) -> list[str]:
    found = await typed.json("agents", "list", "--all", "--type", "person")
    return [each["handle"] for each in found["agents"]]


async def test_shuttles_at_the_same_time_are_one_person(typed: Typing, bob: Agent) -> None:
    told = await asyncio.gather(*(typed("tell", "bob", f"number {number}") for number in range(4)))
    mail = [await mail_of(bob) for _ in told]

    assert [each.returncode for each in told] == [0] * 4
    assert {each.message for each in mail} == {f"number {number}" for number in range(4)}
    assert {(each.sender.handle, each.sender.person) for each in mail} == {(ME, True)}
    assert len({each.sender.guid for each in mail}) == 1
    assert await people(typed) == [ME]


async def test_a_name_that_an_agent_has_is_not_taken_from_it(typed: Typing) -> None:
    async with typed.agent(ME), typed.agent("bob") as bob:
        assert (await typed("tell", "bob", "hello")).returncode == 0

        assert (await mail_of(bob)).sender.handle == f"{ME}-2"


@pytest.mark.parametrize(
    ("flags", "stdin", "expected"),
    [
        (("plain text",), "", ("plain text", "text", False, "normal")),
        (("-",), "two\nlines\n", ("two\nlines", "text", False, "normal")),
        (("done?", "--ask"), "", ("done?", "question", True, "normal")),
        (("now!", "--importance", "high"), "", ("now!", "text", False, "high")),
    ],
)
async def test_each_flag_of_tell_reaches_who_is_told(
    typed: Typing, bob: Agent, flags: tuple[str, ...], stdin: str, expected: tuple[object, ...]
) -> None:
    told = await typed("tell", "bob", *flags, stdin=stdin)
    message = await mail_of(bob)

    assert (told.returncode, told.stdout.strip()) == (0, message.id)
    assert "bob, who is online" in told.stderr
    assert (message.message, message.message_type, message.ack_required, message.importance) == expected


async def test_what_is_told_to_who_is_away_waits_there_and_nobody_is_not_found(typed: Typing) -> None:
    async with typed.agent("bob") as bob:
        pass
    offline, nobody = await typed("tell", "bob", "later"), await typed("tell", "nobody", "hello")
    async with typed.agent("bob", agent_id=bob.guid) as bob:
        assert (await mail_of(bob)).message == "later"

    assert "offline: it waits there" in offline.stderr
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "`shuttle agents list`" in nobody.stderr


async def test_tell_waits_for_the_reply_prints_it_and_it_is_read(typed: Typing, bob: Agent) -> None:
    await typed("tell", "bob", "hello")
    greeting = await mail_of(bob)
    async with running(typed, "tell", "bob", "which branch?", "--wait", "--json") as asking:
        question = await mail_of(bob)
        await bob.send_direct_message(ME, "hello to you", reply_to=greeting.id)
        answer = await bob.send_direct_message(question.sender.guid, "main", reply_to=question.id)
        reply = json.loads(await output_of(asking))

    assert (asking.returncode, reply["id"], reply["message"]) == (0, answer.id, "main")
    assert await unread(typed) == ["hello to you"]


async def test_a_reply_that_does_not_come_in_time_waits_in_the_inbox(typed: Typing, bob: Agent) -> None:
    waited = await typed("tell", "bob", "well?", "--wait", "--timeout", "0.2s")
    question = await mail_of(bob)
    await bob.send_direct_message(question.sender.guid, "yes", reply_to=question.id)

    assert (waited.returncode, waited.stdout.strip()) == (1, question.id)
    assert "has not replied" in waited.stderr
    assert await unread(typed) == ["yes"]


async def test_who_waits_no_longer_has_the_message_and_knows_where_the_reply_will_be(typed: Typing, bob: Agent) -> None:
    async with running(typed, "tell", "bob", "well?", "--wait") as asking:
        assert asking.stderr is not None
        async with asyncio.timeout(SECONDS):
            await asking.stderr.readuntil(b"is in the inbox of bob")
            asking.send_signal(signal.SIGINT)
            printed, said = await asking.communicate()

    assert (asking.returncode, printed.decode().strip()) == (130, (await mail_of(bob)).id)
    assert "waits in `shuttle inbox`" in said.decode()


async def test_two_who_wait_at_once_each_get_their_reply_whoever_ends_first(typed: Typing, bob: Agent) -> None:
    async with typed.agent("cyd") as cyd, running(typed, "tell", "bob", "b?", "--wait", "--json") as of_bob:
        for_bob = await mail_of(bob)
        async with running(typed, "tell", "cyd", "c?", "--wait", "--json") as of_cyd:
            for_cyd = await mail_of(cyd)
            await bob.send_direct_message(ME, "b!", reply_to=for_bob.id)
            first = json.loads(await output_of(of_bob))
            await cyd.send_direct_message(ME, "c!")
            second = json.loads(await output_of(of_cyd))

    assert for_bob.sender.guid == for_cyd.sender.guid
    assert (first["message"], second["message"]) == ("b!", "c!")


async def test_the_inbox_shows_what_is_unread_once_and_all_of_it_when_asked(typed: Typing, bob: Agent) -> None:
    await typed("tell", "bob", "hello")
    for number in range(3):
        await bob.send_direct_message(ME, f"n{number}")

    first = await typed("inbox", "--limit", "2")
    rest = await typed("inbox")

    assert [text for text in ("n0", "n1", "n2") if text in first.stdout] == ["n0", "n1"]
    assert "1 more unread" in first.stderr
    assert ("n2" in rest.stdout, "n1" in rest.stdout) == (True, False)
    assert "no unread messages" in (await typed("inbox")).stderr
    newest = (await typed.json("inbox", "--all", "--limit", "2"))["messages"]
    assert [each["message"] for each in newest] == ["n1", "n2"]


async def test_mail_that_could_not_be_printed_is_not_read(typed: Typing, bob: Agent) -> None:
    await typed("tell", "bob", "hello")
    await bob.send_direct_message(ME, "unprinted")
    async with running(typed, "inbox", "--quiet") as cut_off:
        assert cut_off.stdout is not None
        cut_off.stdout._transport.close()  # type: ignore[attr-defined]  # as `| head` does; asyncio has no public way
        async with asyncio.timeout(SECONDS):
            assert await cut_off.wait() == 1

    assert await unread(typed) == ["unprinted"]


async def test_a_message_is_text_whatever_is_in_it(typed: Typing, bob: Agent) -> None:
    await typed("tell", "bob", "hello")
    await bob.send_direct_message(ME, HOSTILE)

    shown = (await typed("inbox")).stdout

    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(shown)
    assert [line[:2] for line in shown.splitlines()[1:]] == ["  "] * (len(shown.splitlines()) - 1)


async def test_the_end_of_ones_work_comes_as_mail_that_says_how_to_see_it(typed: Typing, bob: Agent) -> None:
    item = (await typed("submit", "count", "--capability", "any")).stdout.strip()
    [work] = (await bob.claim_work(wait_seconds=10)).work
    await bob.complete_work(work.id, summary="counted to three")

    async def told() -> str:
        while not (shown := (await typed("inbox")).stdout):
            pass
        return shown

    async with asyncio.timeout(SECONDS):
        shown = await told()
    assert "done by bob" in shown
    assert "counted to three" in shown
    assert f"`shuttle work show {item}`" in shown


async def test_a_follower_shows_what_comes_also_to_other_shuttles_until_it_is_interrupted(
    typed: Typing, bob: Agent
) -> None:
    await typed("tell", "bob", "hello")
    greeting = await mail_of(bob)
    await bob.send_direct_message(ME, "before")
    async with running(typed, "inbox", "--follow", "--json") as follower:
        assert json.loads(await line_of(follower))["message"] == "before"
        async with running(typed, "inbox", "--follow") as second:
            replied = await typed("reply", greeting.id, "to myself")
            async with running(typed, "tell", "bob", "still there?", "--wait", "--json") as asking:
                question = await mail_of(bob)
                await bob.send_direct_message(ME, "still here", reply_to=question.id)
                answer = json.loads(await output_of(asking))
            followed = json.loads(await line_of(follower))
            beside = await line_of(second) + await line_of(second)
        follower.send_signal(signal.SIGINT)
        rest = await output_of(follower)

    assert question.sender.guid == greeting.sender.guid
    assert (answer["message"], followed["message"], rest) == ("still here", "still here", "")
    assert "still here" in beside
    assert follower.returncode == 130
    assert replied.returncode == 2
    assert await unread(typed) == []


async def test_a_follower_that_is_killed_leaves_nothing_in_the_way(typed: Typing, bob: Agent) -> None:
    async with running(typed, "inbox", "--follow") as follower:
        await typed("tell", "bob", "hello")
        await bob.send_direct_message((await mail_of(bob)).sender.guid, "one")
        assert "bob" in await line_of(follower)
        follower.kill()
        await follower.wait()

    assert (await typed("tell", "bob", "again")).returncode == 0
    assert await people(typed) == [ME]


async def test_a_shuttle_that_is_stopped_is_told_of_to_who_wants_to_be_the_same_person(
    typed: Typing, bob: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person, "BUSY_SECONDS", 0.5)
    environ = {"LOOMINAL_HOME": str(typed.shell.home), "LOOMINAL_PROJECT_ID": typed.project}
    settings = ClientSettings.from_env(environ, person=True, operator=True)
    async with running(typed, "inbox", "--follow") as follower:
        await typed("tell", "bob", "hello")
        await bob.send_direct_message((await mail_of(bob)).sender.guid, "one")
        await line_of(follower)
        freeze(follower.pid)

        with pytest.raises(Busy, match="does not answer"):
            async with person.this_person(settings):
                pass


async def test_a_reply_names_its_question_acknowledges_it_and_may_ask_back(typed: Typing, bob: Agent) -> None:
    await typed("tell", "bob", "hello")
    greeting = await mail_of(bob)
    receipts = (await bob.wait_for_events(kinds=["receipt"], wait_seconds=0)).cursor
    asked = await bob.send_direct_message(ME, "merge?", ack_required=True)

    async with running(typed, "reply", asked.id, "which one?", "--wait", "--json") as asking_back:
        answer = await mail_of(bob)
        await bob.send_direct_message(ME, "#7", reply_to=answer.id)
        reply = json.loads(await output_of(asking_back))
    events = (await bob.wait_for_events(kinds=["receipt"], cursor=receipts)).events

    assert (answer.message, answer.reply_to, answer.ack_required) == ("which one?", asked.id, True)
    assert reply["message"] == "#7"
    assert any("acknowledged" in each.summary for each in events)
    assert await unread(typed) == []
    assert (await typed("reply", greeting.id, "to myself")).returncode == 2
    assert (await typed("tell", ME, "to myself", "--wait")).returncode == 2
    assert (await typed("reply", "m_nothing", "hello")).returncode == 3


async def test_channels_are_listed_written_and_read_with_every_flag(typed: Typing, bob: Agent) -> None:
    name = f"news-{uuid4().hex[:6]}"
    unknown = await typed("channels", "send", name, "hello")
    await bob.send_message(name, "first", create=True)
    sent = await typed("channels", "send", f"#{name}", "-", stdin="second\nline\n")
    made = await typed("channels", "send", f"{name}-2", "hello", "--create")
    history = (await bob.read_messages(name)).messages

    async def read(*flags: str) -> Any:  # Any: JSON
        return [each["message"] for each in (await typed.json("channels", "read", name, *flags))["messages"]]

    assert (unknown.returncode, made.returncode) == (3, 0)
    assert "`shuttle channels send --create` makes one" in unknown.stderr
    assert [(each.handle, each.message) for each in history] == [("bob", "first"), (ME, "second\nline")]
    assert sent.stdout.strip() == history[1].id
    assert await read() == ["first", "second\nline"]
    assert await read("--limit", "1") == ["second\nline"]
    assert await read("--since", "2099-01-01T00:00:00Z") == []
    assert (await typed("channels", "read", "nowhere")).returncode == 3
    listed = {each["name"]: each.get("messages", 0) for each in (await typed.json("channels", "list"))["channels"]}
    assert (listed[name], listed[f"{name}-2"], listed["general"]) == (2, 1, 0)
    assert name in (await typed("channels", "list", "--all-projects")).stdout


async def test_a_channel_is_followed_until_one_has_seen_enough(typed: Typing, bob: Agent) -> None:
    await bob.send_message("general", "before")
    async with running(typed, "channels", "read", "general", "--follow", "--json") as follower:
        first = json.loads(await line_of(follower))["message"]
        await bob.send_message("general", "after")
        second = json.loads(await line_of(follower))["message"]
        follower.send_signal(signal.SIGINT)
        assert await output_of(follower) == ""

    assert (first, second, follower.returncode) == ("before", "after", 130)
