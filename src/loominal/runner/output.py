"""What a process prints, bounded: its lines one by one, and the end of it."""

from __future__ import annotations

from collections.abc import Callable

LINE_BYTES = 4 << 20  # a client's line may hold a whole file; a longer one is passed over
KEPT_BYTES = 64 << 10  # of the end


class Tail:
    """The last KEPT_BYTES of what it was fed."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._kept += data[-KEPT_BYTES:]
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]

    def text(self) -> str:
        """Return the end as text; its first line may be cut."""
        return self._kept[-KEPT_BYTES:].decode(errors="replace").strip()


class Lines:
    """Calls `take` with each whole line; counts those that are too long, and holds no more than one."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.too_long = 0
        self._take = take
        self._begun = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            self.end()
        self._add(rest)

    def end(self) -> None:
        """Take what has begun for a whole line."""
        if self._skips:
            self.too_long += 1
        elif line := bytes(self._begun).strip():
            self._take(line)
        self._begun.clear()
        self._skips = False

    def _add(self, part: bytes) -> None:
        if self._skips:
            return
        self._begun += part
        if len(self._begun) > LINE_BYTES:
            self._begun.clear()
            self._skips = True
