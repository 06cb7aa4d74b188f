"""One process that works on an item, in a session of its own: what it is given, what it prints, and its end.

With it ends everything that it has started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from loominal.runner.keeper import Keeper
from loominal.runner.output import Lines, Tail
from loominal.runner.processes import MARK, marked, send

GRACE_SECONDS = 3.0  # for a client to write down what it is at; SIGKILL follows
FORCE_SECONDS = 5.0  # for what was killed to be gone
LOOK_SECONDS = 0.05
DRAIN_SECONDS = 5.0  # for the last of the output, which nobody can be writing any more
STDOUT, STDERR = 1, 2


class Child(asyncio.SubprocessProtocol):
    """A process that runs; made by `child`."""

    def __init__(self, mark: str, take_line: Callable[[bytes], None]) -> None:
        self.printed = Tail()  # its stdout
        self.errors = Tail()  # its stderr
        self.lines = Lines(take_line)
        self.pid = 0
        self._mark = mark
        self._over = False  # nothing of it is left
        self._transport: asyncio.SubprocessTransport | None = None
        self._open = {STDOUT, STDERR}
        self._exited = asyncio.Event()
        self._closed = asyncio.Event()

    async def finish(self) -> int:
        """Return the exit code, below 0 for a signal, when it and all that it has started have ended."""
        await self._exited.wait()
        await self.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._closed.wait()
        self.lines.end()
        assert self._transport is not None
        code = self._transport.get_returncode()
        return 0 if code is None else code

    async def end(self) -> None:
        """End the process and all that it has started: asked first, then by force."""
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, FORCE_SECONDS)):
            left = marked(self._mark)
            if self._exited.is_set() and not left:
                if not self._over:
                    send(signal.SIGKILL, {self.pid}, set())  # what of its group has cleared its environment
                self._over = True
                return
            send(number, {self.pid}, left)
            send(signal.SIGCONT, {self.pid}, left)  # one that stands still would not hear it
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while not self._exited.is_set() or marked(self._mark):  # noqa: ASYNC110 - grandchildren tell nobody
                        await asyncio.sleep(LOOK_SECONDS)

    def kill(self) -> None:
        """Kill the process and all that it has started, and wait for nothing."""
        if not self._over:
            send(signal.SIGKILL, {self.pid}, marked(self._mark))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the process."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self.pid = transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it has printed."""
        if fd == STDERR:
            self.errors.feed(data)
        else:
            self.printed.feed(data)
            self.lines.feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Note that nothing more comes."""
        self._open.discard(fd)
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        """Note its end; what it has started may go on."""
        self._exited.set()


@asynccontextmanager
async def child(
    command: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    stdin: bytes,
    mark: str,
    take_line: Callable[[bytes], None],
    keeper: Keeper,
) -> AsyncIterator[Child]:
    """Run a command while the block runs; afterwards nothing of it is left. Raises: OSError if it cannot be run."""
    transport, process = await asyncio.get_running_loop().subprocess_exec(
        lambda: Child(mark, take_line), *command, cwd=os.fspath(folder), env={**environ, MARK: mark},
        start_new_session=True,
    )  # fmt: skip
    try:
        with keeper.watching(process.pid):
            pipe = transport.get_pipe_transport(0)
            if isinstance(pipe, asyncio.WriteTransport):  # None once it has ended
                pipe.write(stdin)
                pipe.write_eof()
            try:
                yield process
            finally:
                process.kill()
    finally:
        transport.close()
