"""Inboxes in memory: where each agent's direct messages are in the log, and how far it has read them.

Followers and senders fill it; `marking.py` writes the marks. What a request tells by itself (its process has seen what
it was offered before) is noted here at once and written with the agent's next marks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Deleted, Entry
from loominal.broker.log import Record
from loominal.fabric.hub.clock import Clock
from loominal.fabric.hub.talk.intake import Intake
from loominal.fabric.hub.talk.receipts import Leaving, Receipts
from loominal.fabric.hub.talk.trail import Trail, sent_at
from loominal.fabric.hub.wakes import Wakes
from loominal.model import read_marks
from loominal.model.message import WORK_RESULT, Receipt
from loominal.model.read_marks import ReadMarks
from loominal.model.record import decode


class Box:
    """One agent's inbox: its trail, and its marks as they are known here."""

    __slots__ = ("extra", "marks", "revision", "trail", "turn", "unwritten")

    def __init__(self) -> None:
        self.trail = Trail()
        self.marks = ReadMarks()
        self.extra: dict[str, msgspec.Raw] = {}  # fields of the stored marks that this version does not know
        self.revision = 0
        self.unwritten = False  # the marks are ahead of the stored ones
        self.turn = asyncio.Lock()  # held by the read that is choosing a page


class Inboxes:
    """Every inbox of one project."""

    def __init__(self, wakes: Wakes, clock: Clock) -> None:
        self.intake = Intake()
        self.receipts = Receipts()
        self.flushed_at = 0.0  # monotonic
        self._wakes = wakes
        self._clock = clock
        self._boxes: defaultdict[str, Box] = defaultdict(Box)
        self._unwritten: set[str] = set()

    def apply(self, record: Record) -> None:
        """Take a stored message in the order of the log; one that is known changes nothing."""
        self._add(record)
        self.intake.followed(record)

    def written(self, record: Record) -> None:
        """Take a message that this hub has just stored."""
        self._add(record)
        self.intake.written(record)

    def apply_entry(self, change: Entry | Deleted) -> None:
        """Take a change of a key `in.<agent>`; one that is not newer changes nothing.

        Raises: CorruptRecord; the agent then starts from unread, and its next marks replace the broken ones.
        """
        box = self._boxes[change.key.partition(".")[2]]
        if change.revision <= box.revision:
            return
        box.revision, known = change.revision, box.marks
        box.marks, box.extra = ReadMarks(), {}
        if isinstance(change, Entry):
            stored = decode(ReadMarks, change.value)
            box.marks, box.extra = read_marks.catch_up(stored.value, known), stored.extra

    def box(self, agent: str) -> Box:
        """Return an agent's inbox."""
        return self._boxes[agent]

    def trail(self, agent: str) -> Trail:
        """Return where an agent's messages are."""
        return self._boxes[agent].trail

    def marks(self, agent: str) -> ReadMarks:
        """Return how far an agent has read."""
        return self._boxes[agent].marks

    def unread(self, agent: str) -> int:
        """Return how many messages of its inbox `agent` was not shown yet."""
        box = self._boxes[agent]
        return read_marks.unread_count(box.marks, box.trail.sequences)

    def surface(self, agent: str, incarnation: str, answered: Collection[str]) -> None:
        """Take from a request which reads of its process have been answered there: what they showed was seen."""
        if answered and agent in self._boxes:
            marks = self._boxes[agent].marks
            self.learn(agent, read_marks.surface(marks, incarnation, answered))

    def learn(self, agent: str, marks: ReadMarks) -> None:
        """Take marks that are to be written later, and tell the senders."""
        box = self._boxes[agent]
        if marks != box.marks:
            self._tell(agent, box.marks, marks)
            box.marks, box.unwritten = marks, True
            self._unwritten.add(agent)

    def wrote(self, agent: str, before: ReadMarks, marks: ReadMarks, revision: int) -> None:
        """Take marks that were written over those `before`; what was learned meanwhile stays to be written."""
        box = self._boxes[agent]
        self._tell(agent, before, marks)
        known = read_marks.catch_up(marks, box.marks)
        box.marks, box.unwritten = known, known != marks
        box.revision = max(box.revision, revision)
        (self._unwritten.add if box.unwritten else self._unwritten.discard)(agent)

    def unwritten(self) -> list[str]:
        """Return the agents whose marks are ahead of the stored ones."""
        return list(self._unwritten)

    def _tell(self, agent: str, before: ReadMarks, after: ReadMarks) -> None:
        """Note the receipts for what became shown or acknowledged, and wake the senders."""
        trail, acked = self._boxes[agent].trail, set(after.acked).difference(before.acked)
        due = dict.fromkeys(acked, Receipt.ACKED)
        if (before.through, before.left, before.surfaced) != (after.through, after.left, after.surfaced):
            for sequence in read_marks.unread(before, trail.sequences):
                if read_marks.is_shown(after, sequence):
                    due.setdefault(sequence, Receipt.SURFACED)
        for sequence, receipt in sorted(due.items()):
            label = trail.label(sequence)
            if label.home:
                self.receipts.send(Leaving(label.home, label.sender, sequence, receipt, agent, self._clock.now()))
            elif label.sender and label.message_type != WORK_RESULT:
                self.receipts.add(label.sender, sequence, receipt, agent, self._clock.now())
                self._wakes.wake(label.sender)

    def _add(self, record: Record) -> None:
        agent = subjects.last_token(record.subject)
        new = self._boxes[agent].trail.add(record.sequence, sent_at(record), self.intake.label(record))
        if new or record.sequence > self.intake.complete:
            self._wakes.wake(agent)
