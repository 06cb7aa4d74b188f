"""The wefts of one fabric: each renews a record in a bucket in memory, and sees by it who else is alive.

Weft runs one `Membership`; every hub asks it who is to lead its project.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Bucket, Entry
from loominal.broker.connection import Broker, Received
from loominal.model import record as records
from loominal.model.errors import CorruptRecord, LoominalError
from loominal.model.members import RENEW_SECONDS, STALL_SECONDS, Sightings, order
from loominal.model.names import PROJECT_NAME

FORGET_SECONDS = 60.0  # a record that was not renewed for so long is removed by the broker
ASK_SECONDS = 1.5  # for one renewal; whoever needs longer is not sure of anything

log = logging.getLogger(__name__)


class Member(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One weft, as the others see it."""

    v: int = records.version(1)
    weft: str
    format: int  # of what it stores
    leaving: bool = False


class Membership:
    """This weft among the others. `ended` says of a weft whether it is known on this machine to have ended."""

    def __init__(self, broker: Broker, weft: str, format_: int, ended: Callable[[str], bool]) -> None:
        self._me = weft
        self._handing_over = asyncio.Lock()
        self._bucket = Bucket(broker, subjects.WEFTS)
        self._own = Member(weft=weft, format=format_)
        self._ended = ended
        self._sightings = Sightings(weft)
        self._members: dict[str, Member] = {weft: self._own}
        self._revisions: dict[str, int] = {}
        self._last = 0  # revision of our own record
        self._view: object = None
        self._joined = asyncio.Event()
        self._connected = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def me(self) -> str:
        """This weft's id."""
        return self._me

    @property
    def handing_over(self) -> asyncio.Lock:
        """Held while a project goes to another weft that is better placed to lead it: one at a time."""
        return self._handing_over

    @property
    def weft_ids(self) -> list[str]:
        """The wefts that are alive and stay, this one among them unless it is leaving."""
        members = self._members
        alive = (weft for weft in self._sightings.alive(time.monotonic()) if weft == self.me or not self._ended(weft))
        return sorted(weft for weft in alive if weft not in members or not members[weft].leaving)

    def order(self, project: str) -> list[str]:
        """Return the wefts that are alive and stay in the order in which they are to lead `project`.

        Those of an older format are left out: they cannot lead what a newer one has written, this weft for example.
        """
        formats = {weft: self._members[weft].format for weft in self.weft_ids if weft in self._members}
        newest = max([self._own.format, *formats.values()])  # it is not there itself once it leaves
        return order(project, [weft for weft, format_ in formats.items() if format_ == newest])

    def is_dead(self, weft: str) -> bool:
        """Return whether `weft` is known to have ended, or has not renewed its record for too long."""
        return weft != self.me and (self._sightings.is_dead(weft, time.monotonic()) or self._ended(weft))

    def sure(self) -> bool:
        """Return whether this weft has renewed its own record lately: else it judges nobody."""
        return self._sightings.sure(time.monotonic())

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever another weft comes, leaves or dies; return what takes it off again."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def remind(self, weft: str, project: str) -> None:
        """Let `weft` know that it leads `project`, should it not have it loaded. Raises: BrokerUnavailable."""
        await self._bucket.log.broker.publish(subjects.reminder(weft), project.encode())

    async def heed(self, load: Callable[[str], None]) -> None:
        """Call `load` with every project of which another weft says that this one leads it."""

        def take(message: Received) -> None:
            project = message.data.decode("ascii", "replace")
            if PROJECT_NAME.fullmatch(project):
                load(project)

        await self._bucket.log.broker.subscribe(subjects.reminder(self.me), take)

    async def joined(self) -> None:
        """Return when this weft has renewed its record for the first time."""
        await self._joined.wait()

    async def leave(self) -> None:
        """Let the others know that this weft is about to end. Raises: BrokerUnavailable."""
        self._members[self.me] = self._own = msgspec.structs.replace(self._own, leaving=True)
        await self._put()

    async def run(self) -> None:
        """Renew until cancelled."""
        off = self._bucket.log.broker.on_connect(self._connect)
        try:
            due_at = time.monotonic()
            while True:
                if time.monotonic() - due_at > STALL_SECONDS:
                    self._restart()
                due_at = time.monotonic() + RENEW_SECONDS
                self._connected.clear()
                await self._round()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(due_at - time.monotonic(), 0)):
                        await self._connected.wait()
        finally:
            off()

    def _connect(self) -> None:
        self._restart()
        self._connected.set()

    async def _round(self) -> None:
        try:
            await self._renew()
        except LoominalError as error:
            if self._view is not None:
                log.info("this weft cannot renew its record: %s", error)
            self._restart()
            try:
                if await self._bucket.log.state() is None:
                    await self._bucket.ensure(in_memory=True, max_age_seconds=FORGET_SECONDS)
                    await self._renew()
            except LoominalError as still:
                log.debug("the wefts' bucket cannot be made: %s", still)  # the next round tries again

    def _restart(self) -> None:
        self._sightings.restart()
        self._view = None

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        before, revision = self._last, await self._put()
        if revision == before + 1:  # nobody else has renewed since
            self._revisions[self.me] = revision
        else:
            entries = await self._bucket.entries()
            self._revisions = {entry.key: entry.revision for entry in entries}
            self._members = {entry.key: member for entry in entries if (member := _member(entry)) is not None}
        self._members[self.me] = self._own
        now = time.monotonic()
        if now - asked_at > STALL_SECONDS:
            self._restart()
        self._sightings.renewed(self._revisions, now)
        self._joined.set()
        self._tell(now)

    async def _put(self) -> int:
        self._last = await self._bucket.put(self.me, records.encode(self._own), seconds=ASK_SECONDS)
        return self._last

    def _tell(self, now: float) -> None:
        """Call everybody back if what can be concluded is not what it was."""
        view = (self.weft_ids, self._sightings.is_dead("", now))  # "": any that has no record
        if view != self._view:
            self._view = view
            log.info("wefts: %s", ", ".join(view[0]))
            for callback in list(self._callbacks):
                callback()


def _member(entry: Entry) -> Member | None:
    try:
        return records.decode(Member, entry.value).value
    except CorruptRecord as error:
        log.warning("the record of weft %s cannot be read: %s", entry.key, error.message)
        return None
