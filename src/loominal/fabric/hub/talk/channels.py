"""Channels in memory: which there are, and where their messages are in the log. Followers and senders fill it."""

from __future__ import annotations

from collections import defaultdict

from loominal.broker import subjects
from loominal.broker.bucket import Deleted, Entry
from loominal.broker.log import Record
from loominal.fabric.hub.talk.intake import Intake
from loominal.fabric.hub.talk.recent import Recent
from loominal.fabric.hub.talk.trail import Trail, sent_at
from loominal.fabric.hub.wakes import ANY_CHANNEL, Wakes
from loominal.model.message import FIRST_CHANNELS, ChannelRecord
from loominal.model.record import decode

MOST_CHANNELS = 1000  # of one project


class ChannelIndex:
    """Every channel of one project and the trail of its messages."""

    def __init__(self, wakes: Wakes) -> None:
        self.intake = Intake()
        self.recent = Recent()
        self._wakes = wakes
        self._trails: defaultdict[str, Trail] = defaultdict(Trail)
        self._silent = Trail()  # of every channel in which nobody has said anything
        self._records: dict[str, ChannelRecord] = {}
        self._revisions: dict[str, int] = {}

    def apply(self, record: Record) -> None:
        """Take a stored message in the order of the log; one that is known changes nothing."""
        self._add(record)
        self.intake.followed(record)

    def written(self, record: Record) -> None:
        """Take a message that this hub has just stored."""
        self._add(record)
        self.intake.written(record)

    def apply_entry(self, change: Entry | Deleted) -> None:
        """Take a change of a key `chan.<name>`. Raises: CorruptRecord; the channel is there all the same."""
        name = change.key.partition(".")[2]
        if change.revision <= self._revisions.get(name, 0):
            return
        self._revisions[name] = change.revision
        self._records.pop(name, None)
        if isinstance(change, Entry):
            self._records[name] = ChannelRecord(name=name)
            self._records[name] = decode(ChannelRecord, change.value).value

    def exists(self, name: str) -> bool:
        """Return whether there is such a channel."""
        return name in FIRST_CHANNELS or name in self._records or name in self._trails

    def names(self) -> list[str]:
        """Return every channel's name: those that each project starts with, then the others in order."""
        return [*FIRST_CHANNELS, *sorted({*self._records, *self._trails}.difference(FIRST_CHANNELS))]

    def description(self, name: str) -> str:
        """Return what a channel is for, "" if nobody said."""
        return self._records[name].description if name in self._records else ""

    def revision(self, name: str) -> int:
        """Return the revision of the channel's key, 0 if it has none."""
        return self._revisions.get(name, 0)

    def trail(self, name: str) -> Trail:
        """Return where the channel's messages are."""
        return self._trails.get(name, self._silent)

    def holds(self, sequence: int) -> bool:
        """Return whether a message of any channel is at `sequence`."""
        return any(trail.place(sequence) is not None for trail in self._trails.values())

    def _add(self, record: Record) -> None:
        name = subjects.last_token(record.subject)
        new = self._trails[name].add(record.sequence, sent_at(record), self.intake.label(record))
        if new or record.sequence > self.intake.complete:
            self._wakes.wake(f"#{name}")
            self._wakes.wake(ANY_CHANNEL)
