"""stdin and stdout as lines of bytes. Each has a thread: so any kind of file will do, and none is made non-blocking.

From `Stdio.take` on only its lines reach the real stdout: whatever else in this process prints, prints to stderr.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from typing import Self

LINE_BYTES = 8 << 20  # what a tool takes is far below, also when every character of it is escaped
READ_BYTES = 1 << 16
FLUSH_SECONDS = 2.0  # for a client that does not read any more


class Stdio:
    """One client's lines. To be opened where the event loop runs."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unwritten: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="stdout", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read_all, name="stdin", daemon=True).start()

    @classmethod
    def take(cls) -> Self:
        """Take stdin and stdout of this process; file 1 and `sys.stdout` are stderr from now on."""
        sink = os.dup(1)
        try:
            os.dup2(2, 1)
        except OSError:  # there is no stderr
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.close(nowhere)
        sys.stdout = sys.stderr
        return cls(0, sink)

    async def line(self) -> bytes | None:
        """Return the next line, without its end; None when stdin is closed or stdout is broken.

        Of a line that is too long the beginning comes, LINE_BYTES + 1 of it.
        """
        return await self._lines.get()

    def write(self, line: bytes) -> None:
        """Write a line as soon as the client reads."""
        self._unwritten.put(line)

    def close(self) -> None:
        """Return when everything is written, or the client has not read for a while."""
        self._unwritten.put(None)
        self._writer.join(FLUSH_SECONDS)

    def _read_all(self) -> None:
        kept, skipping = bytearray(), False
        while data := self._read():
            *ends, rest = data.split(b"\n")
            for end in ends:
                if not skipping:
                    self._take(bytes(kept + end)[: LINE_BYTES + 1])
                kept.clear()
                skipping = False
            if not skipping:
                kept += rest
            if len(kept) > LINE_BYTES:
                self._take(bytes(kept[: LINE_BYTES + 1]))
                kept.clear()
                skipping = True
        if kept:
            self._take(bytes(kept))
        self._take(None)

    def _read(self) -> bytes:
        try:
            return os.read(self._source, READ_BYTES)
        except OSError:
            return b""

    def _take(self, line: bytes | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def _write_all(self) -> None:
        while (line := self._unwritten.get()) is not None:
            left = memoryview(line + b"\n")
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except OSError:
                    self._take(None)
                    return
