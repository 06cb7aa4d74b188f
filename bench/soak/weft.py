"""Weft as shipped, which also writes what it has in memory to a file when told so by SIGUSR1. The soak starts it.

Arguments: the file, then those of weft.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections import Counter
from pathlib import Path

import msgspec

from loominal.weft.main import main

KINDS = 25  # of objects, the most frequent


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What only the process itself can count."""

    asked: int  # how often it was, this time included
    tasks: int
    objects: dict[str, int]


def tell_on_signal(file: Path) -> None:
    """Write an `Inside` to `file` at each SIGUSR1."""
    asked = 0

    def tell(*_: object) -> None:
        nonlocal asked
        asked += 1
        kinds = Counter(type(each).__qualname__ for each in gc.get_objects())
        inside = Inside(asked=asked, tasks=len(asyncio.all_tasks()), objects=dict(kinds.most_common(KINDS)))
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(inside))
        new.replace(file)

    signal.signal(signal.SIGUSR1, tell)


if __name__ == "__main__":
    tell_on_signal(Path(sys.argv.pop(1)))
    main()
