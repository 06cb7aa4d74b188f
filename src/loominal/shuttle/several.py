"""What commands on several things, and on lists longer than a page, share: each is tried, pages become one list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import click
import msgspec

from loominal.fabric.operations.dead_letters import DeadLetters
from loominal.fabric.operations.registry import Discovered
from loominal.fabric.operations.spin_ups import SpinUpList
from loominal.fabric.operations.work import WorkPage
from loominal.model.errors import BrokerUnavailable, HubUnavailable, LoominalError
from loominal.shuttle.tables import plain

if TYPE_CHECKING:
    from loominal.shuttle.fleet import Fleet, Page

T = TypeVar("T")
V = TypeVar("V", WorkPage, DeadLetters, Discovered, SpinUpList)
PAGE = 100  # entries that are asked for at once


class Outcome(NamedTuple, Generic[T]):
    """What came of doing something to each of several things."""

    done: list[T]
    failed: list[LoominalError]


async def each(names: Sequence[str], deed: Callable[[str], Awaitable[T]]) -> Outcome[T]:
    """Do something to each; one that fails keeps nobody from the others, but a fabric that is gone ends it."""
    outcome: Outcome[T] = Outcome([], [])
    for name in dict.fromkeys(names):
        try:
            outcome.done.append(await deed(name))
        except LoominalError as error:
            outcome.failed.append(error)
            if isinstance(error, (BrokerUnavailable, HubUnavailable)):
                break
    return outcome


def told(failed: Sequence[LoominalError]) -> int:
    """Say on stderr what failed, and return the exit code: 0 if nothing did, else that of the first."""
    if not failed:
        return 0
    from loominal.shuttle.refusals import exit_code, hint

    for error in failed:
        click.echo(f"shuttle: {plain(error.message)}", err=True)
    for line in dict.fromkeys(hint(error) for error in failed if error.hint):
        click.echo(f"  {plain(line)}", err=True)
    return exit_code(failed[0])


async def collect(
    fetch: Callable[[int, str | None], Awaitable[V]], plural: str, limit: int | None, cursor: str | None = None
) -> V:
    """Return as one page the first `limit` entries, None for all, behind `cursor`.

    `fetch` returns the page of so many behind a cursor; `plural` names its entries.
    """
    entries: list[msgspec.Struct] = []
    while True:
        page = await fetch(PAGE if limit is None else min(limit - len(entries), PAGE), cursor)
        entries += getattr(page, plural)
        cursor = page.next_cursor
        if cursor is None or len(entries) == limit:
            return msgspec.structs.replace(page, **{plural: tuple(entries)})


def say_rest(fleet: Fleet, pages: Sequence[Page[V]], plural: str) -> None:
    """Say how much of the lists is not shown."""
    shown = sum(len(getattr(page.answer, plural)) for page in pages)
    total = sum(page.answer.total for page in pages)
    if any(page.answer.next_cursor for page in pages):
        fleet.say(f"{shown} of {total}; --limit {total} shows all")
