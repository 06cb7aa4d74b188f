"""What costs when nothing happens: an agent, weft, the broker."""

from __future__ import annotations

import asyncio

from bench.crew import crew
from bench.figure import Figure
from bench.place import Place
from bench.process import cpu_seconds, resident_megabytes
from bench.settings import Settings

MINUTE = 60.0
CALM_SECONDS = 2.0  # after an agent came: its greetings are over


async def idling(place: Place, settings: Settings) -> list[Figure]:
    """Return CPU time in a minute and memory of processes that only wait."""
    async with crew(place, "idle", [1]) as [worker]:
        weft, broker = place.fabric.weft, place.fabric.broker
        assert weft is not None
        assert broker is not None
        await asyncio.sleep(CALM_SECONDS)
        pids = {"agent": worker.process.pid, "weft": weft.pid, "nats-server": broker.pid}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        await asyncio.sleep(settings.idle_seconds)
        figures = []
        for name, pid in pids.items():
            spent = 1000 * (cpu_seconds(pid) - before[name]) * MINUTE / settings.idle_seconds
            target = 120.0 if name == "agent" else None
            figures.append(Figure(name=f"idle {name}, CPU in 60 s", value=spent, unit="ms", at_most=target))
            figures.append(Figure(name=f"idle {name}, memory", value=resident_megabytes(pid), unit="MB"))
    return figures
