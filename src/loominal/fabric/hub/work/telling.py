"""The offerer hears of the end: one `work-result` message in its inbox, exactly once, whatever dies in between.

The message's dedupe id names the end's record; `tell` is appended some time after the message is stored: the holder
claims its next item right now, and that claim should not queue behind a mark nobody waits for. A leader that finds an
end untold for longer than the broker's dedupe window is safe for looks for the message before it writes it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from loominal.broker import subjects
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.talk.ops_inbox import deliver
from loominal.fabric.hub.work.moving import move, refresh
from loominal.fabric.hub.work.submitting import is_own_name
from loominal.model import record as records
from loominal.model.errors import BrokerUnavailable, CorruptRecord, IllegalMove, LoominalError, NotFound
from loominal.model.message import Importance, Message, Sender
from loominal.model.moves import Tell
from loominal.model.work import Status, WorkItem

log = logging.getLogger(__name__)

TYPE = "work-result"
LOOK_FIRST_AFTER = timedelta(minutes=20)  # the broker forgets dedupe ids after 30
PAGE = 256
MARK_ROUNDS = 2  # of the leader, between the message and its mark
AT_ONCE = 4  # ends told of at the same time; claims and completions go on beside them


async def tell_all(project: Project) -> None:
    """Tell every end that nobody was told of yet, and mark those whose message has been there for a while."""
    waiting = [each for each in project.book.untold if _is_due(project, each)]
    for start in range(0, len(waiting), AT_ONCE):
        each = (_tell(project, item_id) for item_id in waiting[start : start + AT_ONCE])
        for failure in await asyncio.gather(*each, return_exceptions=True):
            if isinstance(failure, LoominalError) and not isinstance(failure, BrokerUnavailable):
                log.warning("project %s: an end cannot be told yet: %s", project.id, failure)  # the others can
            elif failure is not None:
                raise failure


def _is_due(project: Project, item_id: str) -> bool:
    """Return whether an untold end needs its message or its mark now."""
    told_at = project.told.get(item_id)
    return told_at is None or project.clock.monotonic() - told_at >= MARK_ROUNDS * project.timings.round_seconds


async def _tell(project: Project, item_id: str) -> None:
    entry = project.book.get(item_id)
    if entry is None or not entry.whole:
        entry = await refresh(project, item_id)
    if entry is None or entry.item.ended_at is None or entry.item.told:
        return
    if item_id not in project.told:
        await _send(project, entry.item)
        return
    try:
        await move(project, item_id, Tell(), known=entry)
    except (IllegalMove, NotFound):
        return  # it was retried meanwhile: another end will be told
    project.told.pop(item_id, None)


async def _send(project: Project, item: WorkItem) -> None:
    """Put the message of the item's end into the offerer's inbox. Noted first: a retry meanwhile voids the note."""
    project.told[item.id] = project.clock.monotonic()
    try:
        if not await _told_before(project, item):
            await deliver(project, item.submitter, _message(project, item), dedupe=_dedupe(item))
    except LoominalError:
        project.told.pop(item.id, None)
        raise


async def _told_before(project: Project, item: WorkItem) -> bool:
    if item.ended_at is None or project.clock.now() - item.ended_at < LOOK_FIRST_AFTER:
        return False
    subject, first = subjects.inbox(project.id, item.submitter), 1
    while page := await project.inbox_log.page(subject, first, PAGE):
        for record in page:
            try:
                message = records.decode(Message, record.data).value
            except CorruptRecord:
                continue
            if message.metadata.get("end") == _dedupe(item):
                return True
        first = page[-1].sequence + 1
    return False


def _dedupe(item: WorkItem) -> str:
    """Return what names this end of the item: a retried item may end again."""
    ended = item.ended_at.timestamp() if item.ended_at else 0
    return f"{item.id}:{ended:.6f}"


def _message(project: Project, item: WorkItem) -> Message:
    holder = item.last_holder
    shown = project.agents.shown(holder) if holder else "nobody"
    outcome = {
        Status.DONE: f"done by {shown}",
        Status.DEAD: f"dead ({item.dead_reason}) after {item.attempt} {'attempt' if item.attempt == 1 else 'attempts'}",
        Status.CANCELLED: "cancelled",
        Status.DISCARDED: "discarded",
    }[item.status]
    metadata: dict[str, object] = {
        "workId": item.id,
        "taskId": item.task_id,
        "status": str(item.status),
        "end": _dedupe(item),
    }
    lines = [f"Your work item {item.id if is_own_name(item.task_id) else item.task_id} is {outcome}."]
    if item.result is not None:
        metadata["summary"] = item.result.summary[:2000]
    if item.errors and item.status is not Status.DONE:  # of an attempt before the one that did it
        metadata["error"] = item.errors[-1].message[:2000]
    lines.append(f"get_work {item.id} shows the rest.")
    return Message(
        sender=Sender(guid=holder or item.submitter, handle=shown if holder else project.agents.shown(item.submitter)),
        text=" ".join(lines),
        message_type=TYPE,
        importance=Importance.HIGH if item.status is Status.DEAD else Importance.NORMAL,
        metadata=metadata,
    )
