"""How full the store is, and what is refused for it: messages first, moves of existing work never."""

from __future__ import annotations

from loominal.model.errors import QuotaExceeded

REFUSED_AT = {"channel": 0.70, "direct": 0.80, "submission": 0.80}  # share of the server's limit or of the disk


class Fullness:
    """The last known use of the store, between 0 and 1; measured by weft, shared by its projects."""

    def __init__(self) -> None:
        self.use = 0.0

    def refused(self) -> list[str]:
        """Return what is refused now for want of room, one line; nothing while only channels' messages are."""
        kinds = [kind for kind, at in REFUSED_AT.items() if self.use >= at]
        return [f"{self.use:.0%} full: no {' or '.join(kinds)} can be stored"] if len(kinds) > 1 else []

    def check(self, kind: str) -> None:
        """Refuse a write of `kind` if the store is too full for it. Raises: QuotaExceeded."""
        if self.use >= REFUSED_AT[kind]:
            raise QuotaExceeded(f"the store is {self.use:.0%} full: no {kind} can be stored")
