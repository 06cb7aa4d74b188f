"""What runs in chaos: a weft and a crew, each with a home of its own from which it reaches the broker over a line."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec

from chaos.coordinator import CLOCK_MARK
from chaos.crew import Crew, Order
from chaos.proxy import Line
from loominal.fabric.runtime_file import Mode, machine_credential_path, read_runtime, write_runtime
from tests.integration.fabric import Fabric

SHOWN = 3000  # characters of a log


class Weft:
    """A weft with a home of its own, which shares keys with the fabric and reaches its broker over `line`."""

    def __init__(self, fabric: Fabric, home: Path, line: Line) -> None:
        self.line = line
        self.weft_id = ""
        make_home(fabric, home, line.url)
        (home / "keys").symlink_to(fabric.home / "keys")
        (home / "broker").symlink_to(fabric.home / "broker")
        self._fabric = fabric
        self._home = home
        self._program = Fabric(home, scale=fabric.scale)
        self._program.weft_command = [sys.executable, "-m", "chaos.coordinator"]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs, or ran last."""
        assert self._program.weft is not None
        return self._program.weft

    @property
    def log(self) -> Path:
        """What it has said."""
        return self._program.weft_log

    def start(self) -> None:
        """Start it unless it runs; it is ready some time later."""
        if self._program.weft is not None and self._program.weft.poll() is None:
            return
        self.weft_id = f"{self._home.name}-{uuid.uuid4().hex[:8]}"
        self._program.weft_environment["LOOMINAL_WEFT_ID"] = self.weft_id
        write_runtime_file(self._fabric, self._home, self.line.url)
        self._program.start_weft(wait=False)

    async def wait_ready(self) -> None:
        """Return when it serves. Raises: AssertionError with the end of its log if it does not come to that."""
        await asyncio.to_thread(self._program.wait_ready)

    def set_clock(self) -> None:
        """Set the clock of its machine on; if that was done before, back."""
        mark = self._home / CLOCK_MARK
        mark.unlink() if mark.exists() else mark.touch()

    def kill(self) -> None:
        """End it at once."""
        self._program.kill_weft()


class CrewProcess:
    """A crew's process, over and over the same agents."""

    def __init__(self, fabric: Fabric, home: Path, line: Line, crew: Crew) -> None:
        self.line = line
        self.crew = crew
        make_home(fabric, home, line.url)
        self._log = home / "crew.log"
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._done = asyncio.Condition()
        self._orders: list[Order] = []  # not carried out yet

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that runs, or ran last."""
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def noted(self) -> int:
        """The bytes of its record: it grows with whatever its agents do."""
        record = Path(self.crew.record)
        return record.stat().st_size if record.exists() else 0

    async def start(self) -> None:
        """Start it, unless it runs, with a new life that begins with what the one before did not come to the end of."""
        async with self._starting:
            if self.alive:
                return
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "chaos.crew",
                    msgspec.json.encode(self.crew).decode(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
            self.crew = msgspec.structs.replace(self.crew, life=self.crew.life + 1)
            self._listener = asyncio.create_task(self._listen(self._process), name=f"crew {self.crew.number}")
            for order in self._orders:
                self._say(order)

    def tell(self, order: Order) -> None:
        """Give an order, to be carried out after those before."""
        self._orders.append(order)
        if self.alive:
            self._say(order)

    def _say(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")

    async def done(self) -> None:
        """Return when all orders are carried out."""
        async with self._done:
            await self._done.wait_for(lambda: not self._orders)

    async def kill(self) -> None:
        """End it at once."""
        if self.alive:
            self.process.kill()
        await self.process.wait()
        if self._listener is not None:
            await self._listener

    def complaints(self) -> str:
        """Return what it said in its log: nothing, if all is well."""
        return self._log.read_text()[-SHOWN:] if self._log.exists() else ""

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            async with self._done:
                self._orders = [order for order in self._orders if order.number > int(line)]
                self._done.notify_all()


def make_home(fabric: Fabric, home: Path, url: str) -> None:
    """Make `home` one from which agents reach the fabric at `url`."""
    home.mkdir()
    shutil.copy(machine_credential_path(fabric.home), machine_credential_path(home))
    write_runtime_file(fabric, home, url)


def write_runtime_file(fabric: Fabric, home: Path, url: str) -> None:
    """Let programs of `home` find the fabric at `url`, without credentials if its broker has none."""
    runtime = read_runtime(fabric.home)
    assert runtime is not None
    mode = runtime.mode if fabric.broker_settings.keyring else Mode.OPEN
    write_runtime(home, msgspec.structs.replace(runtime, mode=mode, url=url))
