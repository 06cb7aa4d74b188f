"""`shuttle work`: the items of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.types import View
from loominal.fabric.operations.work import (
    AgentVerdict,
    Explained,
    HistoryEntry,
    TargetVerdict,
    WorkDetail,
    WorkMoved,
    WorkPage,
    WorkView,
)
from loominal.model.times import rfc3339
from loominal.model.work import Status
from loominal.shuttle import completing
from loominal.shuttle.fleet import Fleet, Page
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.several import Outcome, collect, each, say_rest, told
from loominal.shuttle.tables import Column, plain, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (
    Column("ID"), status(), Column("PRIO"), Column("NEEDS", 3), Column("BY", 2), Column("PROGRESS", 2),
    Column("DESCRIPTION", 1),
)  # fmt: skip
HISTORY = (Column("AT"), Column("MOVE"), Column("BY", 1), Column("NOTE", 2))
WHY = (Column("WHO", 1), Column("TYPE", 2), Column("CAN"), Column("RULE"), Column("WHY", 3))
WAYS_OUT = {  # by the rule that keeps an agent or a target from an item
    "grant": "`loominal grant` shows what is granted, with --boundary {boundary} it grants more",
    "policy": "`shuttle policy show` shows who may, `shuttle policy set --boundary {boundary}` changes it",
    "not-allowed": "weft.toml in the fabric's directory says what its weft may run, which reads it when it starts",
}
MOVED = (Column("ID"), status())
ITEM = click.argument("item_id", metavar="ID", shell_complete=completing.work_ids)


class History(View, frozen=True, kw_only=True):
    """Every move of an item that is known, oldest first."""

    history: tuple[HistoryEntry, ...]


class Moved(View, frozen=True, kw_only=True):
    """Where the items went."""

    items: tuple[WorkMoved, ...]


@click.group(
    cls=FleetGroup,
    help="The work items of the project; an ID is an item's, or its task id.\n\n"
    "Example: shuttle work list --status ready",
)
def work() -> None:
    """Group the commands."""


@work.command("list", help="List items, newest first.\n\nExample: shuttle work list --status claimed --agent ada")
@click.option("--status", type=click.Choice([each.value for each in Status]), help="Only those.")
@click.option("--capability", "-c", help="Only those that need this.")
@click.option("--boundary", "-b", help="Only those that belong there.")
@click.option(
    "--agent",
    metavar="HANDLE|GUID",
    shell_complete=completing.handles,
    help="Only those that this agent has offered or holds.",
)
@click.option("--mine", is_flag=True, help="Only those that you have offered.")
@click.option("--min-priority", type=click.IntRange(1, 10), help="Only those of at least this priority.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--cursor", help="Go on behind the list with this nextCursor.")
@click.pass_obj
def list_items(
    fleet: Fleet,
    *,
    status: str | None,
    capability: str | None,
    boundary: str | None,
    agent: str | None,
    mine: bool,
    min_priority: int | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List them."""
    if fleet.all_projects and (mine or cursor):
        raise click.UsageError(f"{'--mine' if mine else '--cursor'} is of one project.")

    async def ask(asker: Agent) -> WorkPage:
        async def page(limit: int, cursor: str | None) -> WorkPage:
            return await asker.list_work(
                status=status,
                capability=capability,
                boundary=boundary,
                agent=agent,
                mine=mine,
                min_priority=min_priority,
                limit=limit,
                cursor=cursor,
            )

        return await collect(page, "items", limit, cursor)

    pages = [Page("", "", fleet.run(ask, acts=True))] if mine else fleet.gather(ask)
    fleet.show_pages(pages, "items", COLUMNS, _rows, "no work items")
    say_rest(fleet, pages, "items")


@work.command(help="Show one item with its history.\n\nExample: shuttle work show w_1234")
@ITEM
@click.pass_obj
def show(fleet: Fleet, *, item_id: str) -> None:
    """Show it."""
    detail = fleet.run(lambda agent: agent.get_work(item_id))
    if not fleet.wants_json:
        fleet.show_facts(_facts(detail))
        for line in detail.description.splitlines():
            click.echo(f"  {plain(line)}".rstrip())
        click.echo()
    fleet.show(detail, HISTORY, _moves(detail.history), "no history")
    if detail.truncated:
        fleet.say(f"cut, for they are long: {', '.join(detail.truncated)}")


@work.command(help="Show every move of an item, oldest first.\n\nExample: shuttle work history w_1234")
@ITEM
@click.pass_obj
def history(fleet: Fleet, *, item_id: str) -> None:
    """Show its moves."""
    detail = fleet.run(lambda agent: agent.get_work(item_id))
    fleet.show(History(history=detail.history), HISTORY, _moves(detail.history), "no history")


@work.command(
    help="Say why an item waits: of each agent and target the first rule that keeps it from it.\n\n"
    "Example: shuttle work why w_1234"
)
@ITEM
@click.pass_obj
def why(fleet: Fleet, *, item_id: str) -> None:
    """Explain it."""
    found = fleet.run(lambda agent: agent.explain_work(item_id))
    if not fleet.wants_json:
        click.echo(plain(found.waits_for or f"It is {found.status}: it waits for nothing."))
    fleet.show(found, WHY, _verdicts(found), "")
    if found.more:
        fleet.say(f"and {found.more} more agents")
    for line in _ways_out(found):
        fleet.say(line)


@work.command(
    help="Call items off; who holds one is asked to stop first.\n\nExample: shuttle work cancel w_1234 --reason late"
)
@click.argument("item_ids", nargs=-1, required=True, metavar="ID...", shell_complete=completing.work_ids)
@click.option("--reason", default="", help="Why; who holds it is told.")
@click.pass_obj
def cancel(fleet: Fleet, *, item_ids: tuple[str, ...], reason: str) -> int:
    """Cancel them."""

    async def ask(agent: Agent) -> Outcome[WorkMoved]:
        return await each(item_ids, lambda item_id: agent.cancel_work(item_id, reason=reason))

    outcome = fleet.run(ask, acts=True)
    rows = [(moved.work_id, moved.status) for moved in outcome.done]
    fleet.show(Moved(items=tuple(outcome.done)), MOVED, rows, "")
    for moved in outcome.done:
        if moved.status is Status.CLAIMED:
            fleet.say(f"{moved.work_id}: its holder is asked to stop")
    return told(outcome.failed)


def _facts(item: WorkDetail) -> list[tuple[str, object]]:
    """Return what the item is and what came of it, as neither its text nor its history tells."""
    from loominal.fabric.protocol import encode

    return [
        ("id", item.id),
        ("task", item.task_id),
        ("status", item.status),
        ("reason", item.dead_reason),
        ("waits", item.waits_for),
        ("capabilities", item.capabilities),
        ("boundary", item.boundary),
        ("priority", item.priority),
        ("depends on", item.depends_on),
        ("deadline", item.deadline),
        ("due", item.due_at),
        ("context", encode(item.context_data).decode() if item.context_data else ""),
        ("attempt", f"{item.attempt} of {item.max_attempts}"),
        ("offered by", item.offered_by),
        ("offered", item.submitted_at),
        ("claimed by", item.claimed_by),
        ("progress", _progress(item)),
        ("ended", item.ended_at),
        ("summary", item.summary),
        ("result", encode(item.result).decode() if item.result else ""),
        *(("artifact", encode(artifact).decode()) for artifact in item.artifacts),
        *(("error", f"{rfc3339(error.at)} {error.by}: {error.message}") for error in item.errors),
    ]


def _moves(history: tuple[HistoryEntry, ...]) -> list[tuple[object, ...]]:
    from loominal.fabric.protocol import encode

    return [
        (rfc3339(entry.at), entry.move, entry.by, f"{entry.note} {encode(entry.usage).decode() if entry.usage else ''}")
        for entry in history
    ]


def _verdicts(found: Explained) -> list[tuple[object, ...]]:
    agents = [
        (each.handle, each.agent_type, _can(each.eligible), each.rule, each.reason or ("waits for work" * each.polling))
        for each in found.agents
    ]
    return agents + [(each.name, "target", _can(each.eligible), each.rule, each.reason) for each in found.targets]


def _ways_out(found: Explained) -> list[str]:
    """Return what a person can do, where it is a person's word that keeps everybody from the item."""
    verdicts: list[AgentVerdict | TargetVerdict] = [*found.agents, *found.targets]
    if any(each.eligible for each in verdicts):
        return []
    ways = dict.fromkeys(WAYS_OUT[each.rule] for each in verdicts if each.rule in WAYS_OUT)
    return [way.format(boundary=found.boundary) for way in ways]


def _can(eligible: bool) -> str:
    return "yes" if eligible else "no"


def _progress(item: WorkView) -> str:
    return f"{item.progress.percent or 0:g} % {item.progress.message}" if item.progress else ""


def _rows(page: WorkPage) -> list[tuple[object, ...]]:
    return [
        (
            item.id, item.status, item.priority, item.capabilities, item.claimed_by,
            _progress(item) or item.waits_for, item.description,
        )
        for item in page.items
    ]  # fmt: skip
