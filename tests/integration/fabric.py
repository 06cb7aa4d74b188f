"""A whole fabric of processes that a test may kill, freeze and start again, and agents in it.

Nothing supervises these processes: what dies stays dead until the test starts it. `loominal up` has tests of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from loominal.broker.keyring import Keyring
from loominal.broker.server_config import ServerSettings, config_text
from loominal.broker.server_program import find_server
from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect
from loominal.fabric.runtime_file import Mode, Runtime, machine_credential_path, read_runtime, update_runtime
from tests.freezing import freeze
from tests.patience import SOON
from tests.ports import free_port

SCALE = 0.1  # of every lease, grace and backoff, where a test waits for many of them
FAST = 0.3  # where it waits for some: whoever stands still for 5 s keeps its claims
AS_SHIPPED = 1.0  # where it waits for none
REMOTE = Path(__file__).with_name("remote_agent.py")
Json = Any  # Any: what a remote agent answers is JSON


class Fabric:
    """nats-server and weft under our own keys, in `home`. A new project for each test keeps tests apart."""

    def __init__(self, home: Path, *, scale: float = SCALE, store: Path | None = None, max_file_bytes: int = 1 << 30):
        self.home = home
        self.scale = scale
        self.keyring = Keyring.open(home / "keys")
        self.broker_settings = ServerSettings(
            directory=store or home / "broker", port=free_port(), keyring=self.keyring, max_file_bytes=max_file_bytes
        )
        self.weft_environment: dict[str, str] = {}
        self.weft_command = [sys.executable, "-m", "loominal.weft.main"]
        self.broker: subprocess.Popen[bytes] | None = None
        self.weft: subprocess.Popen[bytes] | None = None
        self.others: dict[str, subprocess.Popen[bytes]] = {}  # wefts beside that one, by name
        if not machine_credential_path(home).exists():
            self.keyring.machine_credential("test-machine").write(machine_credential_path(home))

    @property
    def url(self) -> str:
        return self.broker_settings.url

    def start(self) -> None:
        self.start_broker()
        self.start_weft()

    def start_broker(self) -> None:
        settings = self.broker_settings
        for folder in (settings.directory, settings.resolver, settings.ports):
            folder.mkdir(parents=True, exist_ok=True)
        config = settings.directory / "nats.conf"
        config.write_text(self.broker_config())
        with settings.log.open("ab") as log:
            self.broker = subprocess.Popen(
                [find_server(), "-c", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        broker = self.broker
        _wait(lambda: any(settings.ports.glob(f"*_{broker.pid}.ports")), "the broker does not listen", settings.log)
        runtime = Runtime(mode=Mode.EMBEDDED, url=settings.url, nats_pid=broker.pid, started_at=datetime.now(UTC))
        update_runtime(self.home, lambda _: runtime)

    def broker_config(self) -> str:
        """Return the broker's configuration at its next start: the shipped one."""
        return config_text(self.broker_settings)

    def start_weft(self, *, wait: bool = True) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LOOMINAL_HOME": str(self.home),
            "LOOMINAL_TIMINGS_SCALE": str(self.scale),
            "API_PORT": str(free_port()),
            **self.weft_environment,
        }
        with self.weft_log.open("ab") as log:
            self.weft = subprocess.Popen(
                self.weft_command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        if wait:
            self.wait_ready()

    def start_another(self, name: str, source: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a weft as on another machine, with a copy of the keys; `name` is its id, `source` its code."""
        home = self.home / "machines" / name
        home.mkdir(parents=True)
        shutil.copytree(self.home / "keys", home / "keys")
        shutil.copy(machine_credential_path(self.home), machine_credential_path(home))
        shutil.copy(self.home / "fabric.json", home / "fabric.json")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LOOMINAL_HOME": str(home),
            "LOOMINAL_WEFT_ID": name,
            "LOOMINAL_TIMINGS_SCALE": str(self.scale),
            "API_PORT": str(free_port()),
            **({"PYTHONPATH": str(source)} if source else {}),
            **self.weft_environment,
        }
        with (home / "weft.log").open("ab") as log:
            process = subprocess.Popen(
                self.weft_command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )
        self.others[name] = process
        return process

    def wait_ready(self) -> None:
        """Return when weft serves."""
        import urllib.error
        import urllib.request

        def ready() -> bool:
            runtime = read_runtime(self.home)
            if self.weft is None or runtime is None or runtime.weft_pid != self.weft.pid or not runtime.api_url:
                return False
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{runtime.api_url}/ready", timeout=2) as answer,
            ):
                return bool(answer.status == 200)
            return False

        _wait(ready, "weft is not ready", self.weft_log)

    @property
    def weft_log(self) -> Path:
        return self.home / "weft.log"

    def kill_broker(self) -> None:
        _end(self.broker)

    def kill_weft(self) -> None:
        _end(self.weft)

    def stop(self) -> None:
        for process in (self.weft, *self.others.values(), self.broker):
            _end(process)

    def freeze(self, *processes: subprocess.Popen[bytes] | None) -> None:
        for process in processes:
            assert process is not None
            freeze(process.pid)

    def thaw(self, *processes: subprocess.Popen[bytes] | None) -> None:
        for process in processes:
            assert process is not None
            process.send_signal(signal.SIGCONT)

    def drop_store(self) -> None:
        """Remove everything the broker has stored; it must not run."""
        shutil.rmtree(self.broker_settings.store)

    @contextlib.asynccontextmanager
    async def connect(self, handle: str | None = None, *, project: str, **registration: Any) -> AsyncIterator[Agent]:
        """Yield an agent in this process; it is registered unless it names no capabilities and no type."""
        # Any: whatever `connect` takes
        async with connect(handle, project=project, home=self.home, **registration) as agent:
            yield agent

    @contextlib.contextmanager
    def spawn(self, handle: str, *, project: str, **registration: Json) -> Iterator[RemoteAgent]:
        """Yield an agent that is a process of its own."""
        agent = RemoteAgent(self.home, {"handle": handle, "project": project, **registration})
        try:
            yield agent
        finally:
            agent.end()


class RemoteAgent:
    """An agent in its own process, told what to call over a pipe."""

    def __init__(self, home: Path, settings: dict[str, Json]) -> None:
        self.settings = settings
        self._waiting: dict[str, Json] = {}
        self._log = home / f"agent-{settings['handle']}-{uuid4().hex[:6]}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, REMOTE, json.dumps({"home": str(home), **settings})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    async def call(self, operation: str, *, seconds: float = 2 * SOON, **arguments: Json) -> Json:
        """Return what the agent's method answered, as JSON; an error it raised is `{"error": {...}}`."""
        return await self.answer(self.ask(operation, **arguments), seconds=seconds)

    def ask(self, operation: str, **arguments: Json) -> str:
        """Let the agent call a method; `answer` returns what came of it."""
        number = uuid4().hex
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": number, "call": operation, "args": arguments}).encode() + b"\n")
        self.process.stdin.flush()
        return number

    async def answer(self, number: str, *, seconds: float = 2 * SOON) -> Json:
        """Return the answer to what was asked."""
        async with asyncio.timeout(seconds):
            while number not in self._waiting:
                line = await asyncio.to_thread(self._line)
                assert line, f"the agent ended: {self._log.read_text()[-2000:]}"
                said = json.loads(line)
                self._waiting[said["id"]] = said["answer"]
        return self._waiting.pop(number)

    async def ready(self) -> Json:
        """Return the agent's guid once it is connected and registered."""
        return (await self.answer("ready"))["guid"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        freeze(self.process.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End the process; its pipes are closed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


def _wait(holds: Any, why: str, log: Path) -> None:  # Any: a function of no arguments
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until, f"{why}: {log.read_text()[-3000:] if log.exists() else ''}"
        time.sleep(0.02)
