"""A bucket holds one value a key, changed only by who knows its revision; the stock client reads it."""

from __future__ import annotations

import asyncio

import nats
import pytest

from loominal.broker import subjects
from loominal.broker.bucket import Bucket, Deleted, Entry
from loominal.broker.connection import Broker
from loominal.model.errors import BrokerUnavailable, Conflict, InvalidArgument
from tests.integration.conftest import NatsServer, eventually
from tests.integration.test_follower import following
from tests.patience import SOON


@pytest.fixture
async def bucket(broker: Broker, project_id: str) -> Bucket:
    bucket = Bucket(broker, subjects.registry_bucket(project_id))
    await bucket.ensure()
    return bucket


async def test_a_value_is_made_read_changed_and_deleted(bucket: Bucket) -> None:
    assert await bucket.get("agent.a") is None

    made = await bucket.write("agent.a", b"1", revision=0)
    changed = await bucket.write("agent.a", b"2", revision=made)
    assert await bucket.get("agent.a") == Entry(key="agent.a", value=b"2", revision=changed)

    await bucket.delete("agent.a", revision=changed)
    assert await bucket.get("agent.a") is None
    assert await bucket.entries() == []


async def test_only_who_knows_the_revision_writes(bucket: Bucket) -> None:
    made = await bucket.write("agent.a", b"1", revision=0)

    for stale in (0, made + 1):
        with pytest.raises(Conflict):
            await bucket.write("agent.a", b"2", revision=stale)
    with pytest.raises(Conflict):
        await bucket.delete("agent.a", revision=made + 1)
    with pytest.raises(Conflict):
        await bucket.write("agent.other", b"2", revision=made)

    assert await bucket.get("agent.a") == Entry(key="agent.a", value=b"1", revision=made)


async def test_a_deleted_key_can_be_made_again_by_one(bucket: Bucket) -> None:
    made = await bucket.write("handle.h", b"1", revision=0)
    await bucket.delete("handle.h", revision=made)

    outcomes = await asyncio.gather(
        *(bucket.write("handle.h", b"%d" % number, revision=0) for number in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 9
    with pytest.raises(Conflict):
        await bucket.write("handle.h", b"old", revision=made)


async def test_entries_are_listed_by_prefix(bucket: Bucket) -> None:
    for number in range(1100):
        await bucket.write(f"agent.a{number}", b"%d" % number, revision=0)
    await bucket.write("handle.h", b"h", revision=0)
    await bucket.delete("agent.a7", revision=8)

    agents = await bucket.entries("agent")

    assert [entry.key for entry in agents] == [f"agent.a{number}" for number in range(1100) if number != 7]
    assert len(await bucket.entries()) == 1100
    assert await bucket.entries("nothing") == []


async def test_followers_see_what_is_there_and_every_change(bucket: Bucket) -> None:
    seen: list[Entry | Deleted] = []
    first = await bucket.write("agent.a", b"1", revision=0)
    second = await bucket.write("agent.a", b"2", revision=first)
    await bucket.write("handle.h", b"h", revision=0)
    follower = bucket.follow(seen.append, prefix="agent")

    async with following(follower):
        await follower.caught_up(SOON)
        assert seen == [Entry(key="agent.a", value=b"2", revision=second)]
        await bucket.delete("agent.a", revision=second)
        await eventually(lambda: seen[1:] == [Deleted(key="agent.a", revision=4)])


async def test_a_bucket_that_is_not_there_is_empty(broker: Broker, project_id: str) -> None:
    bucket = Bucket(broker, subjects.registry_bucket(project_id))

    assert await bucket.get("agent.a") is None
    assert await bucket.entries() == []
    with pytest.raises(BrokerUnavailable):
        await bucket.write("agent.a", b"", revision=0)


@pytest.mark.parametrize("key", ["", "a..b", "a.b c", ".a", "ä", "a.*", ">"])
async def test_a_key_is_plain_tokens(bucket: Bucket, key: str) -> None:
    with pytest.raises(InvalidArgument):
        await bucket.write(key, b"", revision=0)


async def test_the_longest_project_name_has_a_bucket(broker: Broker) -> None:
    bucket = Bucket(broker, subjects.registry_bucket("p" * 64))
    await bucket.ensure()

    revision = await bucket.write("format", b"1", revision=0)

    assert await bucket.get("format") == Entry(key="format", value=b"1", revision=revision)


async def test_the_stock_client_reads_and_deletes(bucket: Bucket, nats_server: NatsServer) -> None:
    revision = await bucket.write("agent.a", b"ours", revision=0)
    client = await nats.connect(nats_server.url)
    try:
        stock = await client.jetstream().key_value(bucket.name)
        read = await stock.get("agent.a")
        assert (read.value, read.revision) == (b"ours", revision)

        await stock.purge("agent.a")
        assert await bucket.get("agent.a") is None
        await bucket.write("agent.a", b"again", revision=0)
        assert (await stock.get("agent.a")).value == b"again"
    finally:
        await client.close()
