"""The lists that `top` shows, in the order of their keys: what is asked for, and what of it stands in which column."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from loominal.fabric.operations.dead_letters import DeadLetter
from loominal.fabric.operations.registry import AgentView
from loominal.fabric.operations.spin_ups import SpinUpView
from loominal.fabric.operations.stats import Stats
from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import WorkView
from loominal.model.agent import AgentStatus
from loominal.model.launch import LaunchStatus
from loominal.model.work import Status
from loominal.shuttle.tables import Column, last_line, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

S = TypeVar("S", bound=StrEnum)
PAGE = 100  # rows that are asked for at once
EVERY = ""  # the status of a list that is not asked for by status


class Row(NamedTuple):
    """What is told of one thing, and how it stands in the table."""

    entry: View
    cells: tuple[object, ...]


class Page(NamedTuple):
    """A part of a list. `notes` are said above all of it."""

    rows: Sequence[Row]
    next_cursor: str | None
    notes: tuple[str, ...] = ()


class Pane(NamedTuple):
    """One list. `page` returns those of a status, or every one; it raises NotFound, InvalidArgument for a bad term."""

    title: str
    columns: tuple[Column, ...]
    statuses: tuple[str, ...]  # to which it can be narrowed
    parts: tuple[str, ...]  # statuses in which it is listed, one after the other
    terms: tuple[str, ...]  # that the hub can narrow it by
    counts: Callable[[Stats], Mapping[str, int]]  # how many there are of each status
    page: Callable[[Agent, str, Mapping[str, str], str | None], Awaitable[Page]]  # status, terms, cursor


async def _agents(agent: Agent, status: str, terms: Mapping[str, str], cursor: str | None) -> Page:
    found = await agent.discover_agents(
        status=status, capability=terms.get("capability"), boundary=terms.get("boundary"),
        agent_type=terms.get("type"), hostname=terms.get("host"), limit=PAGE, cursor=cursor,
    )  # fmt: skip
    return Page([Row(each, _agent_cells(each)) for each in found.agents], found.next_cursor)


async def _work(agent: Agent, status: str, terms: Mapping[str, str], cursor: str | None) -> Page:
    found = await agent.list_work(
        status=status, capability=terms.get("capability"), boundary=terms.get("boundary"),
        agent=terms.get("agent"), limit=PAGE, cursor=cursor,
    )  # fmt: skip
    return Page([Row(each, _work_cells(each)) for each in found.items], found.next_cursor)


async def _spin_ups(agent: Agent, status: str, terms: Mapping[str, str], cursor: str | None) -> Page:
    found = await agent.list_spin_ups(status=status or None, target=terms.get("target"), limit=PAGE, cursor=cursor)
    return Page([Row(each, _spin_up_cells(each)) for each in found.spin_ups], found.next_cursor, found.unmet)


async def _dead_letters(agent: Agent, _: str, terms: Mapping[str, str], cursor: str | None) -> Page:
    found = await agent.list_dead_letter_items(capability=terms.get("capability"), limit=PAGE, cursor=cursor)
    return Page([Row(each, _dead_letter_cells(each)) for each in found.items], found.next_cursor)


def _by_name(numbers: Mapping[S, int]) -> dict[str, int]:
    return {str(status): number for status, number in numbers.items()}


def _agent_cells(agent: AgentView) -> tuple[object, ...]:
    return (
        agent.handle, agent.agent_type, agent.status.value, agent.last_seen, agent.hostname, agent.boundaries,
        agent.capabilities, agent.current_work,
    )  # fmt: skip


def _work_cells(item: WorkView) -> tuple[object, ...]:
    progress = item.progress
    waits = item.waits_for if progress is None else f"{progress.percent or 0:g} % {progress.message}"
    state = item.status.value if item.status else ""
    return item.id, state, item.priority, item.claimed_by, item.capabilities, item.description, waits


def _spin_up_cells(launch: SpinUpView) -> tuple[object, ...]:
    return (
        launch.target, launch.agent_type, launch.status.value, launch.requested_at, launch.handle,
        launch.work_id or launch.by, launch.detail,
    )  # fmt: skip


def _dead_letter_cells(letter: DeadLetter) -> tuple[object, ...]:
    error = last_line(letter.errors[-1].message) if letter.errors else ""
    return (
        letter.id, letter.task_id, letter.reason.value, letter.attempts, letter.failed_at, letter.capabilities, error,
    )  # fmt: skip


AGENT_STATUSES = (AgentStatus.BUSY, AgentStatus.ONLINE, AgentStatus.OFFLINE)
AGENTS = Pane(
    "Agents",
    (
        Column("HANDLE", 1), Column("TYPE", 2), status(), Column("SEEN"), Column("HOST", 4), Column("BOUNDARIES", 5),
        Column("CAPABILITIES", 2), Column("WORK", 3),
    ),
    AGENT_STATUSES,
    AGENT_STATUSES,
    ("capability", "boundary", "type", "host"),
    lambda stats: _by_name(stats.agents),
    _agents,
)  # fmt: skip
WORK_STATUSES = (  # what goes on comes first, then what waits, with the reason, then what has ended
    Status.CLAIMED, Status.READY, Status.BLOCKED, Status.SCHEDULED,
    Status.DEAD, Status.DONE, Status.CANCELLED, Status.DISCARDED,
)  # fmt: skip
WORK = Pane(
    "Work",
    (
        Column("ID"), status(), Column("PRI"), Column("BY", 1), Column("CAPABILITIES", 2), Column("DESCRIPTION", 4),
        Column("WAITS FOR / PROGRESS", 3),
    ),
    WORK_STATUSES,
    WORK_STATUSES,
    ("capability", "boundary", "agent"),
    lambda stats: _by_name(stats.work),
    _work,
)  # fmt: skip
SPIN_UPS = Pane(
    "Spin-ups",
    (
        Column("TARGET", 1), Column("TYPE", 2), status(), Column("ASKED"), Column("AGENT", 1), Column("FOR", 3),
        Column("DETAIL", 4),
    ),
    tuple(LaunchStatus),
    (EVERY,),
    ("target",),
    lambda stats: _by_name(stats.spin_ups),
    _spin_ups,
)  # fmt: skip
DEAD_LETTERS = Pane(
    "Dead letters",
    (
        Column("ID"), Column("TASK", 2), Column("REASON"), Column("ATTEMPTS"), Column("FAILED"),
        Column("CAPABILITIES", 1), Column("LAST ERROR", 3),
    ),
    (),
    (EVERY,),
    ("capability",),
    lambda stats: {EVERY: stats.dead},
    _dead_letters,
)  # fmt: skip
PANES = (AGENTS, WORK, SPIN_UPS, DEAD_LETTERS)
