"""The processes of one run: broker, wefts and crews, and what befalls them and their lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from chaos.crew import Crew, Deed, Order
from chaos.faults import Fault, Target, Way
from chaos.processes import SHOWN, CrewProcess, Weft, make_home
from chaos.proxy import Line
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log
from loominal.fabric.hub.lead.leadership import LeaderRecord
from loominal.model import record
from loominal.model.errors import LoominalError
from tests.integration.fabric import Fabric

REPEATED_SHARE = 0.3  # of requests, while they are sent twice
SLOW_SECONDS = 0.15
STEADY_SECONDS = 0.06  # on the steady crew's line: a new leader hears its heartbeats later than it begins to judge
CRASH_SECONDS = 0.5  # for which a line is slow before the process behind it is killed
LEAVE_SECONDS = 10.0
LOOK_SECONDS = 1.0  # for who leads
STOP_SECONDS = 30.0  # a weft ends sooner by itself, whatever hangs
LEFT = "is left to whoever comes"
BUG = re.compile(r" (ERROR|CRITICAL) |Traceback|Error: ")


class Place:
    """Everything that runs, and what can be done to it."""

    def __init__(
        self, fabric: Fabric, project: str, wefts: list[Weft], crews: list[CrewProcess], probe_home: Path
    ) -> None:
        self.fabric = fabric
        self.project = project
        self.probe_home = probe_home  # from which the fabric is reached directly
        self.wefts = wefts
        self.crews = crews
        self._complaints: list[str] = []
        self._starting = asyncio.Lock()  # the broker

    @property
    def lines(self) -> list[Line]:
        """The lines of all processes that faults befall."""
        return [weft.line for weft in self.wefts] + self._crew_lines

    @property
    def _crew_lines(self) -> list[Line]:
        return [crew.line for crew in self.crews[:-1]]

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
            case Way.CRASH:
                for line in lines:
                    line.delay_seconds = SLOW_SECONDS
                await asyncio.sleep(CRASH_SECONDS)
                await self._kill(fault)
                for line in lines:
                    line.delay_seconds = 0.0
            case Way.STOP:
                await self._stop(fault)
            case Way.FREEZE:
                with self._frozen(fault):
                    await asyncio.sleep(fault.seconds)
            case Way.JUMP:
                self.wefts[fault.number].set_clock()
            case Way.CUT:
                for line in lines:
                    line.cut()
            case _:
                for line in lines:
                    _spoil(line, fault.way)
                await asyncio.sleep(fault.seconds)
                for line in lines:
                    line.mend()

    def harmed_by(self, fault: Fault) -> frozenset[int]:
        """Return the crews whose heartbeats the fault keeps away."""
        if fault.way in (Way.REPEAT, Way.SLOW) or fault.target not in (Target.AGENTS, Target.CREWS, Target.ALL):
            return frozenset()
        if fault.target is Target.AGENTS:
            return frozenset({fault.number})
        return frozenset(range(len(self.crews) if fault.way in (Way.KILL, Way.CRASH) else len(self.crews) - 1))

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
                return self._crew_lines[fault.number : fault.number + 1]
            case Target.WEFT:
                return [self.wefts[fault.number].line]
            case _ if fault.way is Way.REPEAT:
                return self._crew_lines
            case _:
                return self.lines

    async def _kill(self, fault: Fault) -> None:
        """Kill whatever the fault is about at once, and start it again."""
        whole = fault.target is Target.ALL
        wefts = self.wefts if whole else [self.wefts[fault.number]] if fault.target is Target.WEFT else []
        crews = self.crews if whole or fault.target is Target.CREWS else []
        crews = [self.crews[fault.number]] if fault.target is Target.AGENTS else crews
        broker = whole or fault.target is Target.BROKER
        if broker:
            async with self._starting:  # one that another fault is starting comes up first
                self.fabric.kill_broker()
        for weft in wefts:
            weft.kill()
        await asyncio.gather(*(crew.kill() for crew in crews))
        await asyncio.sleep(fault.seconds)
        if broker:
            await self._start_broker()
        for weft in wefts:
            weft.start()
        for crew in crews:
            await crew.start()

    async def _start_broker(self) -> None:
        async with self._starting:
            if self.fabric.broker is None or self.fabric.broker.poll() is not None:
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
                frozen += [crew.process.pid for crew in self.crews[:-1]]
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

    def left(self) -> int:
        """Return how often a weft left the project because nobody used it."""
        return sum(weft.log.read_text().count(LEFT) for weft in self.wefts)

    def complaints(self) -> list[str]:
        """Return what the processes did or logged that nothing excuses."""
        wefts = [line for weft in self.wefts for line in weft.log.read_text().splitlines() if BUG.search(line)]
        crews = [said for crew in self.crews if (said := crew.complaints())]
        return [*self._complaints, *(f"logged: {each}" for each in wefts + crews)]

    @contextlib.asynccontextmanager
    async def hub_rights(self) -> AsyncIterator[Broker]:
        """Yield a connection of our own that may read the logs."""
        name = f"chaos-{uuid.uuid4().hex[:8]}"
        keyring = self.fabric.broker_settings.keyring
        credential = keyring.hub_credential(self.project, name) if keyring else None
        async with Broker.connect(
            self.fabric.url,
            name=name,
            inbox=subjects.reply_prefix(name),
            credential=(lambda: credential) if credential else None,
            wait_seconds=20,
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
async def open_place(
    directory: Path, seed: int, *, wefts: int, crews: int, agents: int, without_keys: bool
) -> AsyncIterator[Place]:
    """Yield a fabric of its own in `directory`, started; all of it ends with the block.

    The last crew is the steady one. `without_keys`: the broker knows no operator, everything is on trust.
    """
    fabric = Fabric(directory / "fabric")
    if without_keys:
        fabric.broker_settings = msgspec.structs.replace(fabric.broker_settings, keyring=None)
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
        probe_home = directory / "probe"
        make_home(fabric, probe_home, fabric.url)
        processes[-1].line.delay_seconds = STEADY_SECONDS
        place = Place(fabric, project, coordinators, processes, probe_home)
        try:
            await place.start()
            yield place
        finally:
            for weft in coordinators:
                weft.kill()
            for crew in processes:
                if crew.alive:
                    await crew.kill()


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
