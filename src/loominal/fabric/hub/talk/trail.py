"""Trails: where the messages of one channel or one inbox are in their log. Channels and inboxes keep one for each.

A trail knows of a message what its headers say; the texts stay in the log.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from typing import NamedTuple

from loominal.broker.log import Record
from loominal.model.errors import InvalidArgument
from loominal.model.message import Message
from loominal.model.times import instant, rfc3339

TRAIL_LENGTH = 10_000  # what the logs keep of one subject

# headers of a message
AT, FROM, HOME, TYPE, ACK = "Loominal-At", "Loominal-From", "Loominal-Home", "Loominal-Type", "Loominal-Ack"


class Label(NamedTuple):
    """What is known of a message without reading it."""

    sender: str = ""
    message_type: str = "text"
    ack_required: bool = False
    home: str = ""  # the sender's project, if that is another one


def label(record: Record) -> Label:
    """Return the label that a stored message's headers tell."""
    told = record.headers
    return Label(told.get(FROM, ""), told.get(TYPE, "text"), ACK in told, told.get(HOME, ""))


def headers(message: Message, at: datetime) -> dict[str, str]:
    """Return the headers to store with a message sent at `at`: its label, and its time as every reader is told it."""
    marked = {AT: rfc3339(at), FROM: message.sender.guid, TYPE: message.message_type}
    if message.sender.home:
        marked[HOME] = message.sender.home
    return marked | ({ACK: "1"} if message.ack_required else {})


def sent_at(record: Record) -> datetime:
    """Return when a stored message was sent, in whole seconds."""
    try:
        at = instant(record.headers.get(AT, ""), record.stored_at, past=True)
    except InvalidArgument:  # not written by a hub
        at = record.stored_at
    return at.replace(microsecond=0)


class Trail:
    """The messages of one subject, oldest first: three columns of equal length."""

    __slots__ = ("labels", "sequences", "times")

    def __init__(self) -> None:
        self.sequences = array("Q")
        self.times = array("Q")  # seconds since 1970
        self.labels: list[Label] = []

    def add(self, sequence: int, at: datetime, label: Label) -> bool:
        """Put a message in its place; return whether it is new here."""
        place = len(self.sequences)
        if place and sequence <= self.sequences[-1]:
            place = bisect_left(self.sequences, sequence)
            if self.sequences[place] == sequence:
                return False
        self.sequences.insert(place, sequence)
        self.times.insert(place, int(at.timestamp()))
        self.labels.insert(place, label)
        if len(self.sequences) > TRAIL_LENGTH:
            self.forget_below(self.sequences[-TRAIL_LENGTH])
        return True

    def forget(self, sequence: int) -> None:
        """Drop a message that is gone from the log."""
        if (place := self.place(sequence)) is not None:
            del self.sequences[place], self.times[place], self.labels[place]

    def forget_below(self, sequence: int) -> None:
        """Drop what is older than `sequence`."""
        end = bisect_left(self.sequences, sequence)
        del self.sequences[:end], self.times[:end], self.labels[:end]

    def place(self, sequence: int) -> int | None:
        """Return how many messages are older than the one at `sequence`, None if it is not here."""
        place = bisect_left(self.sequences, sequence)
        return place if place < len(self.sequences) and self.sequences[place] == sequence else None

    def label(self, sequence: int) -> Label:
        """Return the label of the message at `sequence`, an empty one if it is not here."""
        place = self.place(sequence)
        return Label() if place is None else self.labels[place]

    def behind(self, sequence: int) -> int:
        """Return the place of the first message after `sequence`."""
        return bisect_right(self.sequences, sequence)

    def since(self, at: datetime) -> int:
        """Return the place of the first message sent at `at` or later, to the second."""
        return bisect_left(self.times, max(int(at.timestamp()), 0))

    def at(self, place: int) -> datetime:
        """Return when the message at `place` was sent."""
        return datetime.fromtimestamp(self.times[place], UTC)
