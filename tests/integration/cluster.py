"""Three nats-servers of one cluster under our own keys, as an operator would run them, and a fabric on top of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.keyring import Keyring
from loominal.broker.server_config import operator_text
from loominal.broker.server_program import find_server
from loominal.fabric.runtime_file import Mode
from loominal.local.weft_api import not_ready
from tests.integration.fabric import SCALE, Fabric
from tests.patience import SOON
from tests.ports import free_port

ASK_SECONDS = 3.0


class Peer(msgspec.Struct, frozen=True):
    """A server that follows a stream; `current`: it holds all that the leader has."""

    name: str
    current: bool = False
    offline: bool = False


class Raft(msgspec.Struct, frozen=True):
    """Who keeps a stream; the leader is "" while one is elected."""

    leader: str = ""
    replicas: tuple[Peer, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """What is read of a stream's settings."""

    num_replicas: int


class StreamInfo(msgspec.Struct, frozen=True):
    """What is read of a stream."""

    config: Config
    cluster: Raft = Raft()


class Member:
    """One server of the cluster; it keeps its ports and store across `kill` and `start`."""

    def __init__(self, name: str, directory: Path, keyring: Keyring) -> None:
        self.name = name
        self.port = free_port()
        self.route_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._keyring = keyring
        self._program = find_server()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self, routes: list[str]) -> None:
        """Start the process; it listens soon."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats.conf"
        config.write_text(self._config(routes))
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, "-c", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._directory
            )

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as probe:
                return probe.recv(4) == b"INFO"
        except OSError:
            return False

    def last_words(self) -> str:
        return (self._directory / "log").read_text()[-2000:]

    def _config(self, routes: list[str]) -> str:
        return f"""\
server_name: {self.name}
listen: "127.0.0.1:{self.port}"
max_payload: 4MB
jetstream {{ store_dir: "{self._directory / "store"}", sync_interval: always, max_mem: 64MB, max_file: 1GB }}
cluster {{ name: test, listen: "127.0.0.1:{self.route_port}", routes: {routes} }}
{operator_text(self._keyring, Path("jwt"))}"""


class Cluster:
    """The servers, by name."""

    def __init__(self, directory: Path, keyring: Keyring, size: int = 3) -> None:
        names = [f"n{number}" for number in range(1, size + 1)]
        self.members = {name: Member(name, directory / name, keyring) for name in names}
        self.keyring = keyring

    @property
    def urls(self) -> str:
        return ",".join(member.url for member in self.members.values())

    def start(self, *names: str) -> None:
        """Start the named servers, or all, and return when they listen."""
        started = [self.members[name] for name in names or self.members]
        there = [member for member in self.members.values() if member in started or member.process is not None]
        routes = [f"nats://127.0.0.1:{member.route_port}" for member in there]
        for member in started:
            member.start(routes)
        until = time.monotonic() + SOON
        for member in started:
            while not member.listens():
                assert member.runs, f"{member.name} ended: {member.last_words()}"
                assert time.monotonic() < until, f"{member.name} does not listen: {member.last_words()}"
                time.sleep(0.02)

    def kill(self, *names: str) -> None:
        """Kill the named servers, or all."""
        for name in names or self.members:
            self.members[name].kill()

    async def stream(self, project: str, stream: str) -> StreamInfo | None:
        """Return who keeps a stream of a project, as whichever server answers says; None if nobody does now."""
        credential = self.keyring.hub_credential(project, "look")
        async with Broker.connect(
            self.urls,
            name="look",
            inbox=subjects.reply_prefix("look"),
            credential=lambda: credential,
            wait_seconds=SOON,
        ) as broker:
            answer = await broker.request(subjects.api("STREAM", "INFO", stream), b"", seconds=ASK_SECONDS)
        try:
            return msgspec.json.decode(answer.data, type=StreamInfo)
        except msgspec.ValidationError:  # an error, such as: no leader now
            return None


class ClusterFabric(Fabric):
    """A weft on a cluster that an operator runs with our keys."""

    def __init__(self, home: Path, size: int = 3, *, scale: float = SCALE) -> None:
        super().__init__(home, scale=scale)
        self.cluster = Cluster(home / "cluster", self.keyring, size)
        self.weft_environment = {"NATS_URL": self.cluster.urls, "LOOMINAL_MODE": Mode.EXTERNAL}

    @property
    def url(self) -> str:
        return self.cluster.urls

    def start_broker(self) -> None:
        self.cluster.start()

    def kill_broker(self) -> None:
        self.cluster.kill()

    def reasons(self) -> str:
        """Return what keeps weft from serving everybody, as it says itself."""
        return "; ".join(not_ready(self.home))

    def stop(self) -> None:
        self.kill_weft()
        self.cluster.kill()
