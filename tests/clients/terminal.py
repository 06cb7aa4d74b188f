"""A terminal in which a client runs as a person would run it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.clients.user import User

SECONDS = 150.0
LINES, COLUMNS = 50, 160
CONTROLS = re.compile(r"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|\s+")


class Terminal:
    """What is typed and shown. Words stand close together in it: clients move the cursor instead of writing blanks."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._written = b""

    @property
    def shown(self) -> str:
        """All that was ever written, without blanks."""
        return CONTROLS.sub("", self._written.decode(errors="replace"))

    def read(self) -> None:
        with suppress(OSError):  # it has ended
            self._written += os.read(self._end, 1 << 16)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    async def until(self, text: str) -> None:
        """Return when `text` has been shown."""
        try:
            async with asyncio.timeout(SECONDS):
                while text.replace(" ", "") not in self.shown:  # noqa: ASYNC110 - it comes from another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{text!r} was not shown: {self.shown[-3000:]}") from None


@asynccontextmanager
async def terminal(user: User, command: Sequence[str], **environ: str) -> AsyncIterator[Terminal]:
    """Yield the terminal in which a command runs until the block ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        *command, env=user.environ | environ, cwd=user.folder, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = Terminal(ours)
    loop.add_reader(ours, shown.read)
    try:
        yield shown
    finally:
        process.kill()
        await process.wait()
        loop.remove_reader(ours)
        os.close(ours)
