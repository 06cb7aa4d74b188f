"""What every agent writes down of itself: what it asked, what was accepted, what it was shown. The checker reads it.

One JSON line for each, written at once: a killed process keeps what it wrote.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec


class What(StrEnum):
    """What happened."""

    SENDING = "sending"  # a message is about to be sent
    SENT = "sent"  # it was accepted
    READ = "read"  # a direct message was shown
    HEARD = "heard"  # a channel message was shown
    FOLLOWING = "following"  # a channel is read from here on
    OFFERING = "offering"  # an item is about to be submitted
    OFFERED = "offered"  # it was accepted
    CLAIMED = "claimed"
    ENDING = "ending"  # a claim is about to be completed, failed or released
    ENDED = "ended"  # that was accepted
    REFUSED = "refused"
    SEEN = "seen"  # an item that was looked at when its completion had been accepted
    LOST = "lost"  # a claim was found to be somebody else's
    CANCELLED = "cancelled"  # a request to cancel was accepted
    LISTED = "listed"  # an item as the fabric shows it in the end
    LATE = "late"  # the process itself stood still
    BEGUN = "begun"  # a process began


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a record; which fields are set depends on `what`."""

    at: float  # seconds since the epoch
    crew: int  # the process
    life: int  # of the process: how often it was started before
    agent: str = ""
    what: What
    place: str = ""  # a channel, or the recipient of a direct message
    id: str = ""  # of a message or an item
    text: str = ""
    task: str = ""
    token: int = 0  # the lease's
    verb: str = ""
    status: str = ""
    code: str = ""
    redelivered: bool = False
    seconds: float = 0.0


class Notebook:
    """Writes the notes of one process."""

    def __init__(self, path: Path, crew: int, life: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._crew = crew
        self._life = life

    def write(self, what: What, agent: str = "", **fields: object) -> None:
        """Write one note."""
        note = {"at": time.time(), "crew": self._crew, "life": self._life, "agent": agent, "what": what, **fields}
        os.write(self._file, msgspec.json.encode(msgspec.convert(note, Note)) + b"\n")


def read_notes(paths: Iterable[Path]) -> list[Note]:
    """Return every note, oldest first; a last line that was cut off by a kill is left out."""
    decode = msgspec.json.Decoder(Note).decode
    found = [decode(line) for path in paths for line in path.read_bytes().split(b"\n")[:-1]]
    return sorted(found, key=lambda note: note.at)
