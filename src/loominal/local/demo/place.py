"""The temporary place of a demo: a directory with a fabric of its own, and the agents' processes. It ends all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

import msgspec

import loominal
from loominal.local.demo.journal import Entry
from loominal.local.demo.plan import BROKEN_FILE, BROKEN_TEXT, PROJECT, TIMINGS_SCALE
from loominal.local.weft_api import not_ready
from loominal.model.errors import BrokerUnavailable, LoominalError

WORKER = "loominal.local.demo.worker"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH")
LOOK_SECONDS = 0.1
READY_SECONDS = 40.0  # `loominal up` gives up by itself before, and says why
END_SECONDS = 20.0  # weft takes up to five, the broker up to ten
KILL_SECONDS = 5.0


class Place:
    """Where a demo happens. `close` must be awaited, whatever happened before."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="loominal-demo-"))
        self.sources = self.directory / "sources"
        self.home = self.directory / "home"
        own = {"LOOMINAL_HOME": str(self.home), "LOOMINAL_PROJECT_ID": PROJECT}
        self.environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | own
        self._fabric: Process | None = None
        self._agents: dict[str, Process] = {}
        self._readers: list[asyncio.Task[None]] = []

    def copy_sources(self) -> None:
        """Copy this package's files, which the demo works on: an editor must not change them meanwhile."""
        package = Path(loominal.__file__).parent
        shutil.copytree(package, self.sources, ignore=shutil.ignore_patterns("__pycache__"))
        (self.sources / BROKEN_FILE).write_text(BROKEN_TEXT)

    async def start_fabric(self) -> None:
        """Start `loominal up` and return when it serves. Raises: BrokerUnavailable with its last word."""
        log_path = self.directory / "up.log"
        with log_path.open("wb") as output:
            self._fabric = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "loominal", "up", stdin=DEVNULL, stdout=output, stderr=STDOUT, cwd=self.directory,
                env=self.environ | {"LOOMINAL_TIMINGS_SCALE": f"{TIMINGS_SCALE:g}"}, start_new_session=True,
            )  # fmt: skip
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while self._fabric.returncode is None:
                    if not await asyncio.to_thread(not_ready, self.home):
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        raise BrokerUnavailable(f"the demo's fabric does not serve: {_verdict(log_path)}", "try `loominal doctor`")

    async def start_agent(self, handle: str, hear: Callable[[Entry], None], *, lies: bool = False) -> None:
        """Start the process of an agent; `hear` is called with every entry of its journal."""
        with self._words_of(handle).open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", WORKER, handle, str(self.sources), *(["--lies"] if lies else []),
                stdin=PIPE, stdout=PIPE, stderr=errors, cwd=self.directory, env=self.environ, start_new_session=True,
            )  # fmt: skip
        self._agents[handle] = process
        self._readers.append(asyncio.create_task(_read(process, hear), name=f"journal of {handle}"))

    def kill(self, handle: str) -> None:
        """Kill an agent's process as hard as can be."""
        self._agents[handle].kill()

    def ended(self) -> dict[str, int]:
        """Return the exit codes of the agents that have ended."""
        return {
            handle: process.returncode for handle, process in self._agents.items() if process.returncode is not None
        }

    def last_words(self, handle: str) -> str:
        """Return the last line that an agent wrote to its standard error."""
        return _last_words(self._words_of(handle))

    def coordinator_words(self) -> str:
        """Return the last line of the coordinator's log."""
        return _last_words(self.home / "logs" / "weft.log")

    async def close(self) -> tuple[str, ...]:
        """End every process, remove every file, and return what is left all the same: one line each."""
        for process in self._agents.values():
            await _end(process, signal.SIGKILL, KILL_SECONDS)
        await asyncio.gather(*self._readers)
        if self._fabric is not None:
            await _end(self._fabric, signal.SIGTERM, END_SECONDS)
            if self._processes():
                await self._force_down()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, self.directory)
        return (*self._processes(), *([f"directory {self.directory}"] if self.directory.exists() else []))

    async def _force_down(self) -> None:
        """Let `loominal down` find and end what a killed supervisor left."""
        down = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loominal", "down", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
            env=self.environ, start_new_session=True,
        )  # fmt: skip
        await _end(down, signal.SIGKILL, 2 * END_SECONDS, wait_first=True)

    def _processes(self) -> list[str]:
        """Return every process that has the place's directory in its command line or its environment."""
        mark, own = str(self.directory).encode(), str(os.getpid())
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                if path.name.isdecimal() and path.name != own:
                    command = (path / "cmdline").read_bytes()
                    if mark in command or mark in (path / "environ").read_bytes():
                        found.append(f"process {path.name}: {command.decode(errors='replace').replace(chr(0), ' ')}")
        return found

    def _words_of(self, handle: str) -> Path:
        return self.directory / f"{handle}.log"


async def _read(process: Process, hear: Callable[[Entry], None]) -> None:
    """Read a journal to its end. A killed agent's last line may be half a line."""
    assert process.stdout is not None
    async for line in process.stdout:
        with contextlib.suppress(msgspec.DecodeError):
            hear(msgspec.json.decode(line, type=Entry))


async def _end(process: Process, number: signal.Signals, seconds: float, *, wait_first: bool = False) -> None:
    """End a process of ours and its group, by force after `seconds`. Raises: LoominalError if it cannot be ended."""
    numbers = (None if wait_first else number, signal.SIGKILL)
    for each in numbers:
        if process.returncode is not None:
            return
        if each is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, each)  # it leads its own session
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
    if process.returncode is None:
        raise LoominalError(f"process {process.pid} cannot be ended", "look what it is")


def _verdict(path: Path) -> str:
    """Return why `loominal up` gave up; the line after it names logs, which are gone when somebody reads this."""
    lines = path.read_text(errors="replace").splitlines()
    return next((line.removeprefix("loominal: ") for line in lines if line.startswith("loominal: ")), _last_words(path))


def _last_words(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return next((line.strip() for line in reversed(lines) if any(map(str.isalpha, line))), "it said nothing")
