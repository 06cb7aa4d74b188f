"""Where a reader is: behind which record of each log, in each project. The text of it is the `id` of an event.

A cursor holds a moment, up to which its reader has everything of every project, and beside it the places in the logs of
those projects of which it has had something since. So it stays short however many projects there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from loominal.model import cursor as cursors
from loominal.model.errors import BadCursor
from loominal.model.names import PROJECT_NAME

LIFE = timedelta(hours=23)  # how long a cursor is good: events of agents are kept for a day
AHEAD = timedelta(minutes=5)  # that another machine's clock may be before ours
CURSOR_CHARACTERS = 8000  # half of what the HTTP server reads as the head of a request
TAG_CHARACTERS = 6
FIELDS = 5  # of a project in a cursor
TAG = re.compile(r"[0-9a-f]{6}")
LARGEST = 2**63 - 1


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reader is in one project: behind those records, and the first `part` events of the next one of work."""

    generation: str  # `tag` of the project's
    work: int
    events: int
    part: int = 0


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reader is: it has all that was stored before `since`, and in `places` more than that."""

    since: datetime
    places: dict[str, Place] = {}


def tag(generation: str) -> str:
    """Return what a cursor says of a project's generation."""
    return hashlib.sha256(generation.encode()).hexdigest()[:TAG_CHARACTERS]


def written(query: str, position: Position, order: Iterable[str]) -> str:
    """Return the cursor of a position in `query`.

    Of so many projects that it would be too long, those that come last in `order` are left out: a reader that resumes
    there has their latest events again.
    """
    flat: list[int | str] = [round(position.since.timestamp() * 1000)]
    room = CURSOR_CHARACTERS * 3 // 4 - 32
    for project in order:
        place = position.places[project]
        room -= len(project) + 3 + TAG_CHARACTERS + 1 + 3 * 9
        if room < 0:
            break
        flat += (project, place.generation, place.work, place.events, place.part)
    return cursors.cursor(query, "", *flat)


def read(text: str, query: str, now: datetime) -> Position:
    """Return the position that a cursor holds.

    Raises: BadCursor if it was not made by Loominal, is one of another query, or is too old.
    """
    if len(text) > CURSOR_CHARACTERS:
        raise BadCursor("this cursor was not made by Loominal")
    moment, *flat = cursors.position(text, query, "") or (None,)
    places = {}
    for start in range(0, len(flat), FIELDS):
        project, place = _place(flat[start : start + FIELDS])
        places[project] = place
    if not isinstance(moment, int) or not 0 <= moment <= (now + AHEAD).timestamp() * 1000:
        raise BadCursor("this cursor was not made by Loominal")
    since = datetime.fromtimestamp(moment / 1000, UTC)
    if now - since > LIFE:
        raise BadCursor(f"this cursor is of {since:%d %B %H:%M} UTC: what happened then is not kept any more")
    return Position(since=since, places=places)


def _place(fields: list[int | str]) -> tuple[str, Place]:
    match fields:
        case [str() as project, str() as generation, int() as work, int() as events, int() as part] if (
            PROJECT_NAME.fullmatch(project)
            and TAG.fullmatch(generation)
            and all(0 <= number <= LARGEST for number in (work, events, part))
        ):
            return project, Place(generation=generation, work=work, events=events, part=part)
    raise BadCursor("this cursor was not made by Loominal")
