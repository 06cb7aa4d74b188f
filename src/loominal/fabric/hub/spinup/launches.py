"""The launches of a project in memory and in its log of work: one subject each, every write behind the leader's fence.

Memory follows the log; what is written here is in memory when the write returns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.broker import subjects
from loominal.fabric.hub.agents.events_log import EventKind, record_event
from loominal.fabric.hub.lead.guard import guarded
from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.model.errors import BrokerUnavailable, Conflict, IllegalMove, NotFound
from loominal.model.launch import (
    BOOTING,
    CLOSED,
    DETAIL_CHARACTERS,
    LIVE,
    Launch,
    LaunchMove,
    LaunchStatus,
    closing,
    moved,
)
from loominal.model.names import shown
from loominal.model.record import Stored, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loominal.broker.log import Record
    from loominal.fabric.hub.project import Project
    from loominal.model.times import Instant

TRIES = 8
KEPT = timedelta(days=7)  # how long a launch that is over is shown


class Launches:
    """Every launch that is not forgotten."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored[Launch]] = {}
        self._sequences: dict[str, int] = {}
        self._of_target: defaultdict[str, set[str]] = defaultdict(set)
        self._live: set[str] = set()
        self.counts: Counter[LaunchStatus] = Counter()  # of all that are not forgotten

    def get(self, launch_id: str) -> Launch | None:
        """Return a launch, None if there is none."""
        stored = self._stored.get(launch_id)
        return stored.value if stored else None

    def find(self, launch_id: str) -> Launch:
        """Return a launch. Raises: NotFound."""
        found = self.get(launch_id)
        if found is None:
            raise NotFound(f"there is no spin-up {shown(launch_id)}", "list_spin_ups shows them")
        return found

    def stored(self, launch_id: str) -> tuple[Stored[Launch] | None, int]:
        """Return a launch with its fields of a later version, and the sequence of its record."""
        return self._stored.get(launch_id), self._sequences.get(launch_id, 0)

    def all(self) -> list[Launch]:
        """Return every launch, the newest request first."""
        found = (stored.value for stored in self._stored.values())
        return sorted(found, key=lambda each: (each.requested_at, each.id), reverse=True)

    def live(self) -> list[Launch]:
        """Return the launches that count against their target's maximum."""
        return [self._stored[each].value for each in sorted(self._live)]

    @property
    def any_live(self) -> bool:
        """Whether there are such launches."""
        return bool(self._live)

    def closed_since(self, moment: Instant) -> Iterator[Launch]:
        """Yield the launches that ended at `moment` or later."""
        for stored in self._stored.values():
            if stored.value.ended_at is not None and stored.value.ended_at >= moment:
                yield stored.value

    def of_target(self, target_id: str) -> list[Launch]:
        """Return the launches of one target, the newest request first."""
        found = (self._stored[each].value for each in self._of_target.get(target_id, ()))
        return sorted(found, key=lambda each: (each.requested_at, each.id), reverse=True)

    def failures(self, target_id: str) -> tuple[int, Instant | None]:
        """Return how many starts failed in a row on a target, and when the last of them did.

        A start whose agent came and was of no use has failed, too.
        """
        count, at = 0, None
        for launch in self.of_target(target_id):
            if launch.fruitless or launch.status in (LaunchStatus.FAILED, LaunchStatus.TIMED_OUT):
                count, at = count + 1, at or launch.ended_at or launch.closing_at
            elif launch.registered_at is not None:
                break
        return count, at

    def booting(self, target_id: str) -> int:
        """Return how many agents of a target are yet to come."""
        return sum(launch.status in BOOTING for launch in self.of_target(target_id))

    def apply(self, launch_id: str, sequence: int, data: bytes) -> None:
        """Take a record into memory; one that is not newer changes nothing. Raises: CorruptRecord."""
        if sequence <= self._sequences.get(launch_id, 0):
            return
        self.forget(launch_id)
        self._sequences[launch_id] = sequence
        if not data:  # purged
            return
        stored = self._stored[launch_id] = decode(Launch, data)
        self._of_target[stored.value.target].add(launch_id)
        self.counts[stored.value.status] += 1
        if stored.value.status in LIVE:
            self._live.add(launch_id)

    def forget(self, launch_id: str) -> None:
        """Forget a launch."""
        stored = self._stored.pop(launch_id, None)
        self._live.discard(launch_id)
        if stored is not None:
            self._of_target[stored.value.target].discard(launch_id)
            self.counts[stored.value.status] -= 1


def follow(project: Project, record: Record) -> None:
    """Take a record of the log into memory. Raises: CorruptRecord."""
    _take(project, subjects.last_token(record.subject), record.sequence, record.data)


def _take(project: Project, launch_id: str, sequence: int, data: bytes) -> None:
    """Take a record into memory, and count it once if it was written while this weft led. Raises: CorruptRecord."""
    before, known = project.launches.get(launch_id), project.launches.stored(launch_id)[1]
    project.launches.apply(launch_id, sequence, data)
    after = project.launches.get(launch_id)
    if after is not None and sequence > known and project.leadership.led_at(sequence):
        project.tally.launched(before, after)


async def request(project: Project, launch: Launch) -> Launch:
    """Store a new launch, before anybody is asked to start anything.

    Raises: Conflict if it was requested before, or another weft has taken the lead; BrokerUnavailable (it may be
    stored all the same).
    """
    return await _write(project, launch, encode(launch), 0)


async def is_open(project: Project, launch_id: str) -> bool:
    """Return whether a launch may go on, by a fresh read: it is neither closed nor to be. Raises: BrokerUnavailable."""
    last = await project.work_log.last(subjects.launch(project.id, launch_id))
    if last is None:
        return False
    follow(project, last)
    found = project.launches.get(launch_id)
    return found is not None and found.status in LIVE and found.closing is None


async def make(
    project: Project,
    launch_id: str,
    move: LaunchMove,
    *,
    reference: str = "",
    detail: str = "",
    output: str = "",
    unended: bool = False,
) -> Launch:
    """Move a launch and return it. Raises: NotFound, IllegalMove, Conflict (another weft leads), BrokerUnavailable."""

    def change(launch: Launch) -> Launch:
        now = project.clock.now()
        if move is LaunchMove.START and launch.status is LaunchStatus.REGISTERED and launch.closing is None:
            # its agent was quicker
            return replace(launch, reference=reference or launch.reference, started_at=launch.started_at or now)
        after = moved(launch, move, now, reference=reference, detail=detail, output=output)
        return replace(after, unended=unended)

    return await _change(project, launch_id, change)


async def mark_closing(
    project: Project,
    launch_id: str,
    move: LaunchMove,
    *,
    reference: str = "",
    detail: str = "",
    output: str = "",
    fruitless: bool = False,
) -> Launch:
    """Note that a launch is to end by `move`. Raises: as `make`."""

    def change(launch: Launch) -> Launch:
        after = closing(launch, move, project.clock.now(), reference=reference, detail=detail, output=output)
        return replace(after, fruitless=fruitless)

    return await _change(project, launch_id, change)


async def note_refusal(project: Project, launch_id: str, why: str) -> Launch:
    """Note why the agent of a launch was not let register; of one that has come nothing is noted. Raises: as `make`."""

    def change(launch: Launch) -> Launch:
        return replace(launch, refusal=why[:DETAIL_CHARACTERS]) if launch.status in BOOTING else launch

    return await _change(project, launch_id, change)


async def mark_draining(project: Project, launch_id: str) -> Launch:
    """Note that the agent of a launch was told to end. Raises: as `make`."""

    def change(launch: Launch) -> Launch:
        if launch.status in CLOSED or launch.closing is not None:
            raise IllegalMove(f"launch {launch.id} is {launch.status}, or about to end")
        return replace(launch, draining=True)

    return await _change(project, launch_id, change)


async def collect(project: Project) -> None:
    """Forget the launches that have been over for long. Raises: BrokerUnavailable."""
    before = project.clock.now() - KEPT
    for launch in project.launches.all():
        if launch.ended_at is not None and launch.ended_at < before:
            await project.work_log.purge(subjects.launch(project.id, launch.id))
            project.launches.forget(launch.id)


def spin_up_view(project: Project, launch: Launch, *, output: bool = False) -> SpinUpView:
    """Return a launch as lists show it."""
    record = project.agents.get(launch.agent) if launch.agent else None
    return SpinUpView(
        id=launch.id,
        target=launch.target_name,
        target_id=launch.target,
        mechanism=launch.mechanism,
        agent_type=launch.agent_type,
        status=launch.status,
        agent=launch.agent,
        handle=record.handle if record else "",
        work_id=launch.work,
        by=project.agents.shown(launch.by) if launch.by else "",
        reference=launch.reference,
        detail=launch.detail or launch.refusal,
        output=launch.output if output else "",
        draining=launch.draining,
        requested_at=launch.requested_at,
        started_at=launch.started_at,
        registered_at=launch.registered_at,
        ended_at=launch.ended_at,
    )


async def _change(project: Project, launch_id: str, change: Callable[[Launch], Launch]) -> Launch:
    for _ in range(TRIES):
        stored, sequence = project.launches.stored(launch_id)
        if stored is None:
            raise NotFound(f"there is no spin-up {shown(launch_id)}", "list_spin_ups shows them")
        after = change(stored.value)
        if after == stored.value:
            return after
        try:
            return await _write(project, after, encode(after, stored.extra), sequence)
        except Conflict:
            if not await _is_news(project, launch_id, sequence):
                raise
    raise BrokerUnavailable(f"launch {launch_id} changes faster than it can be written")


async def _write(project: Project, launch: Launch, data: bytes, expect: int) -> Launch:
    before = project.launches.get(launch.id)  # behind the write memory may have followed the log already
    sequence = await guarded(project, subjects.launch(project.id, launch.id), data, expect)
    _take(project, launch.id, sequence, data)
    if before is None or before.status is not launch.status:
        await record_event(project, EventKind(f"launch-{launch.status}"), spin_up_view(project, launch))
    return launch


async def _is_news(project: Project, launch_id: str, sequence: int) -> bool:
    """Read a launch anew, and return whether somebody has moved it; if nobody has, the fence was in the way."""
    last = await project.work_log.last(subjects.launch(project.id, launch_id))
    if last is None or last.sequence == sequence:
        return False
    follow(project, last)
    return True
