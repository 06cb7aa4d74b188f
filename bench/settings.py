"""How much is measured."""

from __future__ import annotations

import msgspec

IDLE_SECONDS = 20.0
QUICK_IDLE_SECONDS = 5.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `quick` gives rougher figures, `large` adds sizes that take minutes to seed."""

    rounds: int = 5
    quick: bool = False
    large: bool = False

    @property
    def idle_seconds(self) -> float:
        """How long idle processes are watched."""
        return QUICK_IDLE_SECONDS if self.quick else IDLE_SECONDS

    def count(self, usual: int) -> int:
        """Return how often something is done in one round."""
        return max(usual // 4, 8) if self.quick else usual
