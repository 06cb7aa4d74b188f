"""A project's items as they move: every record in the order of the log, handed to whoever listens in this weft.

`loading.py` hands them on as it follows the log, on the leader as on any other weft. Progress comes beside: it is the
leader's memory, which tells it over the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Record
from loominal.fabric.protocol import PROTO, encode
from loominal.model.errors import BrokerUnavailable
from loominal.model.work import Progress

Listener = Callable[[Record], None]


class ProgressNote(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the leader tells of a holder's report; `token` is that of its lease."""

    proto: int = PROTO
    item: str
    token: int
    progress: Progress


class Feed:
    """Hands records on; while nobody listens it only counts. A listener must not raise."""

    def __init__(self) -> None:
        self.last = 0  # sequence of the newest record of an item that came by
        self._listeners: tuple[Listener, ...] = ()

    def take(self, record: Record) -> None:
        """Hand a record to everybody; of those with its sequence or a later one nothing is handed on again."""
        if record.sequence > self.last:
            self.last = record.sequence
            for listener in self._listeners:
                listener(record)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each record from now on; return what ends that."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return stop


async def tell_progress(broker: Broker, project: str, item: str, token: int, progress: Progress) -> None:
    """Let whoever listens know how far an item is; while the broker is away nobody hears it."""
    note = ProgressNote(item=item, token=token, progress=progress)
    with suppress(BrokerUnavailable):
        await broker.publish(subjects.progress_note(project), encode(note))
