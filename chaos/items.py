"""The work that agents hand each other: what an item asks of its holder, decided by the seed alone."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

CAPABILITIES = ("spin", "weave", "dye")
NOBODY = "embroider"  # nobody can
CANCELLED_SHARE, REPEATED_SHARE, DEPENDENT_SHARE, UNTOLD_SHARE = 0.1, 0.1, 0.15, 0.1


class Does(StrEnum):
    """What the holder of an item does with it."""

    DONE = "done"
    LONG = "long"  # done, but only after more than a lease, with progress: a new leader finds such claims
    FAIL_ONCE = "fail-once"
    FAIL = "fail"  # every time
    FATAL = "fatal"  # not to be tried again
    RELEASE_ONCE = "release-once"  # each agent does
    HANG = "hang"  # until it is taken away
    LATE = "late"  # completed after it was taken away
    NOTHING = "nothing"  # nobody can take it: it waits for its deadline


WEIGHTS = {
    Does.DONE: 50,
    Does.LONG: 16,
    Does.FAIL_ONCE: 10,
    Does.FAIL: 5,
    Does.FATAL: 5,
    Does.RELEASE_ONCE: 8,
    Does.HANG: 4,
    Does.LATE: 5,
    Does.NOTHING: 4,
}
TIMEOUT_SECONDS = {Does.HANG: 1.0, Does.LATE: 0.6}
USUAL_TIMEOUT_SECONDS = 40.0  # of what is never to time out; the clocks of wefts jump further than that
LATE_SECONDS = 1.5
LONG_SECONDS = 5.0
APART_SECONDS = (0.0, 0.6)  # between two offers of an agent: faults come in the middle of them


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """An item before it is offered; its holder finds `does` and `seconds` in the context data."""

    name: str  # the task id
    does: Does
    seconds: float
    after_seconds: float  # since the offer before
    capability: str
    priority: int
    deadline: str | None
    max_attempts: int
    told: bool
    depends: int  # on how many of the agent's earlier items
    twice: bool  # offered again with the same content
    cancelled_after_seconds: float | None


def tasks(chance: random.Random, prefix: str, count: int) -> list[Task]:
    """Return `count` tasks with names of their own."""
    return [_task(chance, f"{prefix}-{number}") for number in range(count)]


def _task(chance: random.Random, name: str) -> Task:
    [does] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    cancelled = chance.random() < CANCELLED_SHARE
    nobody = does is Does.NOTHING
    return Task(
        name=name,
        does=does,
        seconds=chance.uniform(0.02, 0.5),
        after_seconds=chance.uniform(*APART_SECONDS),
        capability=NOBODY if nobody else chance.choice(CAPABILITIES),
        priority=chance.randint(1, 10),
        deadline="3s" if nobody else None,
        max_attempts=2 if does in (Does.FAIL, Does.HANG, Does.LATE) else 10,
        told=chance.random() >= UNTOLD_SHARE,
        depends=chance.choice((1, 2)) if chance.random() < DEPENDENT_SHARE else 0,
        twice=chance.random() < REPEATED_SHARE,
        cancelled_after_seconds=chance.uniform(0, 1) if cancelled else None,
    )
