"""Workers: agents in processes of their own, told what to do over a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence

import msgspec

from bench.place import Place
from bench.worker import Done, Order, Orders

ANSWER_SECONDS = 120.0


class Worker:
    """One process; an order is answered before the next one is given."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.guids: list[str] = []

    def tell(self, order: Order) -> None:
        """Give an order and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()

    async def done(self) -> Done:
        """Return when the order was carried out."""
        return msgspec.json.decode(await self.line(), type=Done)

    async def line(self) -> bytes:
        """Return the next line that the process prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await asyncio.to_thread(self.process.stdout.readline)
        if not line:
            raise RuntimeError("a worker has ended; what it said is above")
        return line


@contextlib.asynccontextmanager
async def crew(place: Place, capability: str, sizes: Sequence[int]) -> AsyncIterator[list[Worker]]:
    """Yield one worker for each of `sizes`, with so many agents that have `capability`."""
    async with contextlib.AsyncExitStack() as stack:
        workers = []
        for number, size in enumerate(sizes):
            orders = Orders(
                home=str(place.fabric.home),
                url=place.fabric.url,
                project=place.project,
                handles=tuple(f"{capability}-{number}-{each}" for each in range(size)),
                capability=capability,
            )
            worker = Worker(_start(orders))
            stack.callback(_end, worker.process)
            workers.append(worker)
        for worker in workers:
            worker.guids = msgspec.json.decode(await worker.line(), type=dict[str, list[str]])["guids"]
        yield workers


async def rate(workers: Sequence[Worker], order: Order, agents: int) -> float:
    """Return how often a second `agents` agents, spread over the workers, do what is ordered."""
    shares = [len(range(number, agents, len(workers))) for number in range(len(workers))]
    busy = [(worker, share) for worker, share in zip(workers, shares, strict=True) if share]
    for worker, share in busy:
        worker.tell(msgspec.structs.replace(order, agents=share))
    done = [await worker.done() for worker, _ in busy]
    return agents * order.count / (max(each.ended for each in done) - min(each.began for each in done))


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.worker", msgspec.json.encode(orders).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
