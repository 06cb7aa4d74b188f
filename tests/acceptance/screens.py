"""A shell in a terminal, played."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.screen import Screen

SECONDS = 30.0  # on a loaded machine
BEGUN = re.compile(r"\x1b(\[[0-9;?]*)?$")  # a control code of which the rest is still to come


class Terminal:
    """A terminal in which `bash` reads commands, as a person's does but for the editing of lines."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.screen = Screen()
        self._ours, self._theirs = ours, theirs
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""

    @property
    def modes(self) -> list[Any]:  # Any: as termios has them
        return termios.tcgetattr(self._theirs)

    def read(self) -> None:
        text = self._rest + self._decoder.decode(os.read(self._ours, 1 << 16))
        begun = BEGUN.search(text)
        self._rest = begun[0] if begun else ""
        self.screen.write(text.removesuffix(self._rest))

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._ours, self.read)

    def stop_reading(self) -> None:
        """Be a terminal that takes no more than fits into its buffer."""
        asyncio.get_running_loop().remove_reader(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        self.screen.columns, self.screen.height = columns, lines
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    async def until(self, holds: Callable[[Screen], object], what: str) -> None:
        """Return when the screen is so."""
        try:
            async with asyncio.timeout(SECONDS):
                while not holds(self.screen):  # noqa: ASYNC110 - it comes from another process
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(
                f"{what}: never so, but:\n{self.screen.__dict__}\n" + "\n".join(self.screen.lines)
            ) from None

    async def shows(self, *texts: str) -> None:
        await self.until(lambda screen: all(text in "\n".join(screen.lines) for text in texts), f"{texts} are shown")
        assert not self.screen.strange, self.screen.strange


@asynccontextmanager
async def terminal(directory: Path, columns: int = 80, lines: int = 24, **environ: str) -> AsyncIterator[Terminal]:
    """Yield a terminal of that size, in a directory, until the block ends."""
    ours, theirs = pty.openpty()
    played = Terminal(ours, theirs)
    played.resize(columns, lines)
    bash = await asyncio.create_subprocess_exec(
        "bash", "--norc", "--noprofile", "--noediting", "-i",
        cwd=directory, env=os.environ | {"TERM": "xterm-256color", "PS1": "$ "} | environ,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_take_terminal,
    )  # fmt: skip
    played.listen()
    try:
        await played.shows("$ ")
        yield played
    finally:
        bash.kill()
        await bash.wait()
        played.stop_reading()
        os.close(ours)
        os.close(theirs)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
