"""The terminal while `top` has it: another screen, no echo, no line editing; given back as it was on every way out.

It has a file description of its own, which never blocks: a terminal that nobody reads keeps nobody from ending.
"""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click

OTHER = "\x1b[?1049h"  # the screen beside the one where the shell writes
EMPTY = "\x1b[?7l\x1b[?25l\x1b[H\x1b[2J"  # no wrapping; no cursor; nothing on it
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
LEAVE_SECONDS = 0.5  # for a terminal to take the last words
COLOUR = re.compile(r"\x1b\[(?:3|4|9|10)[0-9]m")  # bold and reverse are none (no-color.org)
READ_BYTES = 1024


class Screen:
    """One terminal, made by `Screen.open`. What is written to a terminal that has gone is lost, and nobody is told."""

    def __init__(self, fd: int, *, colours: bool) -> None:
        self.fd = fd
        self._colours = colours
        self._modes: list[int | list[bytes | int]] | None = None  # as they were; None: it is not ours
        self._shown: list[str] = []
        self._unwritten = b""

    @classmethod
    @contextmanager
    def open(cls, *, colours: bool) -> Iterator[Screen]:
        """Yield the terminal that stdout is, for `enter`; after the block it is left. Raises: UsageError."""
        fd = _terminal()
        screen = cls(fd, colours=colours)
        try:
            yield screen
        finally:
            screen.leave()
            os.close(fd)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        with suppress(OSError):
            columns, lines = os.get_terminal_size(self.fd)
            if columns and lines:
                return columns, lines
        return 80, 24

    def enter(self) -> None:
        """Take the terminal, or take it again: whatever is shown there now is drawn over."""
        again = self._modes is not None
        with suppress(termios.error):
            modes = termios.tcgetattr(self.fd)
            self._modes = self._modes or modes
            ours = list(modes)
            ours[3] = modes[3] & ~(termios.ECHO | termios.ICANON)
            ours[6] = [*modes[6]]
            ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.fd, termios.TCSANOW, ours)
        self._shown = []
        self._unwritten += (EMPTY if again else OTHER + EMPTY).encode()
        self._write()

    def leave(self) -> None:
        """Give the terminal back as it was."""
        if self._modes is None:
            return
        modes, self._modes = self._modes, None
        if self._unwritten:
            with suppress(termios.error):
                termios.tcflush(self.fd, termios.TCOFLUSH)  # what it has not taken yet; then a sequence may be cut
        self._unwritten = LEAVE.encode()
        until = time.monotonic() + LEAVE_SECONDS
        while self._write() and (left := until - time.monotonic()) > 0:
            select.select([], [self.fd], [], left)
        with suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSANOW, modes)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines; only those that have changed are written. A terminal that is behind skips a picture."""
        if self._modes is None or self._write():
            return
        shown = [line if self._colours else COLOUR.sub("", line) for line in lines]
        changed = [
            f"\x1b[{row + 1};1H\x1b[K{line}\x1b[0m"
            for row, line in enumerate(shown)
            if row >= len(self._shown) or self._shown[row] != line
        ]
        if len(shown) < len(self._shown):
            changed.append(f"\x1b[{len(shown) + 1};1H\x1b[J")
        self._shown = shown
        self._unwritten = "".join(changed).encode(errors="replace")
        self._write()

    def typed(self) -> bytes | None:
        """Return what was typed, empty if nothing was; None if the terminal has gone."""
        try:
            return os.read(self.fd, READ_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def _write(self) -> bool:
        """Write what is to be written; return whether the terminal did not take all of it yet."""
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self.fd, self._unwritten) :]
        except BlockingIOError:
            return True
        except OSError:  # it has gone
            self._unwritten = b""
        return False


def _terminal() -> int:
    """Return a new description of the terminal that stdout is. Raises: UsageError."""
    mode = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    if sys.stdout.isatty():
        for name in (os.ttyname, lambda _: "/dev/tty"):  # in a container the first may name what is outside of it
            with suppress(OSError):
                return os.open(name(sys.stdout.fileno()), mode)
    raise click.UsageError("top draws on a terminal; `shuttle stats`, or `shuttle watch --json` for events, does not.")
