"""Intake: how far a log of messages is known without a gap, and which op sent which message.

What a hub writes it knows at once, what else is in the log comes in order from a follower. In between, a record of
another's writing may be missing; readers stop before it, or they would pass over it for ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from loominal.broker.log import Record
from loominal.fabric.hub.talk.trail import Label, label

DEDUPE = "Nats-Msg-Id"  # header: `<agent>:<op>` of who sent it
OPS_KEPT = 20_000  # of the newest messages: a send asked again is answered without writing
LABELS_KEPT = 10_000  # different labels that messages share
GAP_SECONDS = 2.0  # a follower closes a gap in milliseconds, after a reconnect in half a second


class Intake:
    """What came in of one log."""

    def __init__(self) -> None:
        self.complete = 0  # every record up to this sequence is known
        self._ops: OrderedDict[str, int] = OrderedDict()
        self._labels: dict[Label, Label] = {}
        self._grown = asyncio.Event()

    def followed(self, record: Record) -> None:
        """Take a record in the order of the log."""
        self._note(record)
        self._grow(record.sequence)

    def written(self, record: Record) -> None:
        """Take a record that this hub has just written."""
        self._note(record)
        if record.sequence == self.complete + 1:
            self._grow(record.sequence)

    def sent(self, dedupe: str) -> int | None:
        """Return the sequence of what this op sent, None if it is not known here."""
        return self._ops.get(dedupe)

    def label(self, record: Record) -> Label:
        """Return the label of a message, the same object for the same label."""
        told = label(record)
        if len(self._labels) > LABELS_KEPT:
            self._labels.clear()
        return self._labels.setdefault(told, told)

    async def reach(self, sequence: int) -> None:
        """Return when everything up to `sequence` is known, so that a read shows it; after GAP_SECONDS anyway."""
        if self.complete >= sequence:
            return
        try:
            async with asyncio.timeout(GAP_SECONDS):
                while self.complete < sequence:
                    await self._grown.wait()
        except TimeoutError:
            return  # it is stored; a follower that is away shows it later

    def _note(self, record: Record) -> None:
        if dedupe := record.headers.get(DEDUPE):
            self._ops[dedupe] = record.sequence
            if len(self._ops) > OPS_KEPT:
                self._ops.popitem(last=False)

    def _grow(self, sequence: int) -> None:
        if sequence > self.complete:
            self.complete = sequence
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()
