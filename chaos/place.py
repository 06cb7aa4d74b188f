"""The processes of one run: broker, wefts and crews, each behind a line of its own, and what befalls them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from chaos.crew import Crew, Deed, Order
from chaos.faults import Fault, Target, Way
from chaos.proxy import Line
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.hub.lead.leadership import LeaderRecord
from loominal.fabric.runtime_file import machine_credential_path, read_runtime, write_runtime
from loominal.model import record
from loominal.model.errors import LoominalError
from tests.integration.fabric import Fabric

REPEATED_SHARE = 0.3  # of requests, while they are sent twice
SLOW_SECONDS = 0.15
LEAVE_SECONDS = 10.0
LOOK_SECONDS = 1.0  # for who leads
STOP_SECONDS = 30.0  # a weft ends sooner by itself, whatever hangs
SHOWN = 3000  # characters of a log
BUG = re.compile(r" (ERROR|CRITICAL) |Traceback|Error: ")


class Weft:
    """A weft with a home of its own, which shares keys with the fabric and reaches its broker over `line`."""

    def __init__(self, fabric: Fabric, home: Path, line: Line) -> None:
        self.line = line
        self.weft_id = ""
        home.mkdir()
        (home / "keys").symlink_to(fabric.home / "keys")
        (home / "broker").symlink_to(fabric.home / "broker")
        shutil.copy(machine_credential_path(fabric.home), machine_credential_path(home))
        self._fabric = fabric
        self._home = home
        self._program = Fabric(home, scale=fabric.scale)

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
        write_home(self._fabric, self._home, self.line)
        self._program.start_weft(wait=False)

    async def wait_ready(self) -> None:
        """Return when it serves. Raises: AssertionError with the end of its log if it does not come to that."""
        await asyncio.to_thread(self._program.wait_ready)

    def kill(self) -> None:
        """End it at once."""
        self._program.kill_weft()


class CrewProcess:
    """A crew's process, over and over the same agents."""

    def __init__(self, fabric: Fabric, home: Path, line: Line, crew: Crew) -> None:
        self.line = line
        self.crew = crew
        home.mkdir()
        shutil.copy(machine_credential_path(fabric.home), machine_credential_path(home))
        write_home(fabric, home, line)
        self._log = home / "crew.log"
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._done = asyncio.Condition()
        self._last_done = 0
        self._told = 0

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that runs, or ran last."""
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it with a new life; nothing is asked of it any more that it was told before."""
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
        self._last_done = self._told
        self._listener = asyncio.create_task(self._listen(self._process), name=f"crew {self.crew.number}")

    def tell(self, order: Order) -> None:
        """Give an order, to be carried out after those before."""
        if self.alive and self.process.stdin is not None:
            self._told = order.number
            self.process.stdin.write(msgspec.json.encode(order) + b"\n")

    async def done(self) -> None:
        """Return when all orders are carried out."""
        async with self._done:
            await self._done.wait_for(lambda: self._last_done >= self._told)

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
                self._last_done = int(line)
                self._done.notify_all()


class Place:
    """Everything that runs, and what can be done to it."""

    def __init__(self, fabric: Fabric, project: str, wefts: list[Weft], crews: list[CrewProcess]) -> None:
        self.fabric = fabric
        self.project = project
        self.wefts = wefts
        self.crews = crews
        self._complaints: list[str] = []

    @property
    def lines(self) -> list[Line]:
        """The lines of all processes."""
        return [weft.line for weft in self.wefts] + [crew.line for crew in self.crews]

    async def start(self) -> None:
        """Start everything; return when work can begin."""
        for weft in self.wefts:
            weft.start()
        for weft in self.wefts:
            await weft.wait_ready()
        for crew in self.crews:
            await crew.start()

    async def befall(self, fault: Fault) -> None:
        """Let the fault happen; return when it is over, and what it killed has been started again."""
        if fault.target is Target.LEADER:
            leader = await self._leader()
            number = next((at for at, weft in enumerate(self.wefts) if weft.weft_id == leader), fault.number)
            fault = msgspec.structs.replace(fault, target=Target.WEFT, number=number)
        lines = self._lines(fault)
        match fault.way:
            case Way.KILL:
                await self._kill(fault)
            case Way.STOP:
                await self._stop(fault)
            case Way.FREEZE:
                with self._frozen(fault):
                    await asyncio.sleep(fault.seconds)
            case Way.CUT:
                for line in lines:
                    line.cut()
            case _:
                for line in lines:
                    _spoil(line, fault.way)
                await asyncio.sleep(fault.seconds)
                for line in lines:
                    line.mend()

    async def _leader(self) -> str:
        """Return the id of the weft that leads; "" if that is not to be had while something else goes wrong."""
        with contextlib.suppress(TimeoutError, LoominalError):
            async with asyncio.timeout(LOOK_SECONDS), self.hub_rights() as broker:
                log = Log(broker, subjects.work_stream(self.project))
                if last := await log.last(subjects.leader(self.project)):
                    return record.decode(LeaderRecord, last.data).value.weft
        return ""

    def _lines(self, fault: Fault) -> list[Line]:
        match fault.target:
            case Target.AGENTS:
                return [self.crews[fault.number].line]
            case Target.WEFT:
                return [self.wefts[fault.number].line]
            case _ if fault.way is Way.REPEAT:
                return [crew.line for crew in self.crews]
            case _:
                return self.lines

    async def _kill(self, fault: Fault) -> None:
        match fault.target:
            case Target.AGENTS:
                await self.crews[fault.number].kill()
                await asyncio.sleep(fault.seconds)
                await self.crews[fault.number].start()
            case Target.WEFT:
                self.wefts[fault.number].kill()
                await asyncio.sleep(fault.seconds)
                self.wefts[fault.number].start()
            case _:
                self.fabric.kill_broker()
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(self.fabric.start_broker)

    async def _stop(self, fault: Fault) -> None:
        weft = self.wefts[fault.number]
        weft.process.terminate()
        status = await asyncio.to_thread(weft.process.wait, STOP_SECONDS)
        if status > 0:  # a signal is another fault's, or came before it had even begun
            self._complaints.append(f"weft {fault.number}, told to stop, ended with status {status}")
        await asyncio.sleep(fault.seconds)
        weft.start()

    @contextlib.contextmanager
    def _frozen(self, fault: Fault) -> Iterator[None]:
        broker = self.fabric.broker
        assert broker is not None
        match fault.target:
            case Target.AGENTS:
                frozen = [self.crews[fault.number].process.pid]
            case Target.WEFT:
                frozen = [self.wefts[fault.number].process.pid]
            case Target.BROKER:
                frozen = [broker.pid]
            case _:
                frozen = [broker.pid, *(weft.process.pid for weft in self.wefts)]
                frozen += [crew.process.pid for crew in self.crews]
        _signal(frozen, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(frozen, signal.SIGCONT)

    def ended(self) -> list[str]:
        """Return which processes have ended by themselves."""
        wefts = [f"weft: {weft.log.read_text()[-SHOWN:]}" for weft in self.wefts if weft.process.poll() is not None]
        crews = [f"crew {crew.crew.number}: {crew.complaints()}" for crew in self.crews if not crew.alive]
        return [f"ended by itself: {each}" for each in wefts + crews]

    def complaints(self) -> list[str]:
        """Return what the processes did or logged that nothing excuses."""
        wefts = [line for weft in self.wefts for line in weft.log.read_text().splitlines() if BUG.search(line)]
        crews = [said for crew in self.crews if (said := crew.complaints())]
        return [*self._complaints, *(f"logged: {each}" for each in wefts + crews)]

    @contextlib.asynccontextmanager
    async def hub_rights(self) -> AsyncIterator[Broker]:
        """Yield a connection of our own that may read the logs."""
        name = f"chaos-{uuid.uuid4().hex[:8]}"
        credential = self.fabric.keyring.hub_credential(self.project, name)
        inbox = subjects.reply_prefix(name)
        async with Broker.connect(
            self.fabric.url, name=name, inbox=inbox, credential=lambda: credential, wait_seconds=20
        ) as broker:
            yield broker

    async def leave(self) -> None:
        """Let the crews leave in peace."""
        for crew in self.crews:
            crew.tell(Order(deed=Deed.LEAVE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.gather(*(crew.process.wait() for crew in self.crews))


@contextlib.asynccontextmanager
async def open_place(directory: Path, seed: int, *, wefts: int, crews: int, agents: int) -> AsyncIterator[Place]:
    """Yield a fabric of its own in `directory`, started; all of it ends with the block."""
    fabric = Fabric(directory / "fabric")
    project = f"chaos-{seed}"
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(fabric.stop)
        await asyncio.to_thread(fabric.start_broker)

        async def line(name: str) -> Line:
            return await stack.enter_async_context(Line(fabric.broker_settings.port, f"{seed} {name}").running())

        coordinators = [Weft(fabric, directory / f"weft-{each}", await line(f"weft {each}")) for each in range(wefts)]
        ids = [
            [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed} {crew} {each}")) for each in range(agents)]
            for crew in range(crews)
        ]
        processes = [
            CrewProcess(
                fabric,
                directory / f"crew-{number}",
                await line(f"crew {number}"),
                Crew(
                    seed=seed,
                    number=number,
                    life=0,
                    project=project,
                    home=str(directory / f"crew-{number}"),
                    record=str(directory / f"record-{number}.jsonl"),
                    agents=mine,
                    peers=[agent for each in ids for agent in each],
                ),
            )
            for number, mine in enumerate(ids)
        ]
        place = Place(fabric, project, coordinators, processes)
        try:
            await place.start()
            yield place
        finally:
            for weft in coordinators:
                weft.kill()
            for crew in processes:
                if crew.alive:
                    await crew.kill()


def write_home(fabric: Fabric, home: Path, line: Line) -> None:
    """Make `home` one from which the fabric is reached over `line`."""
    runtime = read_runtime(fabric.home)
    assert runtime is not None
    write_runtime(home, msgspec.structs.replace(runtime, url=line.url))


def _spoil(line: Line, way: Way) -> None:
    match way:
        case Way.STALL:
            line.stall()
        case Way.SWALLOW:
            line.swallow()
        case Way.SLOW:
            line.delay_seconds = SLOW_SECONDS
        case _:
            line.repeats = REPEATED_SHARE


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
