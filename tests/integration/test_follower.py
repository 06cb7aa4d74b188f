"""A follower misses nothing and repeats nothing, whatever happens to the server or the stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from statistics import median

import pytest

from loominal.broker import consumer as consumers
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.follower import Follower
from loominal.broker.jetstream import call
from loominal.broker.log import Log, Record
from loominal.model.errors import BrokerUnavailable, LoominalError
from tests.integration.conftest import NatsServer, eventually, work_settings
from tests.patience import SOON

ALL = subjects.every("wk", "p")
TRIES = 5


class Reader:
    """A follower with what it handed over, empty again after each reset."""

    def __init__(self, log: Log, subject_filter: str | tuple[str, ...], **options: bool | int) -> None:
        self.records: list[Record] = []
        self.resets = 0
        after = options.pop("after", 0)
        self.follower = Follower(
            log,
            subject_filter,
            self.records.append,
            after=after,
            last_per_subject=bool(options.get("last_per_subject")),
            headers_only=bool(options.get("headers_only")),
            on_reset=self._reset,
        )

    @property
    def sequences(self) -> list[int]:
        return [record.sequence for record in self.records]

    def _reset(self) -> None:
        self.records.clear()
        self.resets += 1


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def own_log(server: NatsServer) -> AsyncIterator[Log]:
    async with Broker.connect(
        server.url, name="test", inbox=subjects.reply_prefix("test"), wait_seconds=SOON
    ) as broker:
        log = Log(broker, subjects.work_stream("p"))
        await log.ensure(work_settings("p"))
        yield log


def every(log: Log) -> str:
    return subjects.every("wk", log.stream.removeprefix("WK_"))


def item(log: Log, number: int) -> str:
    return subjects.item(log.stream.removeprefix("WK_"), f"w_{number}")


async def fill(log: Log, count: int, subject_count: int = 1_000_000) -> None:
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        await asyncio.gather(*(log.append(item(log, number % subject_count), b"%d" % number) for number in numbers))


async def append_surely(log: Log, number: int) -> None:
    """Append, again and again until it is acknowledged."""
    while True:
        try:
            await log.append(item(log, number), b"%d" % number, dedupe=f"op{number}", seconds=1)
        except LoominalError:
            await asyncio.sleep(0.01)
        else:
            return


async def test_it_reads_what_was_there_and_then_what_comes(work_log: Log) -> None:
    await fill(work_log, 1500)
    reader = Reader(work_log, every(work_log))

    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        assert reader.sequences == list(range(1, 1501))
        appended = await work_log.append(item(work_log, 7), b"new", headers={"Kind": "k"})
        await reader.follower.passed(appended.sequence, SOON)

    assert reader.records[-1] == await work_log.get(appended.sequence)
    assert reader.follower.position == appended.sequence


async def test_it_starts_behind_its_cursor_and_keeps_to_its_filters(work_log: Log) -> None:
    await fill(work_log, 30, subject_count=3)
    reader = Reader(work_log, (item(work_log, 0), item(work_log, 1)), after=15)

    async with following(reader.follower):
        await reader.follower.caught_up(SOON)

    expected = [number for number in range(30) if number >= 15 and number % 3 != 2]
    assert sorted(int(record.data) for record in reader.records) == expected


async def test_it_can_start_with_the_newest_of_each_subject(work_log: Log) -> None:
    await fill(work_log, 3000, subject_count=1000)
    reader = Reader(work_log, every(work_log), last_per_subject=True)

    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        assert len(reader.records) == len({record.subject for record in reader.records}) == 1000
        await work_log.append(item(work_log, 1), b"new")
        await eventually(lambda: reader.records[-1].data == b"new")

    assert reader.sequences == sorted(reader.sequences)


async def test_bodies_can_be_left_out(work_log: Log) -> None:
    await work_log.append(item(work_log, 1), b"body", headers={"Kind": "k"})
    reader = Reader(work_log, every(work_log), headers_only=True)

    async with following(reader.follower):
        await reader.follower.caught_up(SOON)

    assert (reader.records[0].data, reader.records[0].headers["Kind"]) == (b"", "k")


async def test_a_stream_that_comes_later_is_followed(broker: Broker, project_id: str) -> None:
    log = Log(broker, subjects.work_stream(project_id))
    reader = Reader(log, every(log))

    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        await log.ensure(work_settings(project_id))
        await fill(log, 3)
        await reader.follower.passed(3, SOON)

    assert reader.sequences == [1, 2, 3]
    assert reader.resets == 0


async def test_a_failing_handler_is_reported_and_the_next_record_comes(
    work_log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def fail_first(record: Record) -> None:
        seen.append(record.sequence)
        if record.sequence == 1:
            raise ZeroDivisionError("of the test")

    follower = Follower(work_log, every(work_log), fail_first)
    await fill(work_log, 3)

    with caplog.at_level(logging.ERROR):
        async with following(follower):
            await follower.caught_up(SOON)

    assert seen == [1, 2, 3]
    assert follower.failures == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


async def test_waiting_for_a_record_ends(work_log: Log) -> None:
    reader = Reader(work_log, every(work_log))

    with pytest.raises(BrokerUnavailable):
        await reader.follower.caught_up(0.05)
    async with following(reader.follower):
        with pytest.raises(BrokerUnavailable, match="read up to 0, not 1"):
            await reader.follower.passed(1, 0.05)
    await reader.follower.passed(0, 0.05)


async def test_it_leaves_nothing_on_the_server(work_log: Log) -> None:
    reader = Reader(work_log, every(work_log))
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        assert await consumer_names(work_log)

    async def none_left() -> bool:
        return not await consumer_names(work_log)

    await eventually(none_left)


async def test_a_record_after_a_silence_comes_at_once(work_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "PULL_SECONDS", 0.5)
    monkeypatch.setattr(consumers, "HEARTBEAT_SECONDS", 0.2)
    reader = Reader(work_log, every(work_log))
    found: list[float] = []  # of eight in a row the middle one: what else the machine does may last for some
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        while not found or (found[-1] > 0.1 and len(found) < TRIES):
            found.append(median([await delay(work_log, reader.follower) for _ in range(8)]))

    assert found[-1] <= 0.1, found
    assert reader.sequences == list(range(1, 8 * len(found) + 1))


async def delay(log: Log, follower: Follower) -> float:
    """Return how long a record takes to come after a silence in which pulls run out."""
    await asyncio.sleep(0.3)
    began = time.monotonic()
    appended = await log.append(item(log, 1), b"")
    await follower.passed(appended.sequence, SOON)
    return time.monotonic() - began


async def test_a_consumer_that_vanished_is_replaced(work_log: Log, broker: Broker) -> None:
    reader = Reader(work_log, every(work_log))
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        for number in range(1, 4):
            for name in await consumer_names(work_log):
                await broker.request(subjects.api("CONSUMER", "DELETE", work_log.stream, name), b"", seconds=SOON)
            await work_log.append(item(work_log, number), b"")
            await reader.follower.passed(number, SOON)

    assert reader.sequences == [1, 2, 3]
    assert reader.resets == 0


async def test_a_consumer_that_fell_silent_is_replaced(
    work_log: Log, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HEARTBEAT_SECONDS", 0.2)
    reader = Reader(work_log, every(work_log))
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        [before] = await consumer_names(work_log)
        assert reader.follower._consumer is not None
        assert reader.follower._consumer._subscription is not None
        await reader.follower._consumer._subscription.stop()

        async def replaced() -> bool:
            return before not in await consumer_names(work_log)

        await eventually(replaced)
        await work_log.append(item(work_log, 1), b"")
        await reader.follower.passed(1, SOON)


async def test_nothing_is_lost_or_repeated_when_the_server_is_killed(private_server: NatsServer) -> None:
    private_server.start()
    async with own_log(private_server) as log:
        everything, newest = Reader(log, ALL), Reader(log, ALL, last_per_subject=True)
        async with following(everything.follower, newest.follower):
            written = 0
            for _ in range(3):
                for _ in range(100):
                    written += 1
                    await append_surely(log, written)
                private_server.kill()
                private_server.start()
            await append_surely(log, written + 1)
            for reader in (everything, newest):
                await reader.follower.passed(written + 1, SOON)

        assert everything.sequences == newest.sequences == list(range(1, written + 2))
        assert everything.resets == newest.resets == 0


async def test_it_goes_on_after_the_server_was_frozen(private_server: NatsServer) -> None:
    private_server.start()
    async with own_log(private_server) as log:
        reader = Reader(log, ALL)
        async with following(reader.follower):
            await fill(log, 10)
            await reader.follower.passed(10, SOON)
            private_server.freeze()
            with pytest.raises(BrokerUnavailable):
                await log.append(item(log, 11), b"", dedupe="op11", seconds=0.3)
            private_server.thaw()
            await append_surely(log, 11)
            await reader.follower.passed(11, SOON)

        assert reader.sequences == list(range(1, 12))


@pytest.mark.parametrize("replacement", [0, 2, 20], ids=["empty", "shorter", "longer"])
async def test_a_replaced_stream_is_read_from_the_start(work_log: Log, project_id: str, replacement: int) -> None:
    await fill(work_log, 10)
    reader = Reader(work_log, every(work_log))
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        await delete(work_log)
        await work_log.ensure(work_settings(project_id))
        await fill(work_log, replacement)
        await eventually(lambda: reader.resets == 1 and reader.sequences == list(range(1, replacement + 1)))
        appended = await work_log.append(item(work_log, 1), b"new")
        await reader.follower.passed(appended.sequence, SOON)

    assert reader.resets == 1
    assert reader.records[-1].data == b"new"


async def test_a_removed_stream_is_told_before_there_is_another(work_log: Log, project_id: str) -> None:
    await fill(work_log, 10)
    reader = Reader(work_log, every(work_log))
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
        await delete(work_log)
        await eventually(lambda: reader.resets == 1)
        await reader.follower.caught_up(SOON)


async def test_a_store_that_was_emptied_is_read_from_the_start(private_server: NatsServer) -> None:
    private_server.start()
    async with own_log(private_server) as log:
        reader = Reader(log, ALL)
        async with following(reader.follower):
            await fill(log, 10)
            await reader.follower.passed(10, SOON)
            private_server.kill()
            private_server.drop_store()
            await eventually(lambda: not log.broker.up)
            private_server.start()
            await log.broker.wait_up(SOON)
            await log.ensure(work_settings("p"))
            await append_surely(log, 1)
            await eventually(lambda: reader.resets == 1 and reader.sequences == [1])


async def test_a_store_that_went_back_and_grew_again_is_read_from_the_start(
    private_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As after a power cut of a broker that does not sync: the newest records are gone, others take their numbers."""
    private_server.start()
    old = tmp_path_factory.mktemp("old")
    async with own_log(private_server) as log:
        reader = Reader(log, ALL)
        await fill(log, 5)
        private_server.kill()
        private_server.copy_store(old)
        private_server.start()
        async with following(reader.follower):
            for number in range(5, 10):
                await append_surely(log, number)
            await reader.follower.passed(10, SOON)
            private_server.kill()
            private_server.take_store(old)
            private_server.start()
            async with own_log(private_server) as other:
                for number in range(100, 120):
                    await append_surely(other, number)
            await eventually(lambda: reader.sequences == list(range(1, 26)))

        assert [int(record.data) for record in reader.records[5:]] == list(range(100, 120))


async def test_a_long_log_is_read_fast(work_log: Log) -> None:
    await fill(work_log, 20_000)
    reader = Reader(work_log, every(work_log), last_per_subject=True)

    began = time.process_time()
    async with following(reader.follower):
        await reader.follower.caught_up(SOON)
    seconds = time.process_time() - began

    assert reader.sequences == list(range(1, 20_001))
    assert seconds < 4, f"{20_000 / seconds:.0f} records in a second of CPU time; 50 000 and more are usual"


async def consumer_names(log: Log) -> list[str]:
    found = await call(log.broker, dict[str, object], "CONSUMER", "NAMES", log.stream)
    names = found["consumers"] or []
    assert isinstance(names, list)
    return names


async def delete(log: Log) -> None:
    await call(log.broker, dict[str, object], "STREAM", "DELETE", log.stream)
