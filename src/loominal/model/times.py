"""Instants and durations as people and the wire write them. Tools, commands and records come here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from loominal.model.errors import InvalidArgument
from loominal.model.names import shown

Instant = Annotated[datetime, msgspec.Meta(tz=True)]  # always aware, always UTC, always the broker's time

DURATIONS = "give a duration such as '2h', '15m' or '1d12h'"
_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,12}}(?:\.[0-9]{{1,6}})?){unit})?" for unit in _UNIT_SECONDS))
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
PATTERN = f"^({_DURATION.pattern}|{_RFC3339.pattern})$"  # of what `instant` reads, and ""


def instant(text: str, now: datetime, *, past: bool) -> datetime:
    """Return the UTC instant that `text` names: an RFC 3339 time, or a duration counted from `now`.

    A duration (`90s`, `15m`, `1d12h`) lies before `now` if `past`, else after it. Raises: InvalidArgument.
    """
    plain = text.strip()
    try:
        if _RFC3339.fullmatch(plain):
            return datetime.fromisoformat(plain.upper()).astimezone(UTC)
        distance = timedelta(seconds=_seconds(plain, f"{DURATIONS}, or a time such as '2026-01-31T18:00:00Z'"))
        return now - distance if past else now + distance
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"there is no such time as {shown(text)}", "years 1 to 9999 are understood") from error


def duration_seconds(text: str) -> float:
    """Return the seconds that a duration like `90s`, `15m`, `2h` or `1d12h` lasts. Raises: InvalidArgument."""
    return _seconds(text, DURATIONS)


def _seconds(text: str, hint: str) -> float:
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or not any(found.groups()):
        raise InvalidArgument(f"{shown(text)} is no time we understand", hint)
    return sum(float(number or 0) * unit for number, unit in zip(found.groups(), _UNIT_SECONDS.values(), strict=True))


def rfc3339(at: datetime) -> str:
    """Return `at` as answers show it: RFC 3339, UTC, whole seconds, ending in `Z`."""
    return str(msgspec.to_builtins(at.astimezone(UTC)))[:19] + "Z"  # `isoformat` takes three times as long
