"""The embedded broker: one nats-server process. The supervisor of a local fabric runs it, and so do tests."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from typing import IO, TYPE_CHECKING, Self

import msgspec

from loominal.broker.secret_file import replace_secret
from loominal.broker.server_config import ServerSettings, config_text
from loominal.broker.server_program import find_server
from loominal.model.errors import BrokerUnavailable, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_SECONDS = 60.0  # a store of many GiB is read before the broker listens
STOP_SECONDS = 10.0  # it ends in 0.1 s; a frozen one never does
LOOK_SECONDS = 0.02  # between two looks whether it listens
LOG_LINES = 5  # of its last words in an error
LOG_BYTES = 4096


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of the broker's greeting."""

    jetstream: bool = False


class EmbeddedServer:
    """A nats-server process: `async with EmbeddedServer(settings) as server` starts it, waits for it, and ends it.

    Ctrl-C in a terminal does not reach it, and it outlives a starter that was killed: a second server on its directory
    is refused as long as it lives. Entering raises BrokerUnavailable with its last log lines if it does not come up,
    InvalidArgument for a directory that cannot be used, NotFound or UpgradeNeeded if there is no fit program.
    """

    process: asyncio.subprocess.Process

    def __init__(self, settings: ServerSettings, program: Path | None = None) -> None:
        self.settings = settings
        self._program = program

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.settings.url

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    async def __aenter__(self) -> Self:
        program = self._program
        if program is None:
            program = await asyncio.to_thread(find_server)
        log_from = await self._spawn(program)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._listening(log_from)
        except TimeoutError as error:
            await self.stop()
            raise self._failed("is not up yet", log_from) from error
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait(self) -> int:
        """Return the exit code of the process (negative: the signal that ended it), once it has ended."""
        return await self.process.wait()

    async def stop(self) -> int:
        """End the process, by force after 10 s, and return its exit code."""
        try:
            self._send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self.process.wait()
        finally:
            self.kill()
        return await self.process.wait()

    def kill(self) -> None:
        """End the process as a crash would."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def _spawn(self, program: Path) -> int:
        """Start the process and return where in the log its words begin. Raises: InvalidArgument, BrokerUnavailable."""
        with contextlib.ExitStack() as files:
            try:
                config, log, lock = _prepared(self.settings, files)
                log_from = log.tell()  # before the start: the process shares the position, and moves it
                self.process = await asyncio.create_subprocess_exec(
                    program, "-c", config,
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock.fileno(),),
                    env={}, start_new_session=True,
                )  # fmt: skip
                return log_from
            except OSError as error:
                raise InvalidArgument(f"cannot start a broker in {self.settings.directory}: {error}") from error

    async def _listening(self, log_from: int) -> None:
        """Return when this very process listens with JetStream. Raises: BrokerUnavailable."""
        while not _says_listening(self.settings, self.pid):
            if self.process.returncode is not None:
                raise self._failed(f"ended with exit code {self.process.returncode}", log_from)
            await asyncio.sleep(LOOK_SECONDS)
        if not (await _greeting(self.settings)).jetstream:
            raise self._failed("runs without JetStream", log_from)

    def _failed(self, what: str, log_from: int) -> BrokerUnavailable:
        words = " | ".join(_last_words(self.settings.log, log_from)) or "it logged nothing"
        return BrokerUnavailable(f"the broker {what}: {words}", f"its log is {self.settings.log}")


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _prepared(settings: ServerSettings, files: contextlib.ExitStack) -> tuple[Path, IO[bytes], IO[bytes]]:
    """Return the configuration's path, the open log, and the locked file that the process keeps open while it lives."""
    for folder in (settings.directory, settings.resolver, settings.ports):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = files.enter_context((settings.directory / "lock").open("ab"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BrokerUnavailable(f"a broker runs on {settings.directory} already", "end that one first") from error
    for stale in settings.ports.iterdir():
        stale.unlink()
    config = settings.directory / "nats.conf"
    replace_secret(config, config_text(settings))
    settings.log.touch(mode=0o600)
    return config, files.enter_context(settings.log.open("ab")), lock


def _says_listening(settings: ServerSettings, pid: int) -> bool:
    """Return whether the process has written where it listens; unlike an open port that cannot be another's."""
    return any(path.stat().st_size for path in settings.ports.glob(f"*_{pid}.ports"))


async def _greeting(settings: ServerSettings) -> _Info:
    """Return what the broker says to whoever connects. Raises: BrokerUnavailable."""
    try:
        reader, writer = await asyncio.open_connection(settings.reached, settings.port)
        try:
            return msgspec.json.decode((await reader.readline()).removeprefix(b"INFO "), type=_Info)
        finally:
            writer.close()
    except (OSError, ValueError, msgspec.DecodeError) as error:  # ValueError: a line without an end
        raise BrokerUnavailable(f"the broker does not greet: {error}", f"its log is {settings.log}") from error


def _last_words(log: Path, start: int) -> list[str]:
    """Return the last lines of the log from byte `start` on."""
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(min(start, end), end - LOG_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
