"""get_work: one item with all that is known of it, waiting for its end if asked to; what is long comes in parts."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting, part, room_for_entries
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import read
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.moving import refresh
from loominal.fabric.hub.work.views import Why, entry_view, submission_of
from loominal.fabric.operations.work import FailureView, GetWork, HistoryEntry, WorkDetail, WorkField
from loominal.fabric.protocol import POLL_SECONDS, encode, encode_answer
from loominal.model.agent import JsonObject
from loominal.model.errors import CorruptRecord, InvalidArgument
from loominal.model.names import HUB
from loominal.model.work import ENDED, Result, WorkItem

KEPT = 64  # records of one item that its log holds
HISTORY_SHARE = 5  # the newest moves may take a fifth of the room


class Long(msgspec.Struct, frozen=True, kw_only=True):
    """What of an item may be too long for one answer."""

    description: str
    context: JsonObject
    result: Result
    errors: tuple[FailureView, ...]

    def texts(self) -> dict[WorkField, str]:
        """Return each field as the text that is read in parts."""
        return {
            WorkField.DESCRIPTION: self.description,
            WorkField.CONTEXT_DATA: encode(self.context).decode(),
            WorkField.SUMMARY: self.result.summary,
            WorkField.RESULT: bytes(self.result.result).decode(),
            WorkField.ARTIFACTS: encode(self.result.artifacts).decode(),
            WorkField.ERRORS: "\n".join(f"{each.by}: {each.message}" for each in self.errors),
        }


async def get_work(project: Project, caller: Caller, args: GetWork) -> WorkDetail:
    """Return one item; with `field` that long field from `offset` characters on, as text, in `description`."""
    item_id = resolve(project, caller, args.work_id).item.id

    def ended() -> bool:
        entry = project.book.get(item_id)
        return entry is None or entry.item.status in ENDED

    await project.wakes.until(ended, (item_id, caller.agent), min(args.wait_seconds, POLL_SECONDS))
    item = (await refresh(project, item_id) or resolve(project, caller, item_id)).item
    view = entry_view(project, caller, item, Why(project))
    bare = WorkDetail(
        **{name: getattr(view, name) for name in view.__struct_fields__},
        dead_reason=item.dead_reason,
        submitted_at=item.submitted_at,
        ended_at=item.ended_at,
    )
    long = await _long(project, item)
    room = room_for_entries(caller.limit_bytes) - len(encode_answer(bare))
    if args.field is not None:
        return _part_of(bare, long.texts()[args.field], args.field, args.offset, room)
    if args.offset:
        raise InvalidArgument(f"offset {args.offset} of which field?", "name the field that is read on")
    moves = await _history(project, item_id)
    newest = tuple(fitting(reversed(moves), room // HISTORY_SHARE))[::-1]
    shown = msgspec.structs.replace(bare, history=newest)
    return _with(shown, long, room - len(encode(newest)))


async def _long(project: Project, item: WorkItem) -> Long:
    submission = await submission_of(project, item.id)
    errors = tuple(
        FailureView(at=error.at, by=project.agents.shown(error.by), message=error.message) for error in item.errors
    )
    return Long(
        description=submission.description if submission else item.summary,
        context=(msgspec.json.decode(submission.context_data) or {}) if submission else {},
        result=item.result or Result(summary=""),
        errors=errors,
    )


async def _history(project: Project, item_id: str) -> list[HistoryEntry]:
    """Return the item's kept moves, oldest first; records that cannot be read are passed over."""
    moves = []
    kept = await project.work_log.page(subjects.item(project.id, item_id), 1, KEPT)
    known = project.book.get(item_id)
    if known is not None and (not kept or kept[-1].sequence < known.sequence):  # a copy may lag
        newest = await project.work_log.at(known.sequence)
        kept += [newest] if newest is not None else []
    for record in kept:
        try:
            last = read(record).item.last
        except CorruptRecord as error:
            project.note_corrupt(f"{record.subject} {record.sequence}", error)
            continue
        by = project.agents.shown(last.by) if last.by else HUB
        moves.append(HistoryEntry(at=last.at, by=by, move=str(last.move), note=last.note, usage=last.usage))
    return moves


def _with(bare: WorkDetail, long: Long, room: int) -> WorkDetail:
    """Return the item with its long fields as far as they fit: texts are cut, of errors the newest stay, objects go."""
    texts = long.texts()
    sizes = {field: len(encode(text)) for field, text in texts.items()}
    shares = _shares(sizes, room)
    cut = tuple(field for field in WorkField if sizes[field] > shares[field])
    kept_errors = long.errors
    while WorkField.ERRORS in cut and kept_errors and len(encode(kept_errors)) > shares[WorkField.ERRORS]:
        kept_errors = kept_errors[1:]
    return msgspec.structs.replace(
        bare,
        description=part(long.description, 0, shares[WorkField.DESCRIPTION]).text,
        context_data={} if WorkField.CONTEXT_DATA in cut else long.context,
        summary=part(long.result.summary, 0, shares[WorkField.SUMMARY]).text if long.result.summary else "",
        result={} if WorkField.RESULT in cut else msgspec.json.decode(long.result.result) or {},
        artifacts=() if WorkField.ARTIFACTS in cut else long.result.artifacts,
        errors=kept_errors,
        truncated=tuple(field.value for field in cut),
        chars={field.value: len(texts[field]) for field in cut},
    )


def _shares(sizes: Mapping[WorkField, int], room: int) -> dict[WorkField, int]:
    """Return how many bytes each field may take: short ones what they need, long ones equal parts of the rest."""
    shares: dict[WorkField, int] = {}
    left = max(room, 0)
    for place, (field, size) in enumerate(sorted(sizes.items(), key=lambda pair: pair[1])):
        shares[field] = min(size, left // (len(sizes) - place))
        left -= shares[field]
    return shares


def _part_of(bare: WorkDetail, text: str, field: WorkField, offset: int, room: int) -> WorkDetail:
    if offset > len(text):
        raise InvalidArgument(f"{field.value} has {len(text)} characters, {offset} is behind its end")
    piece = part(text, offset, room)
    return msgspec.structs.replace(
        bare,
        description=piece.text,
        truncated=(field.value,) if piece.truncated else (),
        chars={field.value: piece.chars},
    )
