"""`python -m bench.soak.run`: agents live for some minutes; then it says of each quantity whether it is flat.

What the store keeps needs memory, so weft's and the broker's grow with it. Whether they need more than that is seen at
the end: both are started again on the same store, and what they need then is set against what they needed before.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench.process import resident_megabytes
from bench.soak import sample
from bench.soak.agents import Orders, Said
from bench.soak.sample import Quantity
from bench.soak.trend import Trend, trend
from bench.soak.weft import Inside
from loominal.broker import subjects
from loominal.broker.connection import Broker
from tests.integration.fabric import Fabric

PROCESSES = 5  # of agents; the last one is killed and started again, over and over
KILL_SECONDS = 60.0
SAMPLE_SECONDS = 10.0
ANSWER_SECONDS = 30.0
CALM_SECONDS = 20.0  # after a start: memory has settled
LEAKED_SHARE = 1.25  # of what a fresh process needs for the same store, before that is called a leak
SLACK_MEGABYTES = 8.0  # of a process that has run for a while: its allocator's
WIDTH = 132


class Living:
    """A process of agents."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.process = self._start()

    async def said(self) -> Said:
        """Return what it counts of itself."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"\n")
        stdin.flush()
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await asyncio.to_thread(stdout.readline)
        if not line:
            raise RuntimeError("a process of agents has ended; what it said is above")
        return msgspec.json.decode(line, type=Said)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def again(self) -> None:
        """Kill it and start it again, with the same agents."""
        self.kill()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.soak.agents", msgspec.json.encode(self._orders).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )


class Soak:
    """A fabric, its agents, and what was measured of them."""

    def __init__(self, home: Path, agents: int) -> None:
        self._told = home / "inside.json"
        self.fabric = Fabric(home, scale=1)
        self.fabric.weft_command = [sys.executable, "-m", "bench.soak.weft", str(self._told)]
        self._ids = [str(uuid.uuid4()) for _ in range(agents)]
        self._living: list[Living] = []
        self._samples: list[tuple[float, dict[str, Quantity]]] = []
        self.insides: list[Inside] = []
        self.deeds = 0
        self.refused: dict[str, int] = {}

    async def run(self, seconds: float, tell: Console) -> None:
        """Let the agents live and measure."""
        self.fabric.start()
        shares = [self._ids[number::PROCESSES] for number in range(PROCESSES)]
        home, project = str(self.fabric.home), "soak"
        self._living = [Living(Orders(home=home, project=project, ids=ids, peers=self._ids)) for ids in shares]
        began = time.monotonic()
        killed_at = next_at = began
        async with self._system() as system:
            while (now := time.monotonic()) - began < seconds:
                if now - killed_at > KILL_SECONDS:
                    killed_at = now
                    self._living[-1].again()
                if now >= next_at:
                    next_at += SAMPLE_SECONDS
                    measured = await self._measure(system)
                    self._samples.append((now - began, measured))
                    shown = ", ".join(f"{name} {each.value:.4g}" for name, each in measured.items())
                    tell.print(f"[dim]{now - began:.0f} s: {shown}[/dim]", soft_wrap=True)
                await asyncio.sleep(0.2)

    async def _measure(self, system: Broker) -> dict[str, Quantity]:
        weft, broker = self.fabric.weft, self.fabric.broker
        assert weft is not None
        assert broker is not None
        said = [await living.said() for living in self._living[:-1]]
        self.deeds, self.refused = sum(each.deeds for each in said), _sum([each.refused for each in said])
        inside = await sample.inside(weft, self._told)
        self.insides.append(inside)
        found = sample.process("weft", weft.pid, kept=True) | {"weft: tasks": Quantity(inside.tasks)}
        found |= sample.process("broker", broker.pid, kept=True) | await sample.broker(system)
        each = [sample.process("agents", living.process.pid) for living in self._living[:-1]]
        for name, quantity in each[0].items():
            found[name] = Quantity(sum(one[name].value for one in each), quantity.unit)
        found["agents: tasks"] = Quantity(sum(one.tasks for one in said))
        return found

    def trends(self) -> list[Trend]:
        """Return how each quantity went."""
        seconds = [at for at, _ in self._samples]
        return [
            trend(name, each.unit, seconds, [one[name].value for _, one in self._samples], kept=each.kept)
            for name, each in self._samples[0][1].items()
        ]

    async def afresh(self) -> dict[str, tuple[float, float]]:
        """Return what weft and the broker need, and what they need when started again on the same store: MB."""
        before = self._memory()
        for process in (self.fabric.kill_weft, self.fabric.kill_broker, self.fabric.start_broker):
            process()
        await asyncio.to_thread(self.fabric.start_weft)
        await asyncio.sleep(CALM_SECONDS)
        after = self._memory()
        return {name: (before[name], after[name]) for name in before}

    def stop(self) -> None:
        """End every process."""
        for living in self._living:
            living.kill()
        self.fabric.stop()

    def _memory(self) -> dict[str, float]:
        weft, broker = self.fabric.weft, self.fabric.broker
        assert weft is not None
        assert broker is not None
        return {"weft": resident_megabytes(weft.pid), "broker": resident_megabytes(broker.pid)}

    @contextlib.asynccontextmanager
    async def _system(self) -> AsyncIterator[Broker]:
        credential = self.fabric.keyring.system_credential("soak")
        inbox = subjects.reply_prefix("soak")
        async with Broker.connect(
            self.fabric.url, name="soak", inbox=inbox, credential=lambda: credential
        ) as connection:
            yield connection


def leaks(trends: list[Trend], afresh: dict[str, tuple[float, float]]) -> list[str]:
    """Return what grows without a reason."""
    found = [f"{each.name} grows" for each in trends if not each.flat and not each.kept]
    for name, (before, after) in afresh.items():
        if before > LEAKED_SHARE * after + SLACK_MEGABYTES:
            found.append(f"{name} needs {before:.1f} MB, and {after:.1f} MB for the same store when started again")
    return found


def table(trends: list[Trend]) -> Table:
    """Return one line for each quantity."""
    shown = Table(title="Over the second half", title_justify="left")
    for heading in ("quantity", "first", "middle", "last", "growth", "a minute", ""):
        shown.add_column(heading, justify="left" if heading == "quantity" else "right", no_wrap=True)
    for each in trends:
        numbers = [f"{value:.2f} {each.unit}" for value in (each.first, each.middle, each.last, each.growth)]
        word = "flat" if each.flat else "grows with the store" if each.kept else "[red]grows[/red]"
        shown.add_row(each.name, *numbers, f"{each.per_minute:+.3f}", word)
    return shown


def _sum(counts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(each.get(key, 0) for each in counts) for key in {key for each in counts for key in each}}


async def soak(home: Path, minutes: float, agents: int, console: Console) -> list[str]:
    """Return what leaked."""
    soaked = Soak(home, agents)
    try:
        await soaked.run(60 * minutes, console)
        trends, afresh = soaked.trends(), await soaked.afresh()
    finally:
        soaked.stop()
    console.print(table(trends))
    for name, (before, after) in afresh.items():
        console.print(f"{name}: {before:.1f} MB at the end, {after:.1f} MB when started again on the same store")
    console.print(f"{soaked.deeds} turns of agents; refused: {soaked.refused or 'nothing'}")
    half, end = soaked.insides[len(soaked.insides) // 2].objects, soaked.insides[-1].objects
    grown = {kind: end[kind] - half.get(kind, 0) for kind in end}
    console.print("objects in weft, most grown:", sorted(grown.items(), key=lambda each: -each[1])[:10])
    return leaks(trends, afresh)


@click.command(help="Let agents live for some minutes and say what grows.")
@click.option("--minutes", default=20.0, show_default=True, help="For how long.")
@click.option("--agents", default=50, show_default=True, help="How many.")
def main(minutes: float, agents: int) -> None:
    """Run the soak; the process ends with 1 if anything leaks."""
    console = Console()
    console.width = max(console.width, WIDTH)
    with tempfile.TemporaryDirectory(prefix="loominal-soak-") as home:
        found = asyncio.run(soak(Path(home), minutes, agents, console))
    for each in found:
        console.print(f"[red]- {each}[/red]")
    if found:
        sys.exit(1)
    console.print("flat: nothing leaks")


if __name__ == "__main__":
    main()
