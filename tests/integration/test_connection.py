"""A connection survives everything that happens to its server."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from loominal.broker import line as lines
from loominal.broker import subjects
from loominal.broker.connection import Broker, Received
from loominal.broker.keyring import Keyring
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.model.errors import BrokerUnavailable, CredentialRefused, HubUnavailable, InvalidArgument, TooLarge
from tests.integration.conftest import NatsServer, eventually
from tests.patience import SOON

INBOX = subjects.reply_prefix("test")


async def test_a_request_is_answered_with_data_and_headers(broker: Broker) -> None:
    answers: list[asyncio.Task[None]] = []

    def answer(received: Received) -> None:
        sent = broker.publish(received.reply, received.data.upper(), headers={"Seen": received.headers["Ask"]})
        answers.append(asyncio.ensure_future(sent))

    await broker.subscribe("echo.a", answer)

    reply = await broker.request("echo.a", b"hello", seconds=5, headers={"Ask": "äh"})

    assert (reply.data, reply.headers, reply.status) == (b"HELLO", {"Seen": "äh"}, 0)
    assert reply.subject.startswith(f"{INBOX}.")


async def test_nobody_listening_and_nobody_answering_are_told_apart(broker: Broker) -> None:
    await broker.subscribe("silent.a", lambda _: None)

    with pytest.raises(HubUnavailable):
        await broker.request("deserted.a", b"", seconds=SOON)
    with pytest.raises(BrokerUnavailable, match=r"no answer on silent\.a within 0\.05 s"):
        await broker.request("silent.a", b"", seconds=0.05)


async def test_a_connection_ends_at_whatever_moment_it_is_given_up(nats_server: NatsServer) -> None:
    async def give_up_after(seconds: float) -> None:
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                Broker.connect(nats_server.url, name="test", inbox=INBOX, wait_seconds=SOON),
            ):
                await asyncio.Event().wait()

    async with asyncio.timeout(SOON):
        for number in range(100):
            await give_up_after(number * 0.0002)


async def test_a_failing_handler_is_reported_and_called_again(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[bytes] = []

    def fail_first(received: Received) -> None:
        seen.append(received.data)
        if len(seen) == 1:
            raise ZeroDivisionError("of the test")

    await broker.subscribe("fails.a", fail_first)

    with caplog.at_level(logging.ERROR):
        await broker.publish("fails.a", b"1")
        await broker.publish("fails.a", b"2")
        await eventually(lambda: seen == [b"1", b"2"])

    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_messages_come_in_order_and_not_after_the_stop(broker: Broker) -> None:
    seen: list[int] = []
    subscription = await broker.subscribe("order.a", lambda received: seen.append(int(received.data)))

    for number in range(2000):
        await broker.publish("order.a", b"%d" % number)
    await eventually(lambda: len(seen) == 2000)
    await subscription.stop()
    await broker.publish("order.a", b"-1")
    await round_trip(broker)

    assert seen == list(range(2000))


async def test_one_of_a_queue_group_gets_each_message(broker: Broker, nats_server: NatsServer) -> None:
    seen: list[bytes] = []
    async with Broker.connect(nats_server.url, name="second", inbox=INBOX, wait_seconds=SOON) as second:
        for member in (broker, second):
            await member.subscribe("shared.a", lambda received: seen.append(received.data), queue="q")
            await round_trip(member)
        for number in range(50):
            await broker.publish("shared.a", b"%d" % number)
        await eventually(lambda: len(seen) == 50)
        await round_trip(broker)
        await round_trip(second)

    assert len(set(seen)) == len(seen) == 50


async def test_too_large_is_refused_here_and_costs_no_connection(broker: Broker) -> None:
    room = broker.max_payload - len("NATS/1.0\r\nk: v\r\n\r\n")

    with pytest.raises(TooLarge):
        await broker.publish("large.a", b"x" * (room + 1), headers={"k": "v"})
    with pytest.raises(TooLarge):
        await broker.publish("large.a", b"x" * (broker.max_payload + 1))
    await broker.publish("large.a", b"x" * room, headers={"k": "v"})
    await round_trip(broker)

    assert broker.connects == 1


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b"])
async def test_a_malformed_subject_is_the_callers_fault(broker: Broker, subject: str) -> None:
    with pytest.raises(InvalidArgument):
        await broker.publish(subject, b"")


@pytest.mark.parametrize("subject", ["", "a b", "a..b", ".a", "a.", "a.>.b", "a*", "a>", "a\r\nPUB b"])
async def test_a_malformed_filter_is_refused_and_costs_no_connection(broker: Broker, subject: str) -> None:
    with pytest.raises(InvalidArgument):
        await broker.subscribe(subject, lambda _: None)
    for well_formed in ("a", "*", "a.*.c", "a.>", ">"):
        await (await broker.subscribe(well_formed, lambda _: None)).stop()
    await round_trip(broker)

    assert broker.connects == 1


async def test_what_the_server_says_of_itself_is_kept(broker: Broker) -> None:
    assert broker.up
    assert broker.connects == 1
    assert broker.connected_at is not None
    assert broker.connected_at <= time.monotonic()
    assert int(broker.server_version.split(".")[0]) >= 2
    assert broker.max_payload == 1 << 20


async def test_no_server_is_an_error_after_the_wait(free_port: Callable[[], int]) -> None:
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable, match="no broker at nats://127"):
        async with Broker.connect(f"nats://127.0.0.1:{free_port()}", name="test", inbox=INBOX, wait_seconds=0.3):
            pass

    assert time.monotonic() - began < SOON


async def test_a_program_may_start_before_its_broker(private_server: NatsServer) -> None:
    seen: list[bytes] = []
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=0) as broker:
        await broker.subscribe("early.a", lambda received: seen.append(received.data))
        with pytest.raises(BrokerUnavailable):
            await broker.publish("early.a", b"lost")
        private_server.start()
        await broker.wait_up(SOON)
        await broker.publish("early.a", b"kept")
        await eventually(lambda: seen == [b"kept"])


async def test_everything_is_back_after_the_server_was_killed(private_server: NatsServer) -> None:
    private_server.start()
    seen: list[bytes] = []
    connects: list[float] = []
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        remove = broker.on_connect(lambda: connects.append(time.monotonic()))
        await broker.subscribe("again.a", lambda received: seen.append(received.data))
        for number in range(1, 4):
            private_server.kill()
            await eventually(lambda: not broker.up)
            private_server.start()
            await broker.wait_up(SOON)
            await broker.publish("again.a", b"%d" % number)
            await eventually(lambda: seen[-1:] == [b"%d" % number])  # noqa: B023  # awaited at once
        remove()

        assert seen == [b"1", b"2", b"3"]
        assert broker.connects == len(connects) == 4


async def test_a_lost_connection_fails_what_is_in_flight_at_once(private_server: NatsServer) -> None:
    private_server.start()
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        await broker.subscribe("silent.a", lambda _: None)
        asked = asyncio.ensure_future(broker.request("silent.a", b"", seconds=60))
        await round_trip(broker)

        private_server.kill()

        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(asked, SOON)
        with pytest.raises(BrokerUnavailable):
            await broker.publish("silent.a", b"")


async def test_the_end_is_noticed_with_much_unsent(private_server: NatsServer) -> None:
    private_server.start()
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        private_server.freeze()
        for _ in range(40):
            await broker.publish("bulk.a", b"x" * (1 << 20))
        private_server.kill()

        await eventually(lambda: not broker.up, 5)
        private_server.start()
        await broker.wait_up(SOON)


async def test_a_frozen_server_is_given_up_and_taken_again(
    private_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PING_SECONDS", 0.2)
    private_server.start()
    seen: list[bytes] = []
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        await broker.subscribe("frozen.a", lambda received: seen.append(received.data))
        private_server.freeze()
        await eventually(lambda: not broker.up, 10)
        private_server.thaw()
        await broker.wait_up(SOON)
        await broker.publish("frozen.a", b"1")
        await eventually(lambda: seen == [b"1"])


async def test_an_answer_that_comes_after_it_was_given_up_ends_no_line(
    private_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_server.start()
    seen: list[bytes] = []
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        await broker.subscribe("late.a", lambda received: seen.append(received.data))
        line = broker._line
        assert line is not None
        monkeypatch.setattr(lines, "CONNECT_SECONDS", 0.2)
        private_server.freeze()
        with pytest.raises(BrokerUnavailable, match="silent"):
            await line.settle()
        private_server.thaw()

        await broker.publish("late.a", b"1")
        await eventually(lambda: seen == [b"1"])
        assert broker._line is line
        assert not line.gone.is_set()


async def test_closing_is_quick_when_the_server_is_frozen(private_server: NatsServer) -> None:
    private_server.start()
    async with Broker.connect(private_server.url, name="test", inbox=INBOX, wait_seconds=SOON) as broker:
        await broker.subscribe("any.a", lambda _: None)
        private_server.freeze()
        for _ in range(20):
            await broker.publish("bulk.a", b"x" * (1 << 20))
        began = time.monotonic()

    assert time.monotonic() - began < 15  # a broker that answers nothing is given up after 30
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if not task.done() and "onnection" in task.get_name()]


async def test_an_error_in_the_block_comes_out_as_it_is(nats_server: NatsServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Broker.connect(nats_server.url, name="test", inbox=INBOX, wait_seconds=SOON):
            raise ZeroDivisionError


async def test_a_refused_login_is_tried_again_until_it_is_taken(private_server: NatsServer) -> None:
    private_server.extra = 'authorization { user: "a", password: "old" }'
    private_server.start()
    async with Broker.connect(
        private_server.url, name="test", inbox=INBOX, user="a", password="new", wait_seconds=0
    ) as broker:
        with pytest.raises(CredentialRefused, match="refuses this credential"):
            await broker.wait_up(0.5)
        private_server.extra = 'authorization { user: "a", password: "new" }'
        private_server.reload()

        await broker.wait_up(SOON)


async def test_a_revoked_login_comes_back_when_it_is_allowed_again(private_server: NatsServer) -> None:
    allowed = 'authorization { user: "a", password: "one" }'
    private_server.extra = allowed
    private_server.start()
    seen: list[bytes] = []
    async with Broker.connect(
        private_server.url, name="test", inbox=INBOX, user="a", password="one", wait_seconds=SOON
    ) as broker:
        await broker.subscribe("back.a", lambda received: seen.append(received.data))
        private_server.extra = 'authorization { user: "a", password: "two" }'
        private_server.reload()
        await eventually(lambda: not broker.up)
        private_server.extra = allowed
        private_server.reload()
        await broker.wait_up(SOON)
        await broker.publish("back.a", b"1")

        await eventually(lambda: seen == [b"1"])


async def test_a_renewed_credential_is_used_at_the_next_connect(tmp_path: Path, free_port: Callable[[], int]) -> None:
    keyring = Keyring.open(tmp_path / "keys")
    other = Keyring.open(tmp_path / "other-keys")
    (tmp_path / "server").mkdir()
    settings = ServerSettings(directory=tmp_path / "server", port=free_port(), keyring=keyring)
    credentials = [other.hub_credential(subjects.FABRIC, "hub")]
    async with (
        EmbeddedServer(settings) as server,
        Broker.connect(
            server.url, name="hub", inbox=INBOX, credential=lambda: credentials[-1], wait_seconds=0
        ) as broker,
    ):
        with pytest.raises(CredentialRefused, match="refuses this credential"):
            await broker.wait_up(0.5)
        credentials.append(keyring.hub_credential(subjects.FABRIC, "hub"))

        await broker.wait_up(SOON)


async def test_no_credential_leaves_in_plain_text_where_tls_is_wanted(nats_server: NatsServer, tmp_path: Path) -> None:
    credential = Keyring.open(tmp_path / "keys").hub_credential(subjects.FABRIC, "hub")
    with pytest.raises(BrokerUnavailable, match="secure connection required"):
        async with Broker.connect(
            nats_server.url,
            name="hub",
            inbox=INBOX,
            credential=lambda: credential,
            tls=ssl.create_default_context(),
            wait_seconds=0.3,
        ):
            pass


async def test_a_password_in_a_url_is_not_shown(free_port: Callable[[], int]) -> None:
    with pytest.raises(BrokerUnavailable) as caught:
        async with Broker.connect(
            f"nats://me:secret@127.0.0.1:{free_port()}", name="test", inbox=INBOX, wait_seconds=0.3
        ):
            pass

    assert "secret" not in str(caught.value)


async def test_refused_subjects_are_remembered(private_server: NatsServer) -> None:
    private_server.extra = """authorization { users: [ { user: "a", password: "b",
        permissions: { publish: ["may.>"], subscribe: ["_IB.test.>"] } } ] }"""
    private_server.start()
    async with Broker.connect(
        private_server.url, name="test", inbox=INBOX, user="a", password="b", wait_seconds=SOON
    ) as broker:
        await broker.publish("must.not", b"")
        await broker.subscribe("other.a", lambda _: None)
        await eventually(lambda: len(broker.violations) == 2)

        assert "must.not" in broker.violations[0]
        assert broker.up


async def round_trip(broker: Broker) -> None:
    """Return when the server has seen what was sent before and its messages up to now were handed over."""
    inbox = broker.new_inbox()
    back = asyncio.Event()
    subscription = await broker.subscribe(inbox, lambda _: back.set())
    await broker.publish(inbox, b"")
    await asyncio.wait_for(back.wait(), SOON)
    await subscription.stop()
