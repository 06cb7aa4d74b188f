"""One look at everything that could leak: memory and files by /proc, the broker's own counts, tasks by asking."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import msgspec

from bench.process import open_files, resident_megabytes
from bench.soak.weft import Inside
from loominal.broker import subjects
from loominal.broker.connection import Broker

ANSWER_SECONDS = 10.0


class Quantity(msgspec.Struct, frozen=True):
    """Something measured. `kept`: it grows with what the store keeps."""

    value: float
    unit: str = ""
    kept: bool = False


class _Use(msgspec.Struct, frozen=True):
    consumers: int
    messages: int
    bytes: int


class _Store(msgspec.Struct, frozen=True):
    data: _Use


class _Connection(msgspec.Struct, frozen=True):
    account: str = ""
    subscriptions: int = 0


class _Page(msgspec.Struct, frozen=True):
    connections: list[_Connection] = []


class _Connections(msgspec.Struct, frozen=True):
    data: _Page


def process(name: str, pid: int, *, kept: bool = False) -> dict[str, Quantity]:
    """Return memory and open files of a process."""
    return {
        f"{name}: memory": Quantity(resident_megabytes(pid), "MB", kept),
        f"{name}: open files": Quantity(open_files(pid)),
    }


async def broker(system: Broker) -> dict[str, Quantity]:
    """Return what the broker counts, asked over a connection to its system account."""
    asked = b'{"limit":2000,"auth":true}'
    store = await system.request(subjects.store_use(), b"", seconds=ANSWER_SECONDS)
    use = msgspec.json.decode(store.data, type=_Store).data
    connected = await system.request(subjects.connections(), asked, seconds=ANSWER_SECONDS)
    open_ = msgspec.json.decode(connected.data, type=_Connections).data.connections
    return {
        "broker: consumers": Quantity(use.consumers),
        "broker: connections": Quantity(len(open_)),
        "broker: subscriptions": Quantity(sum(each.subscriptions for each in open_)),
        "broker: messages kept": Quantity(use.messages, kept=True),
        "broker: stored": Quantity(use.bytes / 1e6, "MB", kept=True),
    }


async def inside(weft: subprocess.Popen[bytes], file: Path) -> Inside:
    """Return what weft has in memory, by its own word."""
    before = _told(file)
    weft.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(ANSWER_SECONDS):
        while (told := _told(file)) is None or told == before:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(0.02)
    return told


def _told(file: Path) -> Inside | None:
    return msgspec.json.decode(file.read_bytes(), type=Inside) if file.exists() else None
