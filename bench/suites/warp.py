"""What warp adds: a tool call beside the client's own, its start and its hooks' beside a bare interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from bench.client import Json, client, environment, hello, program, request
from bench.figure import Figure
from bench.place import Place
from bench.process import cpu_seconds, resident_megabytes
from bench.settings import Settings

ROUNDS = 7  # of starts; single ones scatter more than calls do
CALLS = 200
START_RATIO, HOOK_RATIO, CALL_RATIO = 12.0, 5.0, 1.5
RESIDENT_MEGABYTES = 45.0
HOOKS = ("session-start", "prompt", "stop")

Own = Callable[[], Awaitable[object]]


async def calling(place: Place, settings: Settings) -> list[Figure]:
    """Return what tool calls take beside the same calls of the Python client, one after the other in turns."""
    boss, figures = place.boss, []
    for number in range(20):
        await boss.send_message("general", f"{number} " + 200 * "x")
    cases: dict[str, tuple[Own, dict[str, Json]]] = {
        "get_my_handle": (lambda: boss.get_my_handle(), {}),
        "list_channels": (lambda: boss.list_channels(), {}),
        "discover_agents": (lambda: boss.discover_agents(), {}),
        "send_message": (lambda: boss.send_message("general", "hello"), {"channel": "general", "message": "hello"}),
        "read_messages": (lambda: boss.read_messages("general", limit=20), {"channel": "general", "limit": 20}),
    }
    with client(environment(place.fabric.home, place.project)) as warp:
        warp.tool("join")
        for name, (own, arguments) in cases.items():
            ours, raw = [], []
            for _ in range(settings.count(CALLS) * settings.rounds):
                began = time.perf_counter()
                await own()
                between = time.perf_counter()
                warp.tool(name, **arguments)
                ours.append(time.perf_counter() - between)
                raw.append(between - began)
            figures.append(_beside(f"tool {name} p50", ours, raw, "the client's own call", CALL_RATIO))
        figures.append(
            Figure(
                name="memory of a warp in use",
                value=resident_megabytes(warp.process.pid),
                unit="MB",
                at_most=RESIDENT_MEGABYTES,
            )
        )
    return figures


async def waking_up(place: Place, settings: Settings) -> list[Figure]:
    """Return the CPU time of starts beside a bare interpreter's, and the time until the first answer of a tool."""
    environ = environment(place.fabric.home, place.project)
    with tempfile.TemporaryDirectory(prefix="loominal-bench-") as nowhere:
        alone = environment(Path(nowhere), place.project)
        starts: dict[str, Callable[[], float]] = {
            "a bare interpreter": lambda: cpu_to_end([sys.executable, "-c", "pass"], alone),
            "warp, CPU to tools/list": lambda: cpu_to_tools(alone),
            **{f"warp hook {hook}, CPU": _hook(hook, alone) for hook in HOOKS},
        }
        taken: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(max(ROUNDS, settings.rounds)):
            for name, start in starts.items():
                taken[name].append(start())
    bare = taken.pop("a bare interpreter")
    ratios = {name: START_RATIO if "tools/list" in name else HOOK_RATIO for name in taken}
    figures = [_beside(name, found, bare, "a bare interpreter", ratios[name]) for name, found in taken.items()]
    with_fabric = [_first_answer(environ) for _ in range(settings.rounds)]
    without = [_first_answer_of_all() for _ in range(settings.rounds)]
    return [
        *figures,
        Figure(name="warp, start to first tool's answer", value=1000 * median(with_fabric), unit="ms"),
        Figure(name="the same with nothing running", value=1000 * median(without), unit="ms"),
    ]


def cpu_to_tools(environ: dict[str, str]) -> float:
    """Return the seconds of CPU that a warp takes until it has answered tools/list."""
    with subprocess.Popen(program(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(hello(1) + request(2, "tools/list"))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.readline()
        return cpu_seconds(process.pid)


def cpu_to_end(command: list[str], environ: dict[str, str]) -> float:
    """Return the seconds of CPU of a process that is told nothing and ends by itself."""
    with tempfile.TemporaryFile() as said:
        said.write(b"{}")
        said.seek(0)
        process = subprocess.Popen(command, stdin=said, stdout=subprocess.DEVNULL, env=environ)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime


def _hook(moment: str, environ: dict[str, str]) -> Callable[[], float]:
    return lambda: cpu_to_end(program("hook", moment), environ)


def _first_answer(environ: dict[str, str]) -> float:
    began = time.perf_counter()
    with client(environ) as warp:
        warp.tool("get_my_handle")
        return time.perf_counter() - began


def _first_answer_of_all() -> float:
    """Return the seconds until the first answer of a tool where warp has to start the fabric."""
    with tempfile.TemporaryDirectory(prefix="loominal-bench-") as home:
        environ = environment(Path(home), "bench") | {"LOOMINAL_AUTOSTART": "1"}
        try:
            return _first_answer(environ)
        finally:
            subprocess.run(
                [sys.executable, "-m", "loominal", "down"], env=environ, stdout=subprocess.DEVNULL, check=True
            )


def _beside(name: str, ours: list[float], raw: list[float], raw_name: str, at_most: float) -> Figure:
    return Figure(
        name=name,
        value=1000 * median(ours),
        unit="ms",
        raw=1000 * median(raw),
        raw_name=raw_name,
        at_most=at_most,
    )
