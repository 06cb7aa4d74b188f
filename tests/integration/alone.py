"""A weft without any others, for tests of what a hub does whoever else there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alone:
    """The only weft there is, and sure of it."""

    def __init__(self, me: str = "weft-1") -> None:
        self.me = me
        self.handing_over = asyncio.Lock()

    def order(self, project: str) -> list[str]:
        return [self.me]

    def is_dead(self, weft: str) -> bool:
        return weft != self.me

    def sure(self) -> bool:
        return True

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def remind(self, weft: str, project: str) -> None:
        raise AssertionError(f"{weft} leads {project}, but there is no other weft")
