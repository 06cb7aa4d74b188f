"""What the logs hold, read with a hub's rights once everything is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from chaos.place import Place
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.log import Log, Record
from loominal.model import record
from loominal.model.errors import BrokerUnavailable
from loominal.model.message import Message
from loominal.model.work import ENDED, Notify, Status, WorkItem
from tests.checker import Checked, check, read_work

PAGE = 1000
LOOK_SECONDS = 0.5
CALM_SECONDS = 2.0  # for which nothing must have moved: an end that is told may bring an item back to life


class Kept(msgspec.Struct, frozen=True):
    """A message of a log: of the channel or the inbox `place`."""

    place: str
    sequence: int
    message: Message


class Books(msgspec.Struct, frozen=True):
    """Everything that the fabric has accepted, by its own word."""

    work: Checked
    messages: list[Kept]  # direct ones and those of channels, oldest first in each log


async def read_books(place: Place) -> Books:
    """Return what the logs hold."""
    project = place.project
    async with place.hub_rights() as broker:
        work = check(project, await read_work(Log(broker, subjects.work_stream(project)), project))
        channels = await _messages(Log(broker, subjects.channels_stream(project)), subjects.every("ch", project))
        inboxes = await _messages(Log(broker, subjects.inbox_stream(project)), subjects.every("in", project))
    return Books(work, channels + inboxes)


async def _messages(log: Log, subject_filter: str) -> list[Kept]:
    found: list[Record] = []
    while page := await log.page(subject_filter, found[-1].sequence + 1 if found else 1, PAGE):
        found += page
    return [
        Kept(subjects.last_token(each.subject), each.sequence, record.decode(Message, each.data).value)
        for each in found
    ]


async def quiet(place: Place, seconds: float) -> list[str]:
    """Return when every item has ended and its offerer was told, or after `seconds`; what still waits then."""
    items: dict[str, WorkItem] = {}
    read, moved_at, until = 0, time.monotonic(), time.monotonic() + seconds
    async with place.hub_rights() as broker:
        while True:
            page = await _page(broker, place.project, read + 1)
            for each in page:
                items[subjects.last_token(each.subject)] = record.decode(WorkItem, each.data).value
                read, moved_at = each.sequence, time.monotonic()
            waiting = [item for item in items.values() if not _at_rest(item)]
            now = time.monotonic()
            if now > until or (not waiting and now - moved_at > CALM_SECONDS):
                return [f"{item.id} is {item.status}, last {item.last.move}, told: {item.told}" for item in waiting]
            if not page:
                await asyncio.sleep(LOOK_SECONDS)


def _at_rest(item: WorkItem) -> bool:
    return item.status in ENDED and (item.told or item.notify is Notify.NONE or item.status is Status.DISCARDED)


async def _page(broker: Broker, project: str, first: int) -> list[Record]:
    with contextlib.suppress(BrokerUnavailable):
        return await Log(broker, subjects.work_stream(project)).page(subjects.every("wk", project), first, PAGE)
    return []
