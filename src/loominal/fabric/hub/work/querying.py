"""Looking at items: lists, one item with its history, long fields in parts, waiting for an end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting, part, room_for_entries
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import read
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.judging import cancel
from loominal.fabric.hub.work.moving import refresh
from loominal.fabric.hub.work.views import Why, entry_view, submission_of, with_texts
from loominal.fabric.operations.work import (
    CancelWork,
    FailureView,
    GetWork,
    HistoryEntry,
    ListWork,
    WorkDetail,
    WorkField,
    WorkMoved,
    WorkPage,
    WorkView,
)
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import cursor as cursors
from loominal.model import names
from loominal.model.errors import BadCursor, CorruptRecord, IllegalMove, InvalidArgument, NotOwner
from loominal.model.grant import Role
from loominal.model.work import ENDED, Result, Status, WorkItem, done_op, status_at

RESULT_SHARE = 2  # a result may take half of the room


async def list_work(project: Project, caller: Caller, args: ListWork) -> WorkPage:
    """Return a page of items, newest submission first, and how many there are in all."""
    query = f"work {args.status} {args.capability} {args.boundary} {args.mine}"
    before = _place(args.cursor, query, project.generation)
    total = sum(1 for _ in _matching(project, caller, args, None))
    why = Why(project)
    found: list[WorkView] = []
    entries = (entry_view(project, caller, item, why) for item in _matching(project, caller, args, before))
    for view in fitting(entries, caller.limit_bytes):
        if len(found) == args.limit:
            break
        found.append(view)
    more = bool(found) and next(_matching(project, caller, args, _key(project, found[-1].id)), None) is not None
    next_cursor = cursors.cursor(query, project.generation, *_written(project, found[-1].id)) if more else None
    return WorkPage(items=tuple(found), total=total, next_cursor=next_cursor)


async def get_work(project: Project, caller: Caller, args: GetWork) -> WorkDetail:
    """Return one item with all that is known of it, waiting for its end if asked to."""
    item_id = resolve(project, caller, args.work_id).item.id

    def ended() -> bool:
        entry = project.book.get(item_id)
        return entry is None or entry.item.status in ENDED

    await project.wakes.until(ended, (item_id,), min(args.wait_seconds, POLL_SECONDS))
    entry = await refresh(project, item_id) or resolve(project, caller, item_id)
    submission = await submission_of(project, item_id)
    bare = entry_view(project, caller, entry.item, Why(project))
    detail = WorkDetail(
        **{name: getattr(bare, name) for name in bare.__struct_fields__},
        history=await _history(project, item_id),
        dead_reason=entry.item.dead_reason,
        submitted_at=entry.item.submitted_at,
        ended_at=entry.item.ended_at,
    )
    description = submission.description if submission else entry.item.summary
    context = msgspec.json.decode(submission.context_data) or {} if submission else {}
    if args.field:
        texts = _texts(project, entry.item, description, context)
        return _part_of(detail, texts, args.field, args.offset, caller.limit_bytes)
    room = room_for_entries(caller.limit_bytes)
    detail = _with_end(project, detail, entry.item, room // RESULT_SHARE)
    return with_texts(detail, description, context, max(room // RESULT_SHARE, 4000)) if submission else detail


async def cancel_work(project: Project, caller: Caller, args: CancelWork) -> WorkMoved:
    """Call an item off; its offerer and operators may."""
    entry = resolve(project, caller, args.work_id)
    may_end(project, caller, entry.item)
    if entry.item.status in ENDED and not done_op(entry.item, caller.op):
        raise IllegalMove(f"{entry.item.id} is {entry.item.status} already", "nothing is left to cancel")
    item = await cancel(project, entry.item, caller.agent, caller.op, args.reason)
    return WorkMoved(work_id=item.id, status=item.status)


def may_end(project: Project, caller: Caller, item: WorkItem) -> None:
    """Refuse whoever neither offered the item nor is an operator. Raises: NotOwner."""
    if caller.agent != item.submitter and caller.standing.role is not Role.OPERATOR:
        offerer = project.agents.shown(item.submitter)
        raise NotOwner(f"{item.id} was offered by {offerer}", "ask them, or an operator")


def _matching(
    project: Project, caller: Caller, args: ListWork, before: tuple[datetime, str] | None
) -> Iterator[WorkItem]:
    now = project.clock.now()
    capability = names.label(args.capability, "capability") if args.capability else None
    boundary = names.label(args.boundary, "boundary") if args.boundary else None
    statuses = frozenset(Status) if args.status is None else frozenset({args.status})
    if args.status is Status.READY:
        statuses |= {Status.SCHEDULED}  # those that are due are ready
    for item in project.book.newest_first(statuses, before):
        if args.status is not None and status_at(item, now) is not args.status:
            continue
        if capability is not None and capability not in item.capabilities:
            continue
        if boundary is not None and item.boundary != boundary:
            continue
        if args.mine and caller.agent not in (item.submitter, item.claimed_by):
            continue
        yield item


def _key(project: Project, item_id: str) -> tuple[datetime, str]:
    return project.book.find(item_id).item.submitted_at, item_id


def _written(project: Project, item_id: str) -> tuple[int, str]:
    at, _ = _key(project, item_id)
    return int(at.timestamp()) * 1_000_000 + at.microsecond, item_id


def _place(cursor: str | None, query: str, generation: str) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    match cursors.position(cursor, query, generation):
        case (int() as micros, str() as item_id) if 0 <= micros < 2**53:
            seconds, rest = divmod(micros, 1_000_000)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), item_id
    raise BadCursor("this cursor was not made by Loominal")


async def _history(project: Project, item_id: str) -> tuple[HistoryEntry, ...]:
    """Return the item's kept moves, oldest first; records that cannot be read are passed over."""
    moves = []
    for record in await project.work_log.page(subjects.item(project.id, item_id), 1, 64):
        try:
            last = read(record).item.last
        except CorruptRecord as error:
            project.note_corrupt(f"{record.subject} {record.sequence}", error)
            continue
        by = project.agents.shown(last.by) if last.by else "hub"
        moves.append(HistoryEntry(at=last.at, by=by, move=str(last.move), note=last.note))
    return tuple(moves)


def _with_end(project: Project, detail: WorkDetail, item: WorkItem, room: int) -> WorkDetail:
    errors = _errors(project, item)
    if item.result is None:
        return msgspec.structs.replace(detail, errors=errors)
    whole = msgspec.json.decode(item.result.result) or {}
    fits = len(item.result.result) <= room
    return msgspec.structs.replace(
        detail,
        summary=part(item.result.summary, 0, room).text,
        result=whole if fits else {},
        artifacts=item.result.artifacts,
        errors=errors,
        truncated=detail.truncated if fits else (*detail.truncated, "result"),
        chars=detail.chars if fits else {**detail.chars, "result": len(bytes(item.result.result).decode())},
    )


def _errors(project: Project, item: WorkItem) -> tuple[FailureView, ...]:
    return tuple(
        FailureView(at=error.at, by=project.agents.shown(error.by), message=error.message) for error in item.errors
    )


def _texts(project: Project, item: WorkItem, description: str, context: dict[str, object]) -> dict[WorkField, str]:
    """Return the long fields as the texts that are read in parts."""
    result = (item.result or Result(summary="")).result
    return {
        WorkField.DESCRIPTION: description,
        WorkField.CONTEXT_DATA: msgspec.json.encode(context).decode(),
        WorkField.RESULT: bytes(result).decode(),
        WorkField.ERRORS: "\n".join(f"{each.by}: {each.message}" for each in _errors(project, item)),
    }


def _part_of(
    detail: WorkDetail, texts: dict[WorkField, str], field: WorkField, offset: int, limit_bytes: int
) -> WorkDetail:
    """Return the item with one long field from `offset` on, as text, in `description`; `chars` tells its length."""
    text = texts[field]
    if offset > len(text):
        raise InvalidArgument(f"{field.value} has {len(text)} characters, {offset} is behind its end")
    piece = part(text, offset, room_for_entries(limit_bytes) - 2000)
    return msgspec.structs.replace(
        detail,
        description=piece.text,
        history=(),
        truncated=(field.value,) if piece.truncated else (),
        chars={field.value: piece.chars},
    )
