"""Lines on stdout: whole, in order, and never waited for, whatever kind of file it is and however slow its reader."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loominal.warp.stdio import Stdio

LINES = [bytes([65 + number % 26]) * (30_000 + number) for number in range(40)]  # more than any pipe or socket holds
ALL = b"".join(line + b"\n" for line in LINES)

Ends = tuple[int, int]  # where is read, where is written


def of_pipe() -> Ends:
    return os.pipe()


def of_socket() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def of_file() -> Ends:
    written, name = tempfile.mkstemp()
    read = os.open(name, os.O_RDONLY)
    Path(name).unlink()
    return read, written


@pytest.fixture
def source() -> Iterator[int]:
    """A stdin on which nothing comes."""
    read, write = os.pipe()
    yield read
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("opened", [of_pipe, of_socket, of_file])
async def test_long_lines_come_whole_to_a_slow_reader_and_keep_nobody_waiting(
    opened: Callable[[], Ends], source: int
) -> None:
    read, sink = opened()
    with ExitStack() as files:
        files.callback(os.close, read)
        files.callback(os.close, sink)
        stdio = Stdio(source, sink)

        for line in LINES:
            stdio.write(line)  # nobody reads yet
        blocking = os.get_blocking(sink)
        found = await asyncio.wait_for(asyncio.to_thread(all_of, read), 30)
        stdio.close()

    assert blocking  # others may share it
    assert found == ALL


@pytest.mark.parametrize("opened", [of_pipe, of_socket])
async def test_a_reader_that_is_gone_ends_the_lines(opened: Callable[[], Ends], source: int) -> None:
    read, sink = opened()
    with ExitStack() as files:
        files.callback(os.close, sink)
        stdio = Stdio(source, sink)
        os.close(read)

        stdio.write(b"anybody?")

        assert await asyncio.wait_for(stdio.line(), 30) is None
        stdio.close()


def all_of(read: int) -> bytes:
    found = bytearray()
    while len(found) < len(ALL):
        found += os.read(read, 1 << 16)
    return bytes(found)
