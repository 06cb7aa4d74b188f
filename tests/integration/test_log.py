"""A log keeps what it acknowledged, and refuses what it should."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Entry, Log, Record, StreamSettings
from loominal.model.errors import BrokerUnavailable, Conflict, Internal, LoominalError, QuotaExceeded, TooLarge
from tests.integration.conftest import NatsServer, eventually, work_settings
from tests.patience import SOON


def item(log: Log, name: str) -> str:
    return subjects.item(log.stream.removeprefix("WK_"), name)


async def test_an_append_is_read_back_alike_in_every_way(work_log: Log) -> None:
    subject = item(work_log, "w_1")

    stored = await work_log.append(subject, b"\x00body", headers={"Kind": "ä"}, dedupe="op1")

    last = await work_log.last(subject)
    assert last is not None
    assert (last.subject, last.sequence, last.data) == (subject, stored.sequence, b"\x00body")
    assert last.headers["Kind"] == "ä"
    assert abs(datetime.now(UTC) - last.stored_at) < timedelta(seconds=30)
    assert last == await work_log.get(stored.sequence) == await work_log.at(stored.sequence)
    assert [last] == await work_log.page(subject, 1, 10)


async def test_nothing_there_is_none(work_log: Log, broker: Broker) -> None:
    missing = Log(broker, "WK_missing")

    for log in (work_log, missing):
        subject = item(work_log, "w_1")
        assert await log.last(subject) is None
        assert await log.get(7) is None
        assert await log.at(7) is None
        assert await log.page(subject, 1, 10) == []
        assert await log.gather([1, 2]) == [None, None]
    assert await missing.state() is None
    state = await work_log.state()
    assert state is not None
    assert (state.last, state.messages) == (0, 0)


async def test_settings_are_made_and_changed(work_log: Log, project_id: str) -> None:
    await work_log.append(item(work_log, "w_1"), b"")

    state = await work_log.ensure(work_settings(project_id, max_bytes=1 << 20))

    assert (state.first, state.last, state.messages) == (1, 1, 1)
    assert state.bytes > 0
    again = await work_log.state()
    assert again is not None
    assert replace(again, asked_at=state.asked_at) == state


async def test_a_stale_expectation_is_a_conflict(work_log: Log) -> None:
    subject = item(work_log, "w_1")
    first = await work_log.append(subject, b"1", expect=0)
    await work_log.append(item(work_log, "w_2"), b"other", expect=0)

    for stale in (0, first.sequence + 1):
        with pytest.raises(Conflict):
            await work_log.append(subject, b"2", expect=stale)
    second = await work_log.append(subject, b"2", expect=first.sequence)

    assert second.sequence == 3


async def test_of_many_at_once_one_wins(work_log: Log) -> None:
    subject = item(work_log, "w_1")

    outcomes = await asyncio.gather(
        *(work_log.append(subject, b"%d" % number, expect=0) for number in range(20)), return_exceptions=True
    )

    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19


async def test_the_same_deed_is_stored_once(work_log: Log) -> None:
    subject = item(work_log, "w_1")
    first = await work_log.append(subject, b"1", dedupe="op1")

    again = await work_log.append(subject, b"1", dedupe="op1")

    assert (again.sequence, again.duplicate, first.duplicate) == (first.sequence, True, False)


async def test_an_append_outside_the_stream_fails(work_log: Log, broker: Broker, project_id: str) -> None:
    other = Log(broker, subjects.inbox_stream(project_id))
    await other.ensure(StreamSettings(subjects=(subjects.every("in", project_id),)))

    with pytest.raises(Internal):  # the subject is the other stream's
        await work_log.append(subjects.inbox(project_id, "a"), b"")
    with pytest.raises(BrokerUnavailable):  # nobody's
        await work_log.append("nowhere.a", b"")
    with pytest.raises(TooLarge):
        await work_log.append(item(work_log, "w_1"), b"x" * (broker.max_payload + 1))


async def test_a_record_with_a_time_to_live_goes(work_log: Log) -> None:
    subject = item(work_log, "w_1")
    await work_log.append(subject, b"1", ttl_seconds=1)

    async def gone() -> bool:
        return await work_log.last(subject) is None

    await eventually(gone)


async def test_a_full_log_refuses_and_keeps_what_it_has(broker: Broker, project_id: str) -> None:
    log = Log(broker, subjects.work_stream(project_id))
    await log.ensure(work_settings(project_id, max_bytes=64 << 10))

    async def fill() -> None:
        while True:
            await log.append(item(log, "w_1"), b"x" * 4096)

    with pytest.raises(QuotaExceeded):
        await asyncio.wait_for(fill(), SOON)

    assert await log.get(1) is not None


async def test_a_batch_is_stored_whole(work_log: Log) -> None:
    for count in (1, 2, 5):
        names = [f"w_{count}_{number}" for number in range(count)]

        sequences = await work_log.append_all(
            [Entry(subject=item(work_log, name), data=name.encode(), expect=0) for name in names]
        )

        found = await work_log.gather(sequences)
        assert [record.data.decode() for record in found if record is not None] == names
    assert await work_log.append_all([]) == []


@pytest.mark.parametrize("stale", [0, 1, 2])
async def test_a_batch_with_one_stale_expectation_leaves_nothing(work_log: Log, stale: int) -> None:
    names = ["a", "b", "c"]
    await work_log.append(item(work_log, names[stale]), b"there")

    with pytest.raises(Conflict):
        await work_log.append_all([Entry(subject=item(work_log, name), data=b"new", expect=0) for name in names])

    state = await work_log.state()
    assert state is not None
    assert state.last == 1


async def test_pages_step_over_gaps_and_other_subjects(work_log: Log, project_id: str) -> None:
    for number in range(60):
        await work_log.append(item(work_log, f"w_{number % 3}"), b"%d" % number)
    await work_log.purge(item(work_log, "w_1"))
    await work_log.purge(item(work_log, "w_0"), below=31)

    everything = await work_log.page(subjects.every("wk", project_id), 1, 100)
    one = await work_log.page(item(work_log, "w_0"), 1, 4)
    rest = await work_log.page(item(work_log, "w_0"), one[-1].sequence + 1, 100)

    expected = [number for number in range(60) if number % 3 == 2 or (number % 3 == 0 and number >= 30)]
    assert numbers(everything) == expected
    assert numbers(one + rest) == [number for number in expected if number % 3 == 0]
    assert await work_log.page(item(work_log, "w_0"), 61, 5) == []


async def test_a_page_ends_at_its_bytes_and_holds_at_least_one(work_log: Log) -> None:
    for _ in range(10):
        await work_log.append(item(work_log, "w_1"), b"x" * 1000)

    few = await work_log.page(item(work_log, "w_1"), 1, 10, up_to_bytes=4000)
    one = await work_log.page(item(work_log, "w_1"), 1, 10, up_to_bytes=10)

    assert 1 < len(few) < 10
    assert len(one) == 1


async def test_a_long_page_is_complete(work_log: Log, project_id: str) -> None:
    await asyncio.gather(*(work_log.append(item(work_log, f"w_{number}"), b"x" * 1000) for number in range(3000)))

    page = await work_log.page(subjects.every("wk", project_id), 1, 5000)

    assert [record.sequence for record in page] == list(range(1, 3001))


async def test_gathering_keeps_the_order_and_shows_what_is_gone(work_log: Log) -> None:
    for number in range(100):
        await work_log.append(item(work_log, f"w_{number}"), b"%d" % number)
    await work_log.purge(item(work_log, "w_4"))

    found = await work_log.gather([100, 5, *range(1, 100)])

    assert found[0] is not None
    assert found[0].data == b"99"
    assert found[1] is None
    assert [record.sequence if record else 5 for record in found[2:]] == list(range(1, 100))


async def test_each_record_is_told_of_without_its_body(broker: Broker, project_id: str) -> None:
    heard: list[tuple[str, bytes]] = []
    log = Log(broker, subjects.channels_stream(project_id))
    await log.ensure(
        StreamSettings(
            subjects=(subjects.every("ch", project_id),),
            max_per_subject=10,
            max_age_seconds=3600,
            discard="old",
            allow_msg_ttl=True,
            duplicate_window_seconds=1800,
            republish=subjects.republish("ch", project_id),
        )
    )
    await broker.subscribe(
        subjects.channel_wake(project_id, "general"), lambda seen: heard.append((seen.subject, seen.data))
    )

    await log.append(subjects.channel(project_id, "general"), b"secret")

    await eventually(lambda: heard == [(subjects.channel_wake(project_id, "general"), b"")])


async def test_what_was_acknowledged_survives_the_kill_of_the_server(private_server: NatsServer) -> None:
    private_server.start()
    acknowledged: list[int] = []
    async with Broker.connect(
        private_server.url, name="t", inbox=subjects.reply_prefix("t"), wait_seconds=SOON
    ) as broker:
        log = Log(broker, subjects.work_stream("p"))
        await log.ensure(work_settings("p"))

        async def write() -> None:
            number = 0
            while True:
                number += 1
                try:
                    appended = await log.append(item(log, f"w_{number}"), b"x", seconds=1)
                except LoominalError:
                    await asyncio.sleep(0.02)
                else:
                    acknowledged.append(appended.sequence)

        writing = asyncio.create_task(write())
        for wanted in (100, 200):
            await eventually(lambda: len(acknowledged) >= wanted)  # noqa: B023  # awaited at once
            private_server.kill()
            private_server.start()
        await eventually(lambda: len(acknowledged) >= 300)
        writing.cancel()

        stored = {record.sequence for record in await log.page(subjects.every("wk", "p"), 1, 100_000)}
        assert set(acknowledged) <= stored


def numbers(records: list[Record]) -> list[int]:
    return [int(record.data) for record in records]
