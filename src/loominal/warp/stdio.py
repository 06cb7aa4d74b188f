"""stdin and stdout as lines of bytes, whatever kind of file each is; none is made non-blocking: others may share it.

From `Stdio.take` on only its lines reach the real stdout: whatever else in this process prints, prints to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Self

LINE_BYTES = 8 << 20  # what a tool takes is far below, also when every character of it is escaped
READ_BYTES = 1 << 16
FLUSH_SECONDS = 2.0  # for a client that does not read any more


def open_closed_files() -> None:
    """Let stdin, stdout and stderr be /dev/null where they were closed; nothing else may have been opened before."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # is given the lowest free number: this one


class Stdio:
    """One client's lines. To be opened where the event loop runs."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._kept = bytearray()  # the beginning of a line whose end has not come
        self._skipping = False  # the rest of a line that is too long
        self._writable = select.poll()
        self._writable.register(sink, select.POLLOUT)
        self._write_some = _without_blocking(sink)
        self._unwritten: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._behind = 0  # lines given to the writer and not written yet
        self._writer: threading.Thread | None = None
        try:
            self._loop.add_reader(source, self._readable)
        except PermissionError:  # a plain file, or /dev/null: nothing tells when these can be read
            threading.Thread(target=self._read_all, name="stdin", daemon=True).start()

    @classmethod
    def take(cls) -> Self:
        """Take stdin and stdout of this process; file 1 and `sys.stdout` are stderr from now on."""
        sink = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(0, sink)

    async def line(self) -> bytes | None:
        """Return the next line, without its end; None when stdin is closed or stdout is broken.

        Of a line that is too long the beginning comes, LINE_BYTES + 1 of it.
        """
        return await self._lines.get()

    def write(self, line: bytes) -> None:
        """Write a line as soon as the client reads: at once as much of it as cannot block."""
        data = line + b"\n"
        if not self._behind and self._writable.poll(0):
            try:
                data = data[self._write_some(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._in_loop(b"")
                return
            if not data:
                return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="stdout", daemon=True)
            self._writer.start()
        self._behind += 1
        self._unwritten.put(data)

    def close(self) -> None:
        """Return when everything is written, or the client has not read for a while."""
        self._loop.remove_reader(self._source)
        if self._writer is not None:
            self._unwritten.put(None)
            self._writer.join(FLUSH_SECONDS)

    def _readable(self) -> None:
        data = self._read()
        self._cut(data)
        if not data:
            self._loop.remove_reader(self._source)

    def _read_all(self) -> None:
        while data := self._read():
            self._in_loop(data)
        self._in_loop(b"")

    def _in_loop(self, data: bytes) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cut, data)

    def _read(self) -> bytes:
        try:
            return os.read(self._source, READ_BYTES)
        except OSError:
            return b""

    def _cut(self, data: bytes) -> None:
        """Cut what was read into lines; nothing read is the end."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            if not self._skipping:
                self._lines.put_nowait(bytes(self._kept + end)[: LINE_BYTES + 1])
            self._kept.clear()
            self._skipping = False
        if not self._skipping:
            self._kept += rest
        if len(self._kept) > LINE_BYTES:
            self._lines.put_nowait(bytes(self._kept[: LINE_BYTES + 1]))
            self._kept.clear()
            self._skipping = True
        if not data:
            if self._kept:
                self._lines.put_nowait(bytes(self._kept))
            self._lines.put_nowait(None)

    def _write_all(self) -> None:
        while (data := self._unwritten.get()) is not None and self._write(data):
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._caught_up)

    def _caught_up(self) -> None:
        self._behind -= 1

    def _write(self, data: bytes) -> bool:
        """Write all of it; return whether somebody is there to read."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._sink, left) :]
            except OSError:
                self._in_loop(b"")
                return False
        return True


def _without_blocking(sink: int) -> Callable[[bytes], int]:
    """Return what writes to `sink`, if that is writable, as much as it takes at once, and returns how many bytes."""
    kind = os.fstat(sink).st_mode
    if stat.S_ISSOCK(kind):
        return partial(_send, sink)
    if stat.S_ISFIFO(kind):
        with contextlib.suppress(OSError):  # not Linux, or the pipe is another user's
            own = os.open(f"/proc/self/fd/{sink}", os.O_WRONLY | os.O_NONBLOCK)  # as only this opening of it is then
            return partial(os.write, own)
    return lambda data: os.write(sink, data[: select.PIPE_BUF])


def _send(sink: int, data: bytes) -> int:
    talk = socket.socket(fileno=sink)
    try:
        return talk.send(data, socket.MSG_DONTWAIT)
    finally:
        talk.detach()
