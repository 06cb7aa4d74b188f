"""What is measured: one file for each kind of operation; each suite returns its figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.figure import Figure
from bench.place import Place
from bench.settings import Settings
from bench.suites.discovery import discovering
from bench.suites.idle import idling
from bench.suites.large import crowding, returning
from bench.suites.messages import reading, sending, telling
from bench.suites.rest import resting
from bench.suites.startup import starting
from bench.suites.warp import calling, waking_up
from bench.suites.work import claiming, pairing

Suite = Callable[[Place, Settings], Awaitable[list[Figure]]]

SUITES: dict[str, Suite] = {
    "send": sending,
    "tell": telling,
    "claim": claiming,
    "pairs": pairing,
    "idle": idling,
    "read": reading,
    "discover": discovering,
    "start": starting,
    "tools": calling,
    "warp": waking_up,
    "rest": resting,
    "items": returning,
    "projects": crowding,
}
