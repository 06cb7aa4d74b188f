"""Receipts: which direct messages were shown or acknowledged lately, kept for their senders.

Memory only: a receipt is a convenience, the marks behind it are stored. Positions grow with time, so that a cursor of
an earlier leader still means the same.
"""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime
from typing import NamedTuple

from loominal.model.message import Receipt

KEPT = 200  # receipts of one sender


class Told(NamedTuple):
    """One message's receipt; `position` is larger than that of every earlier receipt."""

    position: int
    sequence: int
    receipt: Receipt
    reader: str
    at: datetime


class Receipts:
    """The newest receipts of each sender, oldest first."""

    def __init__(self) -> None:
        self._by_sender: defaultdict[str, deque[Told]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._last = 0

    def add(self, sender: str, sequence: int, receipt: Receipt, reader: str, at: datetime) -> None:
        """Note that `reader` was shown, or has acknowledged, the message at `sequence`."""
        self._last = self.position(at) + 1
        self._by_sender[sender].append(Told(self._last, sequence, receipt, reader, at))

    def position(self, now: datetime) -> int:
        """Return the position behind every receipt so far."""
        return max(self._last, int(now.timestamp() * 1000))

    def after(self, sender: str, position: int) -> list[Told]:
        """Return the receipts of `sender` behind `position`."""
        return [told for told in self._by_sender.get(sender, ()) if told.position > position]
