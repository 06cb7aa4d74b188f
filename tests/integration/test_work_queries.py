"""Looking at work: one item with all that is known of it, long fields in parts, lists with exact totals and cursors."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import GetWork, ListWork, WorkDetail, WorkField, WorkPage, WorkView
from loominal.fabric.protocol import encode_answer
from loominal.model.errors import BadCursor, InvalidArgument, NotFound, TooLarge
from loominal.model.work import Status
from tests.integration.conftest import eventually
from tests.integration.workshop import Workshop, claim, ended, moves_of
from tests.patience import SOON

LIMIT_BYTES = 24_000  # what warp asks for


async def offered(boss: Agent, **more: object) -> str:
    return (await boss.broadcast_work_offer("do it", capabilities=["python"], **more)).id  # type: ignore[arg-type]


async def limited(agent: Agent, args: GetWork) -> WorkDetail:
    """Return what `get_work` answers within LIMIT_BYTES."""
    answer = await agent.call("get_work", args, limit_bytes=LIMIT_BYTES)
    assert isinstance(answer, WorkDetail)
    assert len(encode_answer(answer)) <= LIMIT_BYTES
    return answer


async def whole(agent: Agent, work_id: str, field: WorkField) -> str:
    """Return a long field, read part by part."""
    text = ""
    while True:
        part = await limited(agent, GetWork(work_id=work_id, field=field, offset=len(text)))
        text += part.description
        if not part.truncated:
            assert part.chars[field.value] == len(text)
            return text


async def ids(asker: Agent, /, **filters: object) -> list[str]:
    return [item.id for item in (await asker.list_work(**filters)).items]  # type: ignore[arg-type]


async def test_waiting_for_an_item_returns_when_it_ends(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)

    still = await boss.get_work(work_id, wait_seconds=0.3)
    waiting = asyncio.create_task(boss.get_work(work_id, wait_seconds=SOON))
    await claim(agent)
    began = time.monotonic()
    await agent.complete_work(work_id, "done")
    done = await waiting

    assert still.status is Status.READY
    assert (done.status, done.summary) == (Status.DONE, "done")
    assert time.monotonic() - began < SOON / 2
    with pytest.raises(NotFound):
        await boss.get_work("w_unknown", wait_seconds=SOON)


async def test_an_item_is_found_by_the_name_that_answers_show_of_it(workshop: Workshop) -> None:
    boss, agent, other = [await workshop.agent(handle) for handle in ("boss", "agent", "other")]
    work_id = await offered(boss, task_id="build/42 ü")
    await claim(agent)

    assert (await boss.get_work("build/42 ü")).id == work_id
    assert (await agent.report_progress("build/42 ü", percent=5)).work_id == work_id
    assert (await agent.get_work("build/42 ü")).id == work_id
    assert (await other.get_work("build/42 ü")).id == work_id
    assert (await agent.complete_work("build/42 ü", "done")).work_id == work_id
    assert (await agent.get_work("build/42 ü")).id == work_id

    assert await offered(agent, task_id="build/42 ü") != work_id
    assert (await boss.get_work("build/42 ü")).id == work_id  # its own
    with pytest.raises(InvalidArgument, match="2 agents"):
        await other.get_work("build/42 ü")
    with pytest.raises(NotFound):
        await other.get_work("build/43")


async def test_the_history_tells_every_move_by_whom_and_why(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    work_id = await offered(boss)
    await claim(agent)
    await agent.release_work(work_id, reason="wrong\nmachine")
    await claim(agent)
    await agent.fail_work(work_id, "no disk", retryable=False)
    await boss.retry_dead_letter_item(work_id)
    await claim(agent)
    await agent.complete_work(work_id, "done at last")

    detail = await ended(boss, work_id)
    told = [(each.move, each.by, each.note) for each in detail.history if each.move != "tell"]
    assert told == [
        ("submit", "boss", ""),
        ("claim", "agent", ""),
        ("release", "agent", "wrong machine"),
        ("claim", "agent", ""),
        ("fail", "agent", "no disk"),
        ("retry", "boss", ""),
        ("claim", "agent", ""),
        ("complete", "agent", "done at last"),
    ]
    assert [each.at for each in detail.history] == sorted(each.at for each in detail.history)
    assert moves_of(detail) == [move for move, _, _ in told]


async def test_long_fields_are_cut_to_the_answers_limit_and_read_on_in_parts(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    description, context = "Zeile ü\n" * 20_000, {"files": [f"src/{n}.py" for n in range(9_000)]}
    result = {"diff": 'quote " and \\ and \u0001 ' * 6_000}
    work_id = (
        await boss.broadcast_work_offer(description, capabilities=["python"], context_data=context, max_attempts=2)
    ).id
    item = await claim(agent)
    await agent.fail_work(work_id, "e" * 5_000)
    await claim(agent)
    await agent.complete_work(work_id, "s" * 60_000, result=result)

    short = await limited(boss, GetWork(work_id=work_id))
    assert set(short.truncated) == {"description", "contextData", "summary", "result"}
    assert short.chars["description"] == len(description)
    assert description.startswith(short.description)
    assert await whole(boss, work_id, WorkField.DESCRIPTION) == description
    assert json.loads(await whole(boss, work_id, WorkField.CONTEXT_DATA)) == context
    assert json.loads(await whole(boss, work_id, WorkField.RESULT)) == result
    assert await whole(boss, work_id, WorkField.SUMMARY) == "s" * 60_000
    assert "e" * 2_000 in await whole(boss, work_id, WorkField.ERRORS)
    assert (item.description, item.context_data) == (description, context)  # who takes it without a limit has it all
    with pytest.raises(InvalidArgument):
        await boss.get_work(work_id, field="description", offset=len(description) + 1)
    full = await boss.get_work(work_id)
    assert (full.description, full.context_data, full.result, full.truncated) == (description, context, result, ())
    assert full.summary == "s" * 60_000


async def test_what_is_too_large_is_refused_and_nothing_stored(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")

    with pytest.raises(TooLarge):
        await offered(boss, context_data={"x": "y" * 200_001})
    with pytest.raises((TooLarge, InvalidArgument)):
        await boss.broadcast_work_offer("many", capabilities=[f"capability number {n}" * 4 for n in range(100)])
    with pytest.raises(TooLarge):
        await boss.broadcast_work_offer("many", capabilities=[f"{number:03}{'c' * 97}" for number in range(32)])
    assert (await boss.list_work()).total == 0
    log = Log(await workshop.broker(), subjects.work_stream(workshop.project))
    assert await log.count(subjects.every("spec", workshop.project)) == 0
    work_id = await offered(boss)
    await claim(agent)
    with pytest.raises(TooLarge):
        await agent.complete_work(work_id, "z" * 200_001)
    assert (await agent.complete_work(work_id, "z" * 1_000, result={"x": "y" * 190_000})).status is Status.DONE


async def test_lists_filter_and_count_exactly(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent", capabilities=["python", "rust"])
    done, claimed, ready = [await offered(boss) for _ in range(3)]
    rusty = (await agent.broadcast_work_offer("r", required_capability="Rust", boundary="open-source", priority=1)).id
    later, blocked = await offered(boss, not_before="1h"), await offered(boss, depends_on=[ready])
    for _ in range(2):
        await claim(agent)
    await agent.complete_work(done, "done")
    await agent.report_progress(claimed, percent=30, message="a third")

    assert await ids(boss) == [blocked, later, rusty, ready, claimed, done]
    by_status = {"done": [done], "claimed": [claimed], "ready": [rusty, ready], "scheduled": [later]}
    for status, items in by_status.items():
        page = await boss.list_work(status=status)
        assert ([item.id for item in page.items], page.total) == (items, len(items))
    assert await ids(boss, status="blocked") == [blocked]
    assert await ids(boss, status="dead") == []
    assert await ids(boss, capability="RUST") == await ids(boss, boundary="open-source") == [rusty]
    assert await ids(agent, mine=True) == [rusty, claimed]
    assert await ids(boss, mine=True, status="ready") == [ready]
    [shown] = (await boss.list_work(status="claimed")).items
    assert (shown.claimed_by, shown.offered_by, shown.lease_token) == ("agent", "boss", 0)
    assert shown.progress is not None
    assert (shown.progress.percent, shown.progress.message) == (30, "a third")
    waits = {item.id: item.waits_for for item in (await boss.list_work()).items}
    assert ready in (waits[blocked] or "")
    assert all(waits[item] for item in (ready, rusty, later))
    assert waits[done] is None


async def test_lists_tell_what_somebody_offered_or_holds_and_what_is_urgent(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    held, urgent = await offered(boss), await offered(boss, priority=9)
    theirs = (await agent.broadcast_work_offer("r", required_capability="rust", priority=8)).id
    await claim(agent)  # the urgent one
    await agent.release_work(urgent)
    await agent.claim_work(limit=2)
    await agent.release_work(held)

    assert await ids(boss, agent="agent") == [theirs, urgent]
    assert await ids(boss, agent=agent.guid, status="claimed") == [urgent]
    assert await ids(agent, agent="boss", mine=True) == [urgent]
    assert await ids(boss, min_priority=8) == [theirs, urgent]
    assert (await boss.list_work(min_priority=9)).total == (await boss.list_work(agent="agent", limit=1)).total - 1 == 1
    with pytest.raises(NotFound):
        await boss.list_work(agent="nobody")


async def test_totals_are_true_whatever_moves(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    for number in range(12):
        boundary = ("personal", "open-source")[number % 2]
        later = "1s" if number % 3 == 0 else None
        await boss.broadcast_work_offer("do it", capabilities=["python"], boundary=boundary, not_before=later)
    for _ in range(3):
        await claim(agent)
    await agent.complete_work((await agent.list_work(status="claimed", limit=1)).items[0].id, "done")

    async def totals_are_true() -> bool:
        """Compare each total with the list that it counts; nothing moves but what becomes ready by time."""
        for status in ("ready", "scheduled", "claimed", "done", None):
            for boundary in ("personal", "open-source", None):
                page = await boss.list_work(status=status, boundary=boundary, limit=100)
                assert page.total == len(page.items), (status, boundary)
        return (await boss.list_work(status="ready")).total == 9

    await eventually(totals_are_true)


async def test_what_has_become_ready_by_time_is_listed_as_ready(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    work_id = await offered(boss, not_before="1s", assign_to="boss")
    assert await ids(boss, status="scheduled") == [work_id]

    async with asyncio.timeout(SOON):
        while (await boss.get_work(work_id)).status is Status.SCHEDULED:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)

    assert await ids(boss, status="ready") == [work_id]
    assert await ids(boss, status="scheduled") == []


async def test_pages_hold_each_item_once_while_others_write(workshop: Workshop) -> None:
    boss, agent = await workshop.agent("boss"), await workshop.agent("agent")
    items = list(await asyncio.gather(*(offered(boss) for _ in range(60))))
    writing = asyncio.Event()

    async def write() -> None:
        while not writing.is_set():
            await agent.complete_work((await claim(agent)).id, "done")
            await offered(boss)

    writer = asyncio.create_task(write())
    found: list[WorkView] = []
    cursor: str | None = None
    while True:
        page = await boss.list_work(limit=7, cursor=cursor)
        found += page.items
        if (cursor := page.next_cursor) is None:
            break
    writing.set()
    await writer

    seen = [item.id for item in found]
    assert len(seen) == len(set(seen))
    assert set(items) <= set(seen)
    assert (await boss.list_work(limit=1)).total >= 61


async def test_a_cursor_belongs_to_its_query_and_project(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    for _ in range(3):
        await offered(boss)
    cursor = (await boss.list_work(limit=1)).next_cursor
    assert cursor is not None

    for query in ({"status": "ready"}, {"mine": True}, {"capability": "python"}, {"boundary": "personal"}):
        with pytest.raises(BadCursor):
            await boss.list_work(limit=1, cursor=cursor, **query)
    for forged in ("", "rubbish", cursor + "A", cursor[:-3], cursor[::-1]):
        with pytest.raises((BadCursor, InvalidArgument)):
            await boss.list_work(limit=1, cursor=forged)
    assert len(await ids(boss, limit=2, cursor=cursor)) == 2  # another page size is the same list


async def test_a_list_within_a_limit_stops_early_and_goes_on_with_its_cursor(workshop: Workshop) -> None:
    boss = await workshop.agent("boss")
    for number in range(120):
        await boss.broadcast_work_offer("x" * 500, capabilities=["python"], task_id="t" * 200 + str(number))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await boss.call("list_work", ListWork(limit=100, cursor=cursor), limit_bytes=LIMIT_BYTES)
        assert isinstance(page, WorkPage)
        assert len(encode_answer(page)) <= LIMIT_BYTES
        assert page.total == 120
        seen += [item.id for item in page.items]
        if (cursor := page.next_cursor) is None:
            break

    assert len(seen) == len(set(seen)) == 120
