"""The client on a real broker, against a coordinator whose answers the test decides: losses, restarts, takeovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from loominal.broker import subjects
from loominal.broker.accounts import Accounts
from loominal.broker.connection import Broker, Received
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.client import agent as client_agent
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.enrolment import ENROL_AGAIN, Enrol, Enrolled
from loominal.fabric.operations.events import Events, EventView
from loominal.fabric.operations.identity import HandleSet, MyHandle, Welcome
from loominal.fabric.operations.registry import Registered
from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import Claimed, WorkMoved, WorkView
from loominal.fabric.protocol import PROTO, Answer, Beat, Control, ControlKind, Request, encode, encode_answer
from loominal.fabric.runtime_file import Mode, Runtime, machine_credential_path, write_runtime
from loominal.model.errors import (
    Forbidden,
    HubUnavailable,
    LeaseLost,
    LoominalError,
    NotFound,
    NotRegistered,
)
from loominal.model.grant import Visibility
from loominal.model.work import Status
from tests.integration.conftest import NatsServer, eventually
from tests.patience import SOON
from tests.ports import free_port

AT = datetime(2026, 1, 31, 18, tzinfo=UTC)
Reply = View | LoominalError | None  # None: no answer, as if it was lost


class Asked(msgspec.Struct, frozen=True):
    """A request as the coordinator got it."""

    operation: str
    request: Request
    at: float


class Coordinator:
    """Answers one project's requests as the test says, and keeps what it was asked and told."""

    def __init__(self, broker: Broker, project: str) -> None:
        self.generation = "one"
        self.asked: list[Asked] = []
        self.beats: list[Beat] = []
        self.answers: dict[str, Callable[[Request], Reply]] = {}
        self._broker = broker
        self._project = project
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Answer while the block runs."""
        beats = await self._broker.subscribe(subjects.heartbeats(self._project), self._beaten)
        requests = await self._broker.subscribe(subjects.requests(self._project), self._take)
        try:
            yield
        finally:
            await requests.stop()
            await beats.stop()
            with pytest.raises(HubUnavailable):  # answered in order: the broker now knows that nobody listens
                await self._broker.request(subjects.enrol("nobody"), b"", seconds=SOON)

    def ops(self, operation: str) -> list[str]:
        return [asked.request.op for asked in self.asked if asked.operation == operation]

    async def lead(self) -> None:
        await self._broker.publish(subjects.leader_wake(self._project), b"{}")

    async def control(self, agent: Agent, control: Control) -> None:
        await self._broker.publish(subjects.control(self._project, agent.guid), encode(control))

    def _beaten(self, message: Received) -> None:
        self.beats.append(msgspec.json.decode(message.data, type=Beat))

    def _take(self, message: Received) -> None:
        _, _, operation, agent = message.subject.split(".")
        request = msgspec.json.decode(message.data, type=Request)
        self.asked.append(Asked(operation, request, time.monotonic()))
        reply = self.answers[operation](request) if operation in self.answers else self._usual(operation, agent)
        if reply is None:
            return
        if isinstance(reply, LoominalError):
            answer = Answer(proto=PROTO, error=reply.problem())
        else:
            answer = Answer(proto=PROTO, ok=msgspec.Raw(encode_answer(reply)))
        task = asyncio.ensure_future(self._broker.publish(message.reply, encode(answer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _usual(self, operation: str, agent: str) -> View:
        match operation:
            case "hello":
                return Welcome(
                    guid=agent,
                    project_id=self._project,
                    project=self._project,
                    generation=self.generation,
                    proto_min=PROTO,
                    proto=PROTO,
                    heartbeat_seconds=0.2,
                    lease_seconds=2,
                )
            case "set_handle":
                return HandleSet(handle="alice", guid=agent)
            case "register_agent":
                return registered(agent)
            case _:
                return MyHandle(handle="alice", guid=agent, project_id=self._project, project="", registered=True)


def registered(agent: str) -> Registered:
    return Registered(
        guid=agent,
        handle="alice",
        agent_type="tester",
        capabilities=(),
        boundaries=(),
        visibility=Visibility.PUBLIC,
        hostname="",
        project_id="",
    )


def once(first: Reply, then: Reply) -> Callable[[Request], Reply]:
    """Return answers: `first` to the first request, `then` to all later ones."""
    replies = [first]
    return lambda _: replies.pop() if replies else then


def claimed(item: str = "w_1", lease_token: int = 7) -> Claimed:
    return Claimed(work=(WorkView(id=item, task_id="build", description="build it", lease_token=lease_token),))


@pytest.fixture
async def coordinator(broker: Broker, project_id: str) -> AsyncIterator[Coordinator]:
    coordinator = Coordinator(broker, project_id)
    async with coordinator.present():
        yield coordinator


@pytest.fixture
def home(tmp_path: Path, nats_server: NatsServer) -> Path:
    """A home whose runtime file names the run's broker, in open mode."""
    write_runtime(tmp_path, Runtime(mode=Mode.OPEN, url=nats_server.url, started_at=AT))
    return tmp_path


async def test_a_connection_says_hello_beats_and_says_when_it_leaves(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    async with connect(project=project_id, home=home) as agent:
        await eventually(lambda: len(coordinator.beats) >= 2)
        assert (await agent.get_my_handle()).guid == agent.guid
    await eventually(lambda: coordinator.beats[-1].leaving)
    assert coordinator.asked[0].operation == "hello"
    assert {beat.incarnation for beat in coordinator.beats} == {agent.incarnation}


async def test_capabilities_register_the_agent_and_a_handle_alone_is_only_taken(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    async with connect("alice", capabilities=["python"], project=project_id, home=home) as agent:
        assert agent.handle == "alice"
    async with connect("alice", project=project_id, home=home) as again:
        assert again.guid == agent.guid
    assert len(coordinator.ops("register_agent")) == len(coordinator.ops("set_handle")) == 1


async def test_agents_of_one_program_are_different_agents(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    async with connect(project=project_id, home=home) as one, connect(project=project_id, home=home) as other:
        assert one.guid != other.guid
        assert one.incarnation != other.incarnation


async def test_the_callers_own_exceptions_come_out_as_they_are(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connect(project=project_id, home=home):
            _ = 1 / 0


async def test_an_error_comes_as_its_exception(coordinator: Coordinator, home: Path, project_id: str) -> None:
    coordinator.answers["get_agent_info"] = lambda _: NotFound("no such agent", "look again")
    async with connect(project=project_id, home=home) as agent:
        with pytest.raises(NotFound) as refused:
            await agent.get_agent_info("bob")
    assert (refused.value.code, refused.value.hint) == ("not_found", "look again")


async def test_a_lost_answer_is_asked_for_again_with_the_same_op(
    coordinator: Coordinator, home: Path, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loominal.fabric.client.asking.REQUEST_SECONDS", 0.3)
    coordinator.answers["set_handle"] = once(None, HandleSet(handle="alice", guid="x"))
    async with connect(project=project_id, home=home) as agent:
        await agent.set_handle("alice")
        await agent.set_handle("alice")
    lost, repeated, *_, second = coordinator.ops("set_handle")
    assert lost == repeated != second


async def test_without_a_coordinator_the_call_waits_for_one_and_says_hello_to_it(
    broker: Broker, home: Path, project_id: str
) -> None:
    coordinator = Coordinator(broker, project_id)
    async with coordinator.present():
        opened = connect(project=project_id, home=home)
        agent = await opened.__aenter__()
    try:
        asking = asyncio.ensure_future(agent.get_my_handle())
        await asyncio.sleep(0.5)
        assert not asking.done()
        async with coordinator.present():
            await asking
            await eventually(lambda: len(coordinator.ops("hello")) >= 2)
    finally:
        await opened.__aexit__(None, None, None)


async def test_a_coordinator_that_never_comes_is_an_error(
    home: Path, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loominal.fabric.client.asking.HUB_SECONDS", 1.0)
    with pytest.raises(HubUnavailable) as refused:
        async with connect(project=project_id, home=home):
            pass
    assert "loominal" in refused.value.hint


async def test_a_claim_is_in_the_next_heartbeat_at_once_and_its_ending_takes_it_out(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    coordinator.answers["claim_work"] = lambda _: claimed()
    coordinator.answers["complete_work"] = lambda _: WorkMoved(work_id="w_1", status=Status.DONE)
    async with connect(project=project_id, home=home) as agent:
        await agent.claim_work()
        await eventually(lambda: coordinator.beats[-1].holds == (("w_1", 7),))
        assert agent.holds == ("w_1",)
        await agent.complete_work("build", "done")
        await eventually(lambda: coordinator.beats[-1].holds == ())
        await agent.complete_work("build", "done")
        await agent.complete_work("build", "done otherwise")
    endings = [asked.request for asked in coordinator.asked if asked.operation == "complete_work"]
    assert [ending.lease_token for ending in endings] == [7, 7, 7]
    assert endings[0].op == endings[1].op != endings[2].op
    assert b'"w_1"' in bytes(endings[0].args)


async def test_a_lost_lease_ends_the_hold(coordinator: Coordinator, home: Path, project_id: str) -> None:
    coordinator.answers["claim_work"] = lambda _: claimed()
    coordinator.answers["fail_work"] = lambda _: LeaseLost("bob has it")
    async with connect(project=project_id, home=home) as agent:
        await agent.claim_work()
        with pytest.raises(LeaseLost):
            await agent.fail_work("w_1", "broken")
        assert agent.holds == ()
        assert agent.lost("build")


async def test_nudges_are_for_this_process_and_this_claim_only(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    coordinator.answers["claim_work"] = lambda _: claimed()
    heard: list[Control] = []
    async with connect(project=project_id, home=home) as agent:
        agent.on_control(heard.append)
        await agent.claim_work()
        cancel = Control(proto=PROTO, kind=ControlKind.CANCEL, item="w_1", lease_token=7)
        await coordinator.control(agent, msgspec.structs.replace(cancel, incarnation="another"))
        await coordinator.control(agent, msgspec.structs.replace(cancel, kind=ControlKind.LEASE_LOST, lease_token=6))
        await coordinator.control(agent, msgspec.structs.replace(cancel, incarnation=agent.incarnation))
        await eventually(lambda: len(heard) == 2)
        assert agent.holds == ("w_1",)
        assert agent.cancel_requested("build")


async def test_a_superseded_process_falls_silent(coordinator: Coordinator, home: Path, project_id: str) -> None:
    async with connect(project=project_id, home=home) as agent:
        heard = asyncio.Event()
        agent.on_control(lambda _: heard.set())
        await eventually(lambda: bool(coordinator.beats))
        await coordinator.control(agent, Control(proto=PROTO, kind=ControlKind.SUPERSEDED))
        await asyncio.wait_for(heard.wait(), SOON)
        await agent.get_my_handle()  # what was under way has arrived
        beats = len(coordinator.beats)
        await asyncio.sleep(0.5)  # two beats' time
    assert len(coordinator.beats) == beats
    assert not any(beat.leaving for beat in coordinator.beats)


async def test_a_new_leader_gets_the_waiting_poll_again_at_once(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    coordinator.answers["claim_work"] = once(None, claimed())
    async with connect(project=project_id, home=home) as agent:
        claiming = asyncio.ensure_future(agent.claim_work(wait_seconds=SOON))
        await eventually(lambda: len(coordinator.ops("claim_work")) == 1)
        began = time.monotonic()
        await coordinator.lead()
        assert (await claiming).work[0].id == "w_1"
        assert time.monotonic() - began < SOON / 2  # at once, and not when the poll is over
        await eventually(lambda: len(coordinator.ops("hello")) == 2)
    first, again = coordinator.ops("claim_work")
    assert first == again


async def test_a_long_wait_is_several_polls_that_continue_one_another(
    coordinator: Coordinator, home: Path, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_agent, "POLL_SECONDS", 0.3)
    empty = Events(events=(), cursor="c1", unread=0, ready=0, waited_seconds=0.3)
    found = msgspec.structs.replace(empty, events=(EventView(kind="message", id="m_1"),), cursor="c2")  # type: ignore[arg-type]  # as it is on the wire
    coordinator.answers["wait_for_events"] = once(empty, found)
    async with connect(project=project_id, home=home) as agent:
        happened = await agent.wait_for_events(wait_seconds=SOON)
    first, second = (asked.request for asked in coordinator.asked if asked.operation == "wait_for_events")
    assert happened.cursor == "c2"
    assert first.op != second.op
    assert (b"c1" in bytes(first.args), b"c1" in bytes(second.args)) == (False, True)


async def test_one_claim_poll_at_a_time(coordinator: Coordinator, home: Path, project_id: str) -> None:
    coordinator.answers["claim_work"] = lambda _: None
    async with connect(project=project_id, home=home) as agent:
        polls = [asyncio.ensure_future(agent.claim_work(wait_seconds=SOON)) for _ in range(3)]
        await eventually(lambda: bool(coordinator.ops("claim_work")))
        assert (await agent.get_my_handle()).registered  # others pass
        assert len(coordinator.ops("claim_work")) == 1
        for poll in polls:
            poll.cancel()
        await asyncio.wait(polls)


async def test_a_project_made_anew_is_registered_in_again_and_nothing_is_held(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    coordinator.answers["claim_work"] = lambda _: claimed()
    async with connect(agent_type="tester", capabilities=["python"], project=project_id, home=home) as agent:
        await agent.claim_work()
        coordinator.generation = "two"
        coordinator.answers["list_work"] = once(NotRegistered("who are you?"), NotFound("answered"))
        with pytest.raises(NotFound, match="answered"):
            await agent.list_work()
        assert agent.holds == ()
    assert len(coordinator.ops("register_agent")) == 2


async def test_not_registered_is_an_error_when_the_project_is_the_same(
    coordinator: Coordinator, home: Path, project_id: str
) -> None:
    coordinator.answers["list_work"] = lambda _: NotRegistered("who are you?")
    async with connect(agent_type="tester", project=project_id, home=home) as agent:
        with pytest.raises(NotRegistered):
            await agent.list_work()


async def test_calls_and_claims_outlive_a_killed_broker(
    private_server: NatsServer, tmp_path: Path, project_id: str
) -> None:
    private_server.start()
    write_runtime(tmp_path, Runtime(mode=Mode.OPEN, url=private_server.url, started_at=AT))
    inbox = subjects.reply_prefix("hub")
    async with Broker.connect(private_server.url, name="hub", inbox=inbox, wait_seconds=SOON) as broker:
        coordinator = Coordinator(broker, project_id)
        coordinator.answers["claim_work"] = lambda _: claimed()
        async with coordinator.present(), connect(project=project_id, home=tmp_path) as agent:
            await agent.claim_work()
            private_server.kill()
            asking = asyncio.ensure_future(agent.get_my_handle())
            await asyncio.sleep(0.3)
            private_server.start()
            assert (await asking).guid == agent.guid
            coordinator.beats.clear()
            await eventually(lambda: any(beat.holds == (("w_1", 7),) for beat in coordinator.beats))
            await eventually(lambda: len(coordinator.ops("hello")) >= 2)


class Enroller:
    """Weft's part of enrolment, with credentials as short-lived as the test says."""

    def __init__(self, broker: Broker, keyring: Keyring) -> None:
        self.seconds = 60.0
        self.refusal: LoominalError | None = None
        self.requests: list[Enrol] = []
        self._broker = broker
        self._keyring = keyring
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Answer while the block runs."""
        subscription = await self._broker.subscribe(subjects.enrolments(), self._take)
        try:
            yield
        finally:
            await subscription.stop()

    def _take(self, message: Received) -> None:
        assert message.reply.startswith(subjects.reply_prefix("laptop") + ".")
        request = msgspec.json.decode(message.data, type=Enrol)
        self.requests.append(request)
        answer = Answer(proto=PROTO, error=self.refusal.problem()) if self.refusal else self._enrolled(request)
        task = asyncio.ensure_future(self._broker.publish(message.reply, encode(answer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _enrolled(self, request: Enrol) -> Answer:
        expires_at = datetime.now(UTC) + timedelta(seconds=self.seconds)
        enrolled = Enrolled(
            jwt=self._keyring.agent_jwt(request.project, request.agent, request.key, expires_at),
            project=request.project,
            expires_at=expires_at,
            account=self._keyring.project_public(request.project),
        )
        return Answer(proto=PROTO, ok=msgspec.Raw(encode(enrolled)))


class Fabric(msgspec.Struct, frozen=True):
    """An embedded broker with one project, a machine that may enrol, and our own answers to it."""

    home: Path
    project: str
    keyring: Keyring
    accounts: Accounts
    enroller: Enroller
    coordinator: Coordinator


@pytest.fixture
async def fabric(tmp_path: Path, project_id: str) -> AsyncIterator[Fabric]:
    keyring = Keyring.open(tmp_path / "keys")
    settings = ServerSettings(directory=tmp_path / "nats", port=free_port(), keyring=keyring)
    keyring.machine_credential("laptop").write(machine_credential_path(tmp_path))
    async with EmbeddedServer(settings) as server:
        write_runtime(tmp_path, Runtime(mode=Mode.EMBEDDED, url=server.url, started_at=AT))

        def joined(credential: Credential) -> AbstractAsyncContextManager[Broker]:
            return Broker.connect(
                server.url,
                name="hub",
                inbox=subjects.reply_prefix("hub"),
                credential=lambda: credential,
                wait_seconds=SOON,
            )

        async with joined(keyring.system_credential("hub")) as system:
            accounts = Accounts(system)
            await accounts.push(keyring.account_jwt(project_id))
            async with (
                joined(keyring.hub_credential(subjects.FABRIC, "hub")) as common,
                joined(keyring.hub_credential(project_id, "hub")) as own,
            ):
                coordinator = Coordinator(own, project_id)
                enroller = Enroller(common, keyring)
                async with coordinator.present(), enroller.present():
                    yield Fabric(tmp_path, project_id, keyring, accounts, enroller, coordinator)


async def test_a_local_agent_enrols_with_the_key_of_its_slot(fabric: Fabric) -> None:
    async with connect(project=fabric.project, home=fabric.home) as first:
        pass
    async with connect(project=fabric.project, home=fabric.home) as again:
        assert again.guid == first.guid
    one, other = fabric.enroller.requests
    assert (one.agent, one.project, one.client) == (first.guid, fabric.project, "python")
    assert one == other


async def test_a_credential_is_renewed_before_it_ends_and_the_agent_stays(fabric: Fabric) -> None:
    fabric.enroller.seconds = 6
    async with connect(project=fabric.project, home=fabric.home) as agent:
        await eventually(lambda: len(fabric.enroller.requests) >= 3)
        assert (await agent.get_my_handle()).guid == agent.guid
        await eventually(
            lambda: len(fabric.coordinator.ops("hello")) >= 2
        )  # the broker ended the first one's connection
        assert (await agent.get_my_handle()).guid == agent.guid
    assert len(set(fabric.enroller.requests)) == 1


async def test_an_agent_whose_credential_is_refused_enrols_again(fabric: Fabric) -> None:
    async with connect(project=fabric.project, home=fabric.home) as agent:
        key = fabric.enroller.requests[0].key
        await fabric.accounts.push(fabric.keyring.account_jwt(fabric.project, {key: int(time.time())}))
        await eventually(lambda: len(fabric.coordinator.ops("hello")) >= 2, SOON)
        assert (await agent.get_my_handle()).guid == agent.guid
    assert len(fabric.enroller.requests) >= 2


async def test_an_agent_the_fabric_does_not_know_enrols_again_and_its_call_is_answered(fabric: Fabric) -> None:
    known = MyHandle(handle="alice", guid="x", project_id="", project="", registered=True)
    fabric.coordinator.answers["get_my_handle"] = once(Forbidden("who are you?", ENROL_AGAIN), known)
    async with connect(project=fabric.project, home=fabric.home) as agent:
        assert await agent.get_my_handle() == known
    assert len(fabric.enroller.requests) == 2
    assert len(set(fabric.coordinator.ops("get_my_handle"))) == 1


async def test_a_refused_enrolment_is_the_callers_error(fabric: Fabric) -> None:
    fabric.enroller.refusal = Forbidden("this machine may not")
    with pytest.raises(Forbidden, match="this machine may not"):
        async with connect(project=fabric.project, home=fabric.home):
            pass
