"""A stored record that cannot be read costs that record and nothing else, while weft runs and when it starts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model.errors import LoominalError
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import as_hub, log_since
from tests.patience import SOON

GARBAGE = (b"{", b"\xff\xfe\x00", b"[]", b'{"v":1}', b"[" * 20_000)


@pytest.fixture
def home(private_fabric: Fabric) -> Fabric:
    """A fabric of the test's own, which runs."""
    private_fabric.start()
    return private_fabric


async def it_works(fabric: Fabric, project: str) -> None:
    """Let two new agents do everything once."""
    mark = uuid4().hex[:8]
    async with (
        fabric.connect(f"boss-{mark}", project=project, capabilities=["boss"]) as boss,
        fabric.connect(f"worker-{mark}", project=project, capabilities=[mark]) as worker,
    ):
        await boss.send_message("general", f"hello {mark}")
        assert (await worker.read_messages("general")).messages[-1].message == f"hello {mark}"
        await boss.send_message(f"room-{mark}", "new", create=True)
        await boss.send_direct_message(worker.guid, mark)
        assert (await worker.read_direct_messages(wait_seconds=SOON)).messages[-1].message == mark
        assert worker.guid in {agent.guid for agent in (await boss.discover_agents(capability=mark)).agents}
        offered = await boss.broadcast_work_offer(mark, capabilities=[mark])
        [work] = (await worker.claim_work(wait_seconds=SOON)).work
        await worker.complete_work(work.id, summary="done")
        assert (await boss.get_work(offered.id)).status == "done"
        assert offered.id in {item.id for item in (await boss.list_work(mine=True)).items}
        told = await boss.read_direct_messages(wait_seconds=SOON)
        assert [message.message_type for message in told.messages] == ["work-result"]


async def spoil_project(broker: Broker, project: str, agent: str, item: str) -> list[str]:
    """Append garbage to every stream and under every kind of key; return what is to be reported."""
    kinds = {
        subjects.work_stream(project): [
            subjects.item(project, item),
            subjects.item(project, "w_never"),
            subjects.submission(project, "w_spec"),
            subjects.launch(project, "l_1"),
        ],
        subjects.channels_stream(project): [subjects.channel(project, "general"), subjects.channel(project, "odd")],
        subjects.inbox_stream(project): [subjects.inbox(project, agent), subjects.inbox(project, str(uuid4()))],
        subjects.events_stream(project): [subjects.event(project, "agent-updated"), subjects.event(project, "odd")],
    }
    for stream, where in kinds.items():
        for subject in where:
            for garbage in GARBAGE:
                await Log(broker, stream).append(subject, garbage)
    bucket = Bucket(broker, subjects.registry_bucket(project))
    keys = ["format", "agent.x", "handle.odd", "chan.odd", f"in.{agent}", f"agent.{agent}"]
    for key in (*keys, "later.thing", "later"):
        before = await bucket.get(key)
        await bucket.write(key, b'{"v":', revision=before.revision if before else 0)
    return [
        subjects.item(project, item),
        subjects.item(project, "w_never"),
        "agent.x",
        "handle.odd",
        "chan.odd",
    ]


async def test_garbage_in_every_stream_and_bucket_is_reported_and_passed_over(home: Fabric, project_id: str) -> None:
    async with home.connect("first", project=project_id, capabilities=["python"]) as first:
        spoilt = await first.broadcast_work_offer("spoilt", capabilities=["python"])
        held = await first.broadcast_work_offer("held", capabilities=["python"], priority=10)
        [claimed] = (await first.claim_work(wait_seconds=SOON)).work
        assert claimed.id == held.id
        began = home.weft_log.stat().st_size
        async with as_hub(home, project_id) as broker:
            reported = await spoil_project(broker, project_id, first.guid, spoilt.id)
        await eventually(lambda: all(name in log_since(home, began) for name in reported))

        assert "Traceback" not in log_since(home, began)
        await it_works(home, project_id)
        await first.register_agent("python", capabilities=["python"])  # its record was among them
        assert (await first.complete_work(held.id, summary="done")).status == "done"
        await _is_gone(first, spoilt.id)
        await first.read_messages("general")

    home.kill_weft()
    began = home.weft_log.stat().st_size
    async with as_hub(home, project_id) as broker:
        await Log(broker, subjects.work_stream(project_id)).append(subjects.leader(project_id), b"{")
        bucket = Bucket(broker, subjects.registry_bucket(project_id))
        generation = await bucket.get("generation")
        assert generation is not None
        await bucket.write("generation", b"{", revision=generation.revision)
    home.start_weft()  # it is ready with all that garbage
    await it_works(home, project_id)
    told = log_since(home, began)
    assert all(name in told for name in (*reported, subjects.submission(project_id, "w_spec")))
    assert subjects.leader(project_id) in told
    assert "format" in told
    assert "generation" in told
    assert "Traceback" not in told
    async with home.connect("second", project=project_id, capabilities=["python"]) as second:
        await _is_gone(second, spoilt.id)
        page = await second.read_messages("general")
        assert all(message.message.startswith("hello") for message in page.messages)
        async with as_hub(home, project_id) as broker:  # whoever wrote that leads no more than we do
            await Log(broker, subjects.work_stream(project_id)).append(subjects.leader(project_id), b"{")
    await it_works(home, project_id)


async def test_a_holder_whose_item_is_spoilt_loses_that_item_alone(home: Fabric, project_id: str) -> None:
    async with (
        home.connect("first", project=project_id, capabilities=["python"], max_concurrent=3) as first,
        home.connect("second", project=project_id, capabilities=["rust"]) as second,
    ):
        offered = [await first.broadcast_work_offer("x", capabilities=["python"]) for _ in range(3)]
        claimed = (await first.claim_work(limit=3, wait_seconds=SOON)).work
        assert len(claimed) == 3
        async with as_hub(home, project_id) as broker:
            await Log(broker, subjects.work_stream(project_id)).append(subjects.item(project_id, offered[0].id), b"{")
        timed = await second.broadcast_work_offer("y", capabilities=["rust"], timeout_seconds=0.5, max_attempts=1)
        assert (await second.claim_work(wait_seconds=SOON)).work[0].id == timed.id

        await _is_gone(first, offered[0].id)
        with pytest.raises(LoominalError):
            await first.complete_work(offered[0].id, summary="done")
        for item in offered[1:]:
            assert (await first.complete_work(item.id, summary="done")).status == "done"
        assert (await second.get_work(timed.id, wait_seconds=SOON)).status == "dead"  # others are judged as ever


async def test_a_spoilt_submission_leaves_its_item_to_be_done(home: Fabric, project_id: str) -> None:
    async with home.connect("first", project=project_id, capabilities=["python"]) as first:
        offered = await first.broadcast_work_offer("the beginning of it", capabilities=["python"])
        async with as_hub(home, project_id) as broker:
            subject = subjects.submission(project_id, offered.id)
            await Log(broker, subjects.work_stream(project_id)).append(subject, b"{")

        [work] = (await first.claim_work(wait_seconds=SOON)).work

        assert (work.id, work.description) == (offered.id, "the beginning of it")
        assert (await first.get_work(work.id)).description == "the beginning of it"
        await first.complete_work(work.id, summary="done")


async def test_a_record_on_anothers_subject_does_not_become_the_other(home: Fabric, project_id: str) -> None:
    async with home.connect("first", project=project_id, capabilities=["python"]) as first:
        offered = await first.broadcast_work_offer("real", capabilities=["python"])
        began = home.weft_log.stat().st_size
        async with as_hub(home, project_id) as broker:
            log = Log(broker, subjects.work_stream(project_id))
            record = await log.last(subjects.item(project_id, offered.id))
            assert record is not None
            forged = json.dumps(json.loads(record.data) | {"status": "cancelled"}).encode()
            await log.append(subjects.item(project_id, "w_elsewhere"), forged)
        await eventually(lambda: "w_elsewhere" in log_since(home, began))

        assert (await first.get_work(offered.id)).status == "ready"


async def test_garbage_in_the_fabrics_own_registry_is_reported_and_passed_over(home: Fabric, project_id: str) -> None:
    async with home.connect("before", project=project_id, capabilities=["python"]):
        pass
    began = home.weft_log.stat().st_size
    async with as_hub(home, subjects.FABRIC) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(subjects.FABRIC))
        for kind in ("machine", "agent", "grant", "project"):
            for number, garbage in enumerate(GARBAGE):
                await bucket.write(f"{kind}.odd-{number}", garbage, revision=0)
        now = datetime.now(UTC).isoformat()
        other = json.dumps({"v": 1, "id": "Not/A_Project", "title": "x", "createdAt": now}).encode()
        await bucket.write("project.another", other, revision=0)
        await bucket.write("later.thing", b"{", revision=0)
        for key in ("machine.test-machine", f"project.{project_id}"):
            known = await bucket.get(key)
            assert known is not None
            await bucket.write(key, b"{", revision=known.revision)
    reported = [
        "machine.odd-0",
        "agent.odd-1",
        "grant.odd-2",
        "project.odd-3",
        "project.another",
        "machine.test-machine",
    ]
    await eventually(lambda: all(name in log_since(home, began) for name in reported))

    home.kill_weft()
    began = home.weft_log.stat().st_size
    home.start_weft()

    assert all(name in log_since(home, began) for name in reported)
    assert "Traceback" not in log_since(home, began)
    await it_works(home, project_id)


async def test_what_a_later_version_wrote_is_kept(home: Fabric, project_id: str) -> None:
    later = {"v": 9, "fromTheFuture": {"deep": [1, 2]}}
    async with (
        home.connect("first", project=project_id, capabilities=["python"]) as first,
        as_hub(home, project_id) as broker,
    ):
        bucket, log = (
            Bucket(broker, subjects.registry_bucket(project_id)),
            Log(broker, subjects.work_stream(project_id)),
        )
        offered = await first.broadcast_work_offer("x", capabilities=["python"])
        subject, key = subjects.item(project_id, offered.id), f"agent.{first.guid}"
        item, agent = await log.last(subject), await bucket.get(key)
        assert item is not None
        assert agent is not None
        written = await log.append(subject, json.dumps(json.loads(item.data) | later).encode(), expect=item.sequence)
        await bucket.write(key, json.dumps(json.loads(agent.value) | later).encode(), revision=agent.revision)
        await bucket.write("kind-of-the-future.x", b"whatever", revision=0)
        assert written.sequence

        async def seen() -> bool:
            await first.update_presence(current_task_count=int(uuid4().int % 1000))
            now = await bucket.get(key)
            return now is not None and b"currentTaskCount" not in now.value and json.loads(now.value)["op"] != ""

        await eventually(seen)
        [work] = (await first.claim_work(wait_seconds=SOON)).work
        await first.complete_work(work.id, summary="done")

        last, kept, unknown = await log.last(subject), await bucket.get(key), await bucket.get("kind-of-the-future.x")
        assert last is not None
        assert json.loads(last.data)["fromTheFuture"] == later["fromTheFuture"]
        assert json.loads(last.data)["status"] == "done"
        assert kept is not None
        assert json.loads(kept.value)["fromTheFuture"] == later["fromTheFuture"]
        assert unknown is not None
        assert unknown.value == b"whatever"


async def _is_gone(agent: Agent, item: str) -> None:
    async def gone() -> bool:
        try:
            await agent.get_work(item)
        except LoominalError as error:
            return error.code in ("not_found", "internal")
        return False

    await eventually(gone)
    assert item not in {each.id for each in (await agent.list_work()).items}
