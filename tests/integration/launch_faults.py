"""Launches while wefts are killed and frozen at each step of them: a schedule, made from a seed, and what must hold."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from loominal.broker import subjects
from loominal.broker.log import Log
from loominal.fabric.client.agent import Agent
from loominal.model.launch import CLOSED, Launch
from loominal.model.record import decode
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.test_many_wefts import THERE, says
from tests.integration.weft_at_steps import FAULTS, STEPS, processes
from tests.integration.workshop import Workshop, open_workshop
from tests.patience import SOON

PROGRAM = Path(__file__).with_name("weft_at_steps.py")
WORKER = Path(__file__).with_name("spun_up.py")
SLEEPS_ONCE = 'if mkdir "$0" 2>/dev/null; then exec sleep 600; fi; exec "$@"'  # the first that is started never comes
LOOKED_SECONDS = 0.05
REPLACED_SECONDS = 3.0  # a frozen leader is dead to others after two
LATER = 4 * SOON  # a start that fails is tried again after five seconds, and every death of a leader costs three


@dataclass(frozen=True)
class Schedule:
    """What goes wrong: at which steps, in their order, whoever is there is killed or frozen, and for how long."""

    seed: int
    faults: tuple[tuple[str, signal.Signals], ...]
    away_seconds: float  # until a killed weft is replaced; until a frozen one, which another has replaced, goes on
    one_home: bool  # wefts share the folder of launches, as one that is started again in its home has it
    most: int  # maxConcurrent
    sleeps_once: bool

    @classmethod
    def of(cls, seed: int) -> Schedule:
        """Return the schedule of a seed: each step in turn is killed at one and frozen at in another."""
        rng = random.Random(seed)
        first = STEPS[seed % len(STEPS)]
        sent = signal.SIGKILL if seed // len(STEPS) % 2 == 0 else signal.SIGSTOP
        faults = [(first, sent)]
        later = STEPS[STEPS.index(first) + 1 :]
        if later and rng.random() < 0.4:
            faults.append((rng.choice(later), rng.choice((signal.SIGKILL, signal.SIGSTOP))))
        return cls(
            seed=seed,
            faults=tuple(faults),
            away_seconds=rng.choice((0.0, 1.0, 3.0)),
            one_home=rng.random() < 0.5,
            most=rng.choice((1, 2)),
            sleeps_once=rng.random() < 0.25,
        )


class Pair:
    """Two wefts that reach the steps of launches, kept up: what is killed is replaced, what is frozen goes on later."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.faults = fabric.home / "faults"
        self.faults.mkdir()
        (fabric.home / "launches").mkdir()
        fabric.weft_command = [sys.executable, str(PROGRAM)]
        fabric.weft_environment[FAULTS] = str(self.faults)
        self._names = (f"weft{number}" for number in count())
        self.one_home = True

    async def start(self, wefts: int = 1) -> None:
        """Start so many more, and return when they see each other."""
        names = [next(self._names) for _ in range(wefts)]
        for name in names:
            self.fabric.start_another(name)
            if self.one_home:
                (self.fabric.home / "machines" / name / "launches").symlink_to(self.fabric.home / "launches")
        for name in names:
            await says(self.fabric, name, THERE)

    def alive(self) -> dict[int, subprocess.Popen[bytes]]:
        """Return those that run or are frozen, by pid."""
        return {each.pid: each for each in self.fabric.others.values() if each.poll() is None}

    async def renew(self, *, one_home: bool) -> None:
        """Have two wefts whose folders of launches are `one_home`."""
        if one_home is not self.one_home or not self.alive():
            self.one_home = one_home
            for weft in self.alive().values():
                weft.kill()
                weft.wait()
            await self.start(2)

    def set(self, schedule: Schedule) -> None:
        """Lay the faults out."""
        for step, sent in schedule.faults:
            (self.faults / f"{step}.met").unlink(missing_ok=True)
            (self.faults / step).write_text(sent.name)

    async def see_to(self, schedule: Schedule) -> None:
        """Return when every fault was met, and whoever met it is there again."""
        async with asyncio.TaskGroup() as group:
            for step, sent in schedule.faults:
                group.create_task(self._see_to(self.faults / f"{step}.met", sent, schedule.away_seconds))

    async def _see_to(self, met: Path, sent: signal.Signals, away_seconds: float) -> None:
        await eventually(lambda: _whom(met) != "", LATER)
        weft = next(each for each in self.fabric.others.values() if str(each.pid) == _whom(met))
        if sent is signal.SIGKILL:
            await asyncio.to_thread(weft.wait, LATER)
            await asyncio.sleep(away_seconds)
            await self.start()
        else:
            await asyncio.sleep(REPLACED_SECONDS + away_seconds)
            weft.send_signal(signal.SIGCONT)

    def logs(self) -> str:
        """Return what all of them have said."""
        return "".join(log.read_text() for log in sorted(self.fabric.home.glob("machines/*/weft.log")))


def _whom(met: Path) -> str:
    """Return the pid of the weft that a fault has met, "" if it has met none."""
    said = met.read_text() if met.exists() else ""
    return said if said.isdecimal() else ""


class Watch:
    """Which processes each launch had, without those that these have started."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, set[str]] = defaultdict(set)  # by launch
        self.running: dict[
            float, list[str]
        ] = {}  # Unix time -> the launches that had a process, for each that they had

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Watch]:
        """Look again and again while the block lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()

    async def _run(self) -> None:
        while True:
            at, found = time.time(), await asyncio.to_thread(processes)
            children = {(each.launch, each.pid) for each in found}
            agents = [each for each in found if (each.launch, each.parent) not in children]
            for each in agents:
                self.seen[each.launch].add(f"{each.pid} of {each.born}")
            self.running[at] = [each.launch for each in agents]
            await asyncio.sleep(LOOKED_SECONDS)


async def hold(pair: Pair, schedule: Schedule, project: str) -> None:
    """Run a schedule in a new project, and assert all that must hold."""
    await pair.renew(one_home=schedule.one_home)
    async with open_workshop(pair.fabric, project) as workshop, Watch().looking() as watch:
        boss = await workshop.agent("boss", operator=True, capabilities=["boss"], timeout_seconds=LATER)
        command: tuple[str, ...] = (sys.executable, str(WORKER), "py")
        if schedule.sleeps_once:
            command = ("sh", "-c", SLEEPS_ONCE, str(pair.fabric.home / f"slept-{project}"), *command)
        await boss.add_target(
            name="t", agent_type="exec", capabilities=["py"], boundaries=["personal"], mechanism="local",
            config={"command": command}, max_concurrent=schedule.most,
            cooldown_seconds=0, idle_seconds=0.5, boot_timeout_seconds=8 if schedule.sleeps_once else 60,
        )  # fmt: skip
        pair.set(schedule)
        meeting = asyncio.create_task(pair.see_to(schedule))
        items = [(await boss.broadcast_work_offer(f"s{n}", capabilities=["py"])).id for n in range(3)]
        await meeting
        found = await _over(workshop, boss, items)
        await eventually(lambda: not any(processes(each.id) for each in found), LATER)
        checked = await workshop.check()
    assert {states[-1].status for states in checked.items.values()} == {"done"}
    _judge(schedule, found, watch)


async def _over(workshop: Workshop, boss: Agent, items: list[str]) -> list[Launch]:
    """Return every launch, once the work is done and they are all closed."""

    async def done() -> bool:
        return all([(await boss.get_work(item)).status == "done" for item in items])

    async def closed() -> bool:
        page = await boss.list_spin_ups(limit=100)
        return page.total > 0 and all(each.status in CLOSED for each in page.spin_ups)

    await eventually(done, LATER)
    await eventually(closed, LATER)
    log = Log(await workshop.broker(), subjects.work_stream(workshop.project))
    found = []
    for each in (await boss.list_spin_ups(limit=100)).spin_ups:
        last = await log.last(subjects.launch(workshop.project, each.id))
        assert last is not None
        found.append(decode(Launch, last.data).value)
    return found


def _judge(schedule: Schedule, found: list[Launch], watch: Watch) -> None:
    """Assert that each launch had one process at most, and there were never too many.

    While a launch is open its process counts against maxConcurrent. One of a closed launch can only come of a weft that
    was frozen, or killed, between its last look at the launch and the start: so there is one at most for each fault,
    and none where wefts share a home, for there the launch's end is marked where it would have to start.
    """
    launches = {each.id: each for each in found}
    ours = {launch: seen for launch, seen in watch.seen.items() if launch in launches}
    assert all(len(seen) == 1 for seen in ours.values()), ours
    late = set()
    for at, running in watch.running.items():
        there = [launches[each] for each in running if each in launches]
        over = {each.id for each in there if each.ended_at is not None and each.ended_at.timestamp() < at}
        late |= over
        assert len(there) - len(over) <= schedule.most
    assert len(late) <= (0 if schedule.one_home else len(schedule.faults)), late
