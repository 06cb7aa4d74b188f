"""A talk with a shell, here or on another machine: once it answers it is sent a script, and its answer is read.

Nothing is sent before the shell has greeted. So whoever got no greeting knows that nothing was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from loominal.model.launch import OUTPUT_BYTES

MOST_BYTES = 4 * OUTPUT_BYTES  # of an answer, with what the other side's profile prints before it
ERROR_BYTES = 8192  # of what is printed besides: the last


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    greeted: bool  # the shell has answered: what it was sent may have been done
    words: tuple[str, ...] = ()  # the first line; none: it ended, or went silent, before its answer was whole
    output: str = ""  # of the command; without a greeting, what came in its place
    errors: str = ""  # what was printed besides, as it is
    overdue: bool = False  # it went silent; else it ended


async def ask(
    arguments: Sequence[str],
    script: bytes,
    nonce: str,
    *,
    environ: Mapping[str, str],
    greeting_seconds: float,
    seconds: float,
) -> Answer:
    """Run a shell by `arguments`, have it read `script`, and return its answer. Whatever was run is ended, then.

    Raises: OSError if it cannot be run.
    """
    loop = asyncio.get_running_loop()
    transport, talk = await loop.subprocess_exec(
        lambda: _Talk(nonce, script), *arguments, env=environ, cwd="/", start_new_session=True
    )
    overdue = False
    try:
        async with asyncio.timeout(greeting_seconds):
            await talk.greeted.wait()
        async with asyncio.timeout(seconds):
            await talk.over.wait()
    except TimeoutError:
        overdue = True
    finally:
        talk.end()
        await talk.ended.wait()
        transport.close()
    return talk.answer(overdue=overdue)


class _Talk(asyncio.SubprocessProtocol):
    def __init__(self, nonce: str, script: bytes) -> None:
        self.greeted = asyncio.Event()  # or nothing will come any more
        self.over = asyncio.Event()
        self.ended = asyncio.Event()
        self._nonce = nonce.encode()
        self._script = script
        self._handle: int | None = None
        self._open = {0, 1, 2}
        self._hello = False
        self._said = bytearray(b"\n")
        self._errors = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._shell = cast(asyncio.SubprocessTransport, transport)  # subprocess_exec makes no other
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._handle = os.pidfd_open(self._shell.get_pid())
        self._send(b"printf '%s\\n' " + self._nonce + b"\n")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._errors = (self._errors + data)[-ERROR_BYTES:]
            return
        self._said += data
        if not self._hello and b"\n" + self._nonce + b"\n" in self._said:
            self._hello = True
            self.greeted.set()
            self._send(self._script)
            self._send(None)
        if b"\n" + self._nonce + b" end\n" in self._said or len(self._said) > MOST_BYTES:
            self.greeted.set()  # or what prints so much before it is no shell
            self.over.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open & {1, 2}:  # why there was no answer may come after the end of the answer
            self.greeted.set()
            self.over.set()

    def process_exited(self) -> None:
        self.ended.set()

    def end(self) -> None:
        """End whatever was run; not by `transport.kill`, which may take its exit code away from the event loop."""
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.close(self._handle)
            self._handle = None

    def answer(self, *, overdue: bool) -> Answer:
        """Return what was said so far."""
        nonce, errors = b"\n" + self._nonce, self._errors.decode("utf-8", "replace")
        _, _, said = bytes(self._said).partition(nonce + b"\n")
        told, end, _ = (b"\n" + said).rpartition(nonce + b" end\n")
        _, begin, told = told.partition(nonce + b" ")
        if not (self._hello and end and begin):
            said = b"" if self._hello else bytes(self._said[-ERROR_BYTES:])
            return Answer(greeted=self._hello, output=said.decode("utf-8", "replace"), errors=errors, overdue=overdue)
        line, _, output = told.partition(b"\n")
        return Answer(
            greeted=True, words=tuple(line.decode().split()), output=output.decode("utf-8", "replace"), errors=errors
        )

    def _send(self, data: bytes | None) -> None:
        """Write to the shell; None: that was all."""
        pipe = cast(asyncio.WriteTransport, self._shell.get_pipe_transport(0))  # stdin is a pipe
        if not pipe.is_closing():
            if data is None:
                pipe.close()
            else:
                pipe.write(data)
