"""The temporary place of a demo: a directory with a fabric of its own, which starts the agents. It ends all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT, Process
from pathlib import Path

import loominal
from loominal.local.demo.plan import BROKEN_FILE, BROKEN_TEXT, PROJECT, TIMINGS_SCALE
from loominal.local.weft_api import not_ready
from loominal.model.agent import JsonObject
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
        self.journals = self.directory / "journals"
        own = {
            "LOOMINAL_HOME": str(self.home),
            "LOOMINAL_PROJECT_ID": PROJECT,
            "TMPDIR": str(self.directory),  # which every process has, also one that weft has started: the mark of ours
        }
        self.environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | own
        self._fabric: Process | None = None

    def copy_sources(self) -> None:
        """Copy this package's files, which the demo works on: an editor must not change them meanwhile."""
        package = Path(loominal.__file__).parent
        shutil.copytree(package, self.sources, ignore=shutil.ignore_patterns("__pycache__"))
        (self.sources / BROKEN_FILE).write_text(BROKEN_TEXT)
        self.journals.mkdir()

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

    def target(self, handle: str, *, lies: bool) -> JsonObject:
        """Return the configuration of the target that starts an agent: its process finds this package where it runs."""
        command = [sys.executable, "-m", WORKER, handle, str(self.directory), *(["--lies"] if lies else [])]
        return {"command": command, "cwd": str(Path(loominal.__file__).parent.parent)}

    def last_words(self, launch: str) -> str:
        """Return the last line that a launched agent has printed."""
        return _last_words(self.home / "launches" / launch / "output")

    def coordinator_words(self) -> str:
        """Return the last line of the coordinator's log."""
        return _last_words(self.home / "logs" / "weft.log")

    async def close(self) -> tuple[str, ...]:
        """End every process, remove every file, and return what is left all the same: one line each."""
        if self._fabric is not None:
            await _end(self._fabric, signal.SIGTERM, END_SECONDS)
            await self._end_agents()
            if self._processes():
                await self._force_down()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, self.directory)
        return (*self._processes().values(), *([f"directory {self.directory}"] if self.directory.exists() else []))

    async def _end_agents(self) -> None:
        """End what weft has started, which outlives it; also what was only about to start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                while agents := self._processes():
                    for pid in agents:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(LOOK_SECONDS)

    async def _force_down(self) -> None:
        """Let `loominal down` find and end what a killed supervisor left."""
        down = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loominal", "down", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
            env=self.environ, start_new_session=True,
        )  # fmt: skip
        await _end(down, signal.SIGKILL, 2 * END_SECONDS, wait_first=True)

    def _processes(self) -> dict[int, str]:
        """Return every process that has the place's directory in its command line or its environment, by its id."""
        mark, own = str(self.directory).encode(), str(os.getpid())
        found = {}
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                if path.name.isdecimal() and path.name != own:
                    command = (path / "cmdline").read_bytes()
                    if mark in command or mark in (path / "environ").read_bytes():
                        words = command.decode(errors="replace").replace(chr(0), " ")
                        found[int(path.name)] = f"process {path.name}: {words}"
        return found


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
