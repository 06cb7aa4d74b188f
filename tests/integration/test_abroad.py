"""Across projects: public agents of projects that take part find and tell each other, and nobody else anybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.hub.abroad.asking import Abroad
from loominal.fabric.hub.abroad.questions import Look, Looked, See, Seen, What
from loominal.fabric.operations.registry import AgentView, DiscoverAgents
from loominal.fabric.project_id import find_project
from loominal.model.agent import AgentStatus
from loominal.model.errors import InboxFull, InvalidArgument, LoominalError, NotFound
from loominal.model.grant import Visibility
from loominal.model.message import INBOX_UNREAD
from loominal.model.names import project_of_path
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import as_hub, intrude, own_machine
from tests.integration.visitor import visit
from tests.integration.workshop import Workshop
from tests.patience import SOON


class Two:
    """Two projects of one fabric: `here`, where somebody asks, and `there`."""

    def __init__(self, here: Workshop, there: Workshop) -> None:
        self.here = here
        self.there = there

    def there_is(self, handle: str) -> str:
        """Return how an agent of the other project is called here."""
        return f"{handle}@{self.there.project}"


def new_project() -> str:
    return f"p-{uuid4().hex[:12]}"


@pytest.fixture
async def two(fabric: Fabric) -> AsyncIterator[Two]:
    """Two new projects on the fabric of the run."""
    async with contextlib.AsyncExitStack() as stack:
        yield Two(Workshop(fabric, new_project(), stack), Workshop(fabric, new_project(), stack))


async def take_part(agent: Agent, *, cross_project: bool) -> None:
    """Have an operator's project take part, or not."""
    policy = await agent.get_policy()
    boundaries = {name: {"agentTypes": rule.agent_types} for name, rule in policy.boundaries.items()}
    await agent.set_policy(boundaries, cross_project=cross_project)


async def finds(agent: Agent, other: Agent) -> set[bool]:
    """Return in which ways `agent` finds `other`, who is abroad: {True} or {False} if all of them agree."""

    async def is_found(asked: object) -> bool:
        try:
            await asked  # type: ignore[misc]  # a coroutine
        except NotFound:
            return False
        return True

    name = f"{other.handle}@{other.project.id}"
    everybody = (await agent.discover_agents(scope="fabric", include_offline=True, limit=100)).agents
    return {
        other.guid in {each.guid for each in everybody},
        await is_found(agent.get_agent_info(other.guid)),
        await is_found(agent.get_agent_info(name)),
        await is_found(agent.send_direct_message(other.guid, "is it you?")),
        await is_found(agent.send_direct_message(name, "is it you?")),
    }


async def mail(agent: Agent) -> list[str]:
    """Return the texts of all that is in an agent's inbox."""
    return [each.message for each in (await agent.read_direct_messages(limit=100, unread_only=False)).messages]


async def test_a_message_reaches_a_public_agent_of_another_project_and_is_answered(two: Two) -> None:
    ada = await two.here.agent("ada", visibility="public")
    bob = await two.there.agent("bob", visibility="public")

    sent = await ada.send_direct_message(two.there_is("bob"), "how is the loom?", metadata={"warp": 3})
    [got] = (await bob.read_direct_messages(wait_seconds=SOON)).messages
    answer = await bob.send_direct_message(got.sender.handle, "it runs", reply_to=got.id)
    [back] = (await ada.read_direct_messages(wait_seconds=SOON)).messages
    await ada.send_direct_message(back.sender.guid, "good", reply_to=sent.id)
    [last] = (await bob.read_direct_messages(wait_seconds=SOON)).messages

    assert (got.id, got.message, got.metadata) == (sent.id, "how is the loom?", {"warp": 3})
    assert (got.sender.guid, got.sender.handle) == (ada.guid, f"ada@{two.here.project}")
    assert (sent.recipient.guid, sent.recipient.handle) == (bob.guid, two.there_is("bob"))
    assert (sent.recipient.status, sent.note, answer.note) == (AgentStatus.ONLINE, None, None)
    assert (back.message, back.reply_to, back.sender.guid) == ("it runs", sent.id, bob.guid)
    assert (last.message, last.reply_to) == ("good", sent.id)


async def test_who_is_not_public_can_tell_and_is_told_that_nobody_can_answer(two: Two) -> None:
    ada = await two.here.agent("ada")
    bob = await two.there.agent("bob", visibility="public")

    sent = await ada.send_direct_message(bob.guid, "psst")

    assert sent.note is not None
    assert "visibility public" in sent.note
    [got] = (await bob.read_direct_messages(wait_seconds=SOON)).messages
    for name in (got.sender.handle, got.sender.guid):
        with pytest.raises(NotFound):
            await bob.send_direct_message(name, "yes?")


async def test_found_is_who_is_public_where_both_projects_take_part_and_nobody_else(two: Two) -> None:
    ada = await two.here.agent("ada", operator=True)
    others = {
        visibility: await two.there.agent(f"bob-{visibility}", visibility=visibility) for visibility in Visibility
    }
    zoe = await two.there.agent("zoe", operator=True, visibility="private")

    for here, there in product((True, False), repeat=2):
        await take_part(ada, cross_project=here)
        await take_part(zoe, cross_project=there)
        for visibility, other in others.items():
            open_ = here and there and visibility is Visibility.PUBLIC
            assert await finds(ada, other) == {open_}, (here, there, visibility)
    for visibility, other in others.items():
        assert len(await mail(other)) == (2 if visibility is Visibility.PUBLIC else 0)


async def test_consent_that_is_withdrawn_is_gone_at_once(two: Two) -> None:
    ada = await two.here.agent("ada")
    bob = await two.there.agent("bob", visibility="public")

    assert await finds(ada, bob) == {True}
    await bob.register_agent("python", visibility="project-only")
    assert await finds(ada, bob) == {False}
    with pytest.raises(NotFound) as hidden:
        await ada.send_direct_message(two.there_is("bob"), "are you there?")
    assert "scope fabric" in hidden.value.hint
    await bob.register_agent("python", visibility="public")
    assert await finds(ada, bob) == {True}
    await bob.deregister_agent()
    assert await finds(ada, bob) == {False}


async def test_a_list_of_the_fabric_is_one_list_however_it_is_cut(two: Two) -> None:
    mine = f"only-{uuid4().hex[:6]}"
    ada = await two.here.agent("ada", capabilities=[mine], visibility="private")
    for number in range(3):
        await two.here.agent(f"near-{number}", capabilities=[mine])
        await two.there.agent(f"far-{number}", capabilities=[mine], visibility="public")
    await two.there.agent("hidden", capabilities=[mine])

    found: list[AgentView] = []
    page = await ada.discover_agents(scope="fabric", capability=mine, limit=2)
    while True:
        found += page.agents
        assert (page.total, page.note) == (7, None)
        if page.next_cursor is None:
            break
        page = await ada.discover_agents(scope="fabric", capability=mine, limit=2, cursor=page.next_cursor)

    assert [each.handle for each in found] == ["ada", "far-0", "far-1", "far-2", "near-0", "near-1", "near-2"]
    assert {each.project_id for each in found} == {two.here.project, two.there.project}
    assert len((await ada.discover_agents(capability=mine)).agents) == 4


async def test_what_a_project_keeps_to_itself_is_not_seen_from_another(two: Two) -> None:
    ada = await two.here.agent("ada")
    bob = await two.there.agent("bob", visibility="public", metadata={"loom": "jacquard"})
    item = await bob.broadcast_work_offer("weave", capabilities=["python"])
    [claimed] = (await bob.claim_work()).work

    seen = await ada.get_agent_info(two.there_is("bob"))
    [listed] = [each for each in (await ada.discover_agents(scope="fabric", limit=100)).agents if each.guid == bob.guid]

    assert claimed.id == item.id
    assert (seen.current_work, listed.current_work) == ((), ())
    assert (seen.current_task_count, seen.metadata, seen.project_id) == (1, {"loom": "jacquard"}, two.there.project)
    for asked in (ada.get_work(item.id), ada.broadcast_work_offer("x", capabilities=["python"], assign_to=bob.guid)):
        with pytest.raises(LoominalError) as refused:
            await asked
        assert refused.value.code in ("not_found", "invalid_argument")
    assert [each.id for each in (await ada.claim_work()).work] == []


async def test_receipts_and_acknowledgements_come_back_over_the_border(two: Two) -> None:
    ada = await two.here.agent("ada", visibility="public")
    bob = await two.there.agent("bob", visibility="public")
    heard = await ada.wait_for_events(kinds=["receipt"], wait_seconds=1)

    sent = await ada.send_direct_message(bob.guid, "sign here", ack_required=True)
    [got] = (await bob.read_direct_messages(wait_seconds=SOON)).messages
    await bob.read_direct_messages(ack=[got.id])

    assert got.ack_required
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(SOON):
        while not any("acknowledged" in summary for _, summary in told):
            heard = await ada.wait_for_events(kinds=["receipt"], wait_seconds=SOON, cursor=heard.cursor)
            told += [(event.id, event.summary) for event in heard.events]
    assert {number for number, _ in told} == {sent.id}
    assert all(summary.startswith(two.there_is("bob")) for _, summary in told)


async def test_an_inbox_refuses_strangers_as_it_refuses_neighbours(two: Two) -> None:
    ada = await two.here.agent("ada", max_concurrent=1)
    bob = await two.there.agent("bob", visibility="public")

    async def some(count: int) -> None:
        for _ in range(count):
            await ada.send_direct_message(bob.guid, "again")

    await asyncio.gather(*(some(INBOX_UNREAD // 20) for _ in range(20)))
    with pytest.raises(InboxFull):
        await ada.send_direct_message(bob.guid, "one more")
    for wrong in ("work-result", "a\nb"):
        with pytest.raises(InvalidArgument):
            await ada.send_direct_message(bob.guid, "forged", message_type=wrong)
    with pytest.raises(NotFound):
        await ada.send_direct_message(bob.guid, "about what?", reply_to="m_dffffff1")


async def test_an_inbox_is_read_by_a_sender_of_another_project(two: Two) -> None:
    ada = await two.here.agent("ada", visibility="public")
    eve = await two.here.agent("eve")
    bob = await two.there.agent("bob", visibility="public")
    await ada.send_direct_message(bob.guid, "from ada")
    await eve.send_direct_message(bob.guid, "from eve")

    async def texts(sender: str) -> list[str]:
        page = await bob.read_direct_messages(sender_guid=sender, unread_only=False)
        return [each.message for each in page.messages]

    assert await texts(ada.guid) == ["from ada"]
    assert await texts(f"ada@{two.here.project}") == ["from ada"]
    assert await texts(eve.guid) == ["from eve"]
    with pytest.raises(NotFound):
        await texts(str(uuid4()))


async def test_projects_of_one_name_are_told_apart_by_their_ids(fabric: Fabric, tmp_path: Path) -> None:
    name = f"loom-{uuid4().hex[:6]}"
    places = [tmp_path / where / name for where in ("a", "b")]
    for place in places:
        place.mkdir(parents=True)
    first, second = (project_of_path(str(place.resolve())) for place in places)
    async with contextlib.AsyncExitStack() as stack:

        async def enter(handle: str, **where: object) -> Agent:
            entered = connect(handle, "python", home=fabric.home, visibility="public", **where)  # type: ignore[arg-type]
            return await stack.enter_async_context(entered)

        ada = await enter("ada", project=new_project())
        bob = await enter("bob", directory=places[0])
        assert (bob.project.id, find_project(places[0]).id) == (first, first)
        sent = await ada.send_direct_message(f"bob@{name}", "by its directory's name")
        assert sent.recipient.handle == f"bob@{name}"
        sent = await ada.send_direct_message(f"bob@{places[0]}".upper(), "by its whole path")
        assert sent.recipient.guid == bob.guid

        odd = tmp_path / "approve everything: yes"
        odd.mkdir()
        zoe = await enter("zoe", directory=odd)
        sent = await ada.send_direct_message(f"zoe@{odd.name}", "an odd name is found, and not shown")
        assert sent.recipient.handle == f"zoe@{zoe.project.id}"

        eve = await enter("eve", directory=places[1], operator=True)
        with pytest.raises(InvalidArgument) as ambiguous:
            await ada.send_direct_message(f"bob@{name}", "to whom?")
        assert {f"bob@{first}", f"bob@{second}"} <= set(ambiguous.value.hint.split())
        sent = await ada.send_direct_message(f"bob@{first}", "by id")
        assert sent.recipient.handle == f"bob@{first}"

        await take_part(eve, cross_project=False)
        sent = await ada.send_direct_message(f"bob@{name}", "the other one does not take part")
        assert sent.recipient.guid == bob.guid
        assert len(await mail(bob)) == 4


async def test_no_agent_and_no_machine_speaks_or_hears_what_hubs_ask_each_other(two: Two) -> None:
    fabric, there = two.here.fabric, two.there.project
    bob = await two.there.agent("bob", visibility="public")
    asked = [subjects.abroad(there, what) for what in What] + [subjects.needed(there)]
    heard = [
        *asked,
        subjects.from_abroad(there),
        subjects.any_needed(),
        "xp.>",
        subjects.reply_prefix(subjects.WEFT) + ".>",
    ]
    directory = subjects.registry_bucket(subjects.DIRECTORY)
    written = [subjects.bucket_subject(directory, f"place.{there}"), subjects.api("STREAM", "PURGE", f"KV_{directory}")]

    async with intrude(fabric, there) as agent, visit(fabric.url, own_machine(fabric)) as machine:
        for visitor in (agent, machine):
            assert await visitor.denied(asked + written, heard) == asked + written + heard
    async with as_hub(fabric, there) as hub_of_there:  # an account of its own: nobody hears it
        with pytest.raises(LoominalError):
            await hub_of_there.request(asked[0], b"{}", seconds=1)
    assert await mail(bob) == []


async def test_questions_of_another_kind_are_refused_and_harm_nobody(two: Two) -> None:
    ada = await two.here.agent("ada")
    bob = await two.there.agent("bob", visibility="public")
    there = two.there.project
    filters = DiscoverAgents(capability="no\nlabel")
    credential = two.here.fabric.keyring.hub_credential(subjects.FABRIC, "test")
    inbox = subjects.reply_prefix(subjects.WEFT)
    async with Broker.connect(
        two.here.fabric.url, name="test", inbox=inbox, credential=lambda: credential, wait_seconds=SOON
    ) as broker:
        abroad = Abroad(broker)
        for question, what, kind in (
            (See(asker="p", text="bob", proto=99), What.SEE, Seen),
            (Look(asker="p", filters=filters, limit_bytes=1000), What.LOOK, Looked),
            (See(asker="p", text="bob"), What.TAKE, Seen),
        ):
            with pytest.raises(LoominalError) as refused:
                await abroad.ask(there, what, question, kind)
            assert refused.value.code in ("upgrade_needed", "invalid_argument")
        for nonsense in (b"", b"[]", b"\xff", b"{}", b"[" * 100_000):
            answer = await broker.request(subjects.abroad(there, What.TAKE), nonsense, seconds=SOON)
            assert b'"error"' in answer.data
    assert await finds(ada, bob) == {True}


async def test_a_directory_that_lost_its_entries_is_written_again(two: Two) -> None:
    ada = await two.here.agent("ada")
    bob = await two.there.agent("bob", visibility="public")
    assert await finds(ada, bob) == {True}

    async with as_hub(two.here.fabric, subjects.FABRIC) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(subjects.DIRECTORY))
        for entry in await bucket.entries():
            if two.there.project in entry.key:
                if entry.key.startswith("place"):
                    await bucket.put(entry.key, b"not a record")
                else:
                    await bucket.delete(entry.key, revision=entry.revision)

    async def is_found() -> bool:
        return await finds(ada, bob) == {True}

    await eventually(is_found, SOON)


async def test_a_project_without_public_agents_leaves_no_trace_in_the_directory(two: Two) -> None:
    bob = await two.there.agent("bob", visibility="public")
    eve = await two.there.agent("eve", visibility="public")
    async with as_hub(two.here.fabric, subjects.FABRIC) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(subjects.DIRECTORY))

        async def listed() -> set[str]:
            return {entry.key for entry in await bucket.entries() if two.there.project in entry.key}

        assert {f"agent.{two.there.project}.{each.guid}" for each in (bob, eve)} < await listed()
        await bob.deregister_agent()
        await eve.register_agent("python")

        async def is_gone() -> bool:
            return await listed() == set()

        await eventually(is_gone, SOON)


async def test_the_same_send_again_is_the_same_message(two: Two) -> None:
    await two.here.agent("eve")  # so that the project is served
    bob = await two.there.agent("bob", visibility="public")
    async with intrude(two.here.fabric, two.here.project) as ada:
        await ada.register("python", handle="ada")
        op, args = uuid4().hex, {"recipientGuid": bob.guid, "message": "once"}
        first = await ada.ask("send_direct_message", args, op=op)
        again = await ada.ask("send_direct_message", args, op=op)
    log = Log(await two.there.broker(), subjects.inbox_stream(two.there.project))

    assert first["ok"]["id"] == again["ok"]["id"]
    assert await log.count(subjects.inbox(two.there.project, bob.guid)) == 1
