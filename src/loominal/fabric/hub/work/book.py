"""The book of a project's items: their last records in memory, indexed for matching, timers and lists.

The log is the truth; `moving.py` writes it and `apply` follows it. What is long (a result) is left in the log.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.log import Record
from loominal.fabric.hub.work.shelves import Shelves, label_of
from loominal.model import record as records
from loominal.model.errors import CorruptRecord, NotFound
from loominal.model.names import shown
from loominal.model.ready import ReadyIndex
from loominal.model.work import ENDED, WAITING, Notify, Status, WorkItem, status_at, with_sequence

SHORT_BYTES = 4096  # of a result: so many items may end at once that longer ones are left in the log


class Entry(msgspec.Struct, frozen=True):
    """An item as of its last record."""

    item: WorkItem
    sequence: int
    extra: dict[str, msgspec.Raw]  # fields of a later version, written back
    whole: bool = True  # False: the item has a result, which is only in the log


def read(record: Record) -> Entry:
    """Return the whole entry a record holds. Raises: CorruptRecord."""
    stored = records.decode(WorkItem, record.data)
    if stored.value.id != subjects.last_token(record.subject):
        raise CorruptRecord(f"the record of {shown(stored.value.id)} stands on {record.subject}")
    return Entry(with_sequence(stored.value, record.sequence), record.sequence, stored.extra)


class WorkBook:
    """Every item that is not forgotten."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.shelves = Shelves()
        self.needing: defaultdict[str, Shelves] = defaultdict(Shelves)  # capability -> the items that need it
        self.offered_by: defaultdict[str, Shelves] = defaultdict(Shelves)  # agent -> its items
        self._due: list[tuple[datetime, str]] = []  # heap; entries may be outdated
        self._deadlines: list[tuple[datetime, str]] = []  # heap; entries may be outdated
        self.ready = ReadyIndex()
        self.held_by: defaultdict[str, set[str]] = defaultdict(set)  # agent -> items it claims
        self.children: defaultdict[str, set[str]] = defaultdict(set)  # item -> blocked items that wait for it
        self.untold: set[str] = set()  # ended, and the offerer was not told yet
        self._called: dict[str, tuple[str, ...]] = {}  # task id -> the items that their offerers call so

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, item_id: str) -> Entry | None:
        """Return the entry of `item_id`, or None."""
        return self._entries.get(item_id)

    def find(self, item_id: str) -> Entry:
        """Return the entry of `item_id`. Raises: NotFound."""
        entry = self._entries.get(item_id)
        if entry is None or entry.item.collected:
            raise NotFound(f"there is no work item {shown(item_id)}", "list_work shows the items")
        return entry

    def called(self, task_id: str) -> tuple[str, ...]:
        """Return the items that their offerers call `task_id`."""
        return self._called.get(task_id, ())

    def counts(self, now: datetime | None = None) -> Counter[Status]:
        """Return how many items stand where; scheduled ones that are due at `now` count as ready."""
        return self.shelves.counts(now)

    def items(self) -> Iterator[WorkItem]:
        """Yield every item, in no order."""
        for entry in self._entries.values():
            yield entry.item

    def oldest_first(self, status: Status) -> Iterator[WorkItem]:
        """Yield the items of `status`, oldest submission first."""
        for _, item_id in self.shelves.oldest_first(status):
            yield self._entries[item_id].item

    def apply(self, entry: Entry) -> bool:
        """Take an item's newer record; return whether it was news."""
        old = self._entries.get(entry.item.id)
        if old is not None and old.sequence >= entry.sequence:
            return False
        if old is not None:
            self._forget(old.item)
        elif not entry.item.collected:
            self._called[entry.item.task_id] = (*self.called(entry.item.task_id), entry.item.id)
        if entry.item.collected:
            self._uncall(old)
            self._entries[entry.item.id] = entry
            return True
        self._entries[entry.item.id] = _kept(entry)
        self._remember(entry.item)
        return True

    def drop(self, item_id: str, sequence: int) -> None:
        """Forget an item whose record at `sequence` cannot be read, unless a newer one is here."""
        old = self._entries.get(item_id)
        if old is not None and old.sequence < sequence:
            self._forget(old.item)
            self._uncall(old)
            del self._entries[item_id]

    def put_back(self, item_id: str) -> None:
        """Offer an item again that was taken out of `ready` to be claimed, if it still waits there."""
        entry = self._entries.get(item_id)
        if entry and entry.item.status is Status.READY:
            self.ready.add(entry.item, entry.item.ready_at or entry.item.submitted_at)
        elif entry and entry.item.status is Status.SCHEDULED:
            heapq.heappush(self._due, (entry.item.due_at or entry.item.submitted_at, item_id))

    def due(self, now: datetime) -> list[str]:
        """Return the scheduled items that became ready, each once, and put them among the ready ones."""
        found = []
        while self._due and self._due[0][0] <= now:
            at, item_id = heapq.heappop(self._due)
            entry = self._entries.get(item_id)
            if entry and entry.item.status is Status.SCHEDULED and (entry.item.due_at or at) == at:
                self.ready.add(entry.item, at)
                found.append(item_id)
        return found

    def expired(self, now: datetime) -> list[str]:
        """Return the items whose deadline passed while they wait."""
        found = []
        while self._deadlines and self._deadlines[0][0] <= now:
            at, item_id = heapq.heappop(self._deadlines)
            entry = self._entries.get(item_id)
            if entry and entry.item.status in WAITING and entry.item.deadline == at:
                found.append(item_id)
        return found

    def next_deadline(self) -> datetime | None:
        """Return the earliest deadline of an item that waits, None if there is none."""
        while self._deadlines:
            at, item_id = self._deadlines[0]
            entry = self._entries.get(item_id)
            if entry and entry.item.status in WAITING and entry.item.deadline == at:
                return at
            heapq.heappop(self._deadlines)
        return None

    def next_due(self) -> datetime | None:
        """Return when the next scheduled item becomes ready, None if there is none."""
        while self._due:
            at, item_id = self._due[0]
            entry = self._entries.get(item_id)
            if entry and entry.item.status is Status.SCHEDULED and (entry.item.due_at or at) == at:
                return at
            heapq.heappop(self._due)
        return None

    def watch_deadline(self, item_id: str) -> None:
        """Look at an item's deadline again: the judgement could not be written."""
        entry = self._entries.get(item_id)
        if entry and entry.item.deadline:
            heapq.heappush(self._deadlines, (entry.item.deadline, item_id))

    def status(self, item: WorkItem, now: datetime) -> Status:
        """Return where `item` stands at `now`."""
        return status_at(item, now)

    def _remember(self, item: WorkItem) -> None:
        place, label = (item.submitted_at, item.id), label_of(item)
        self.shelves.add(item, label, place)
        self.offered_by[item.submitter].add(item, label, place)
        for each in item.capabilities:
            self.needing[each].add(item, label, place)
        match item.status:
            case Status.READY:
                self.ready.add(item, item.ready_at or item.submitted_at)
            case Status.SCHEDULED:
                heapq.heappush(self._due, (item.due_at or item.submitted_at, item.id))
            case Status.CLAIMED:
                self.held_by[item.claimed_by].add(item.id)
                self.ready.claim(item)
        if item.deadline and item.status in WAITING:
            heapq.heappush(self._deadlines, (item.deadline, item.id))
        for parent, outcome in item.deps.items():
            if outcome is None and item.status is Status.BLOCKED:
                self.children[parent].add(item.id)
        if _untold(item):
            self.untold.add(item.id)

    def _uncall(self, entry: Entry | None) -> None:
        if entry is not None and (
            rest := tuple(each for each in self.called(entry.item.task_id) if each != entry.item.id)
        ):
            self._called[entry.item.task_id] = rest
        elif entry is not None:
            self._called.pop(entry.item.task_id, None)

    def _forget(self, item: WorkItem) -> None:
        self.shelves.remove(item)
        _take_from(self.offered_by, item.submitter, item)
        for each in item.capabilities:
            _take_from(self.needing, each, item)
        self.ready.remove(item.id)
        if item.status is Status.CLAIMED:
            self.held_by[item.claimed_by].discard(item.id)
            if not self.held_by[item.claimed_by]:
                del self.held_by[item.claimed_by]
        for parent in item.deps:
            if parent in self.children:
                self.children[parent].discard(item.id)
                if not self.children[parent]:
                    del self.children[parent]
        self.untold.discard(item.id)


def _take_from(shelves: defaultdict[str, Shelves], name: str, item: WorkItem) -> None:
    shelves[name].remove(item)
    if not shelves[name]:
        del shelves[name]


def _kept(entry: Entry) -> Entry:
    """Return the entry without a result; a short one stays until the offerer was told of it."""
    result, item = entry.item.result, entry.item
    if result is None or (_untold(item) and len(msgspec.json.encode(result)) <= SHORT_BYTES):
        return entry
    return replace(entry, item=replace(item, result=None), whole=False)


def _untold(item: WorkItem) -> bool:
    """Return whether the offerer is still to hear of the item's end."""
    heard = item.told or item.notify is Notify.NONE
    return item.status in ENDED and not heard


def item_of(subject: str) -> str:
    """Return the item whose state or submission is stored on `subject`."""
    return subjects.last_token(subject)
