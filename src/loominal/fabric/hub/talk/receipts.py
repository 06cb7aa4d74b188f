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
    reader: str  # guid, or handle@project for another project's
    at: datetime
    generation: str = ""  # of the other project whose log has the message


class Leaving(NamedTuple):
    """A receipt for the agent `sender` of another project, `home`."""

    home: str
    sender: str
    sequence: int
    receipt: Receipt
    reader: str
    at: datetime


class Receipts:
    """The newest receipts of each sender, oldest first."""

    def __init__(self) -> None:
        self._by_sender: defaultdict[str, deque[Told]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._last = 0
        self._leaving: list[Leaving] = []

    def add(
        self, sender: str, sequence: int, receipt: Receipt, reader: str, at: datetime, *, generation: str = ""
    ) -> None:
        """Note that `reader` was shown, or has acknowledged, the message at `sequence`."""
        self._last = self.position(at) + 1
        self._by_sender[sender].append(Told(self._last, sequence, receipt, reader, at, generation))

    def send(self, leaving: Leaving) -> None:
        """Note a receipt that another project's agent is to be told of."""
        self._leaving.append(leaving)
        del self._leaving[:-KEPT]

    def leaving(self) -> list[Leaving]:
        """Return what is to be told to other projects, oldest first, and forget it."""
        taken, self._leaving = self._leaving, []
        return taken

    def position(self, now: datetime) -> int:
        """Return the position behind every receipt so far."""
        return max(self._last, int(now.timestamp() * 1000))

    def after(self, sender: str, position: int) -> list[Told]:
        """Return the receipts of `sender` behind `position`."""
        return [told for told in self._by_sender.get(sender, ()) if told.position > position]
