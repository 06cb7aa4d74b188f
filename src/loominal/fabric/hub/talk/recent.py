"""The channel messages that were sent or read last, whole: the newest page of a channel is read again and again.

`messages.py` keeps them, `ops_channels.py` reads them; a channel's trail says which of them are still there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from loominal.fabric.operations.channels import ChannelMessage

KEPT_BYTES = 1_000_000  # of entries, all channels of a project together: 1 000 usual messages, about 3 MB of memory
LONGEST_BYTES = 4000  # of one entry; longer ones are rare, and would push out many


class Shown(NamedTuple):
    """A message as answers show it when it is not cut."""

    sequence: int
    view: ChannelMessage
    sender: str  # agent id
    size: int  # bytes of the view as an entry of an answer


class Recent:
    """Messages by sequence, as many as fit into KEPT_BYTES; the one not read for longest goes first."""

    def __init__(self) -> None:
        self._shown: OrderedDict[int, Shown] = OrderedDict()
        self._size = 0

    def keep(self, shown: Shown) -> None:
        """Keep a message unless it is long; it must look the same to every reader."""
        if shown.size > LONGEST_BYTES or shown.sequence in self._shown:
            return
        self._shown[shown.sequence] = shown
        self._size += shown.size
        while self._size > KEPT_BYTES:
            _, oldest = self._shown.popitem(last=False)
            self._size -= oldest.size

    def get(self, sequence: int) -> Shown | None:
        """Return the message at `sequence`, None if it is not here."""
        if sequence not in self._shown:
            return None
        self._shown.move_to_end(sequence)
        return self._shown[sequence]
