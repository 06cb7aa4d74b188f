"""`shuttle agents`: who is there, and ending or cutting off one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.access import Revoked, ShuttingDown
from loominal.fabric.operations.registry import AgentView, Discovered
from loominal.fabric.operations.types import View
from loominal.model.agent import AgentStatus
from loominal.shuttle import completing
from loominal.shuttle.durations import seconds
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.several import Outcome, collect, each, say_rest, told
from loominal.shuttle.tables import Column, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.fabric.operations.work import WorkDetail

GRACE_SECONDS = 30.0
SPARE_SECONDS = 60.0  # after its time, in which an agent must be gone: heartbeats of one that was killed are waited for
LOOK_SECONDS = 0.5
COLUMNS = (
    Column("HANDLE", 1), Column("TYPE", 2), status(), Column("CAPABILITIES", 1), Column("BOUNDARIES", 2),
    Column("WORK", 3), Column("FREE"), Column("SEEN"), Column("HOST", 4),
)  # fmt: skip
HELD = (Column("HOLDS"), status(), Column("PROGRESS", 1), Column("DESCRIPTION", 2))
ENDING = (Column("WHO", 1), Column("GUID"), status(), Column("UNTIL"))
CUT = (Column("WHO", 1), Column("GUID"), status())
WHO = click.argument("names", nargs=-1, required=True, metavar="HANDLE|GUID...", shell_complete=completing.handles)


class Ended(View, frozen=True, kw_only=True):
    """Who is to end, and by when."""

    agents: tuple[ShuttingDown, ...]


class CutOff(View, frozen=True, kw_only=True):
    """Who was cut off."""

    agents: tuple[Revoked, ...]


@click.group(cls=FleetGroup, help="The agents of the project.\n\nExample: shuttle agents list --capability python")
def agents() -> None:
    """Group the commands."""


@agents.command("list", help="List agents that are there.\n\nExample: shuttle agents list --type claude-code --all")
@click.option("--type", "-t", "agent_type", help="Only those of this type.")
@click.option("--capability", "-c", help="Only those that can do this.")
@click.option("--boundary", "-b", help="Only those that work there.")
@click.option("--status", type=click.Choice([each.value for each in AgentStatus]), help="Only those.")
@click.option("--host", "hostname", help="Only those on this machine.")
@click.option("--all", "-a", "include_offline", is_flag=True, help="Those that are offline, too.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.pass_obj
def list_agents(
    fleet: Fleet,
    *,
    agent_type: str | None,
    capability: str | None,
    boundary: str | None,
    status: str | None,
    hostname: str | None,
    include_offline: bool,
    limit: int,
) -> None:
    """List them."""

    async def ask(agent: Agent) -> Discovered:
        async def page(limit: int, cursor: str | None) -> Discovered:
            return await agent.discover_agents(
                agent_type=agent_type,
                capability=capability,
                boundary=boundary,
                status=status,
                hostname=hostname,
                include_offline=include_offline,
                limit=limit,
                cursor=cursor,
            )

        return await collect(page, "agents", limit)

    pages = fleet.gather(ask)
    unseen = "" if include_offline or status else " is there; --all shows those that are offline"
    fleet.show_pages(pages, "agents", COLUMNS, _rows, f"no agent{unseen}")
    say_rest(fleet, pages, "agents")


@agents.command(help="Show one agent and what it holds.\n\nExample: shuttle agents show ada")
@click.argument("name", metavar="HANDLE|GUID", shell_complete=completing.handles)
@click.pass_obj
def show(fleet: Fleet, *, name: str) -> None:
    """Show it."""

    async def ask(agent: Agent) -> tuple[AgentView, list[WorkDetail]]:
        found = await agent.get_agent_info(name)
        is_here = found.project_id == agent.project.id
        return found, await asyncio.gather(*map(agent.get_work, found.current_work if is_here else ()))

    found, held = fleet.run(ask)
    fleet.show_facts(_facts(found))
    rows = [
        (item.id, item.status, item.progress and f"{item.progress.percent or 0:g} % {item.progress.message}",
         item.description)
        for item in held
    ]  # fmt: skip
    fleet.show(found, HELD, rows, "it holds no work")


@agents.command(
    help="Have agents end: they get nothing new, and after the grace what they hold is handed back.\n\n"
    "Example: shuttle agents shutdown ada --grace 2m --reason maintenance --wait"
)
@WHO
@click.option("--grace", callback=seconds, metavar="DURATION", help="To finish what they hold in; 30s unless said.")
@click.option("--now", is_flag=True, help="Without a grace.")
@click.option("--reason", default="", help="Why; they are told.")
@click.option("--wait", is_flag=True, help="Stay until they are gone; exit 1 if one is not.")
@click.pass_obj
def shutdown(fleet: Fleet, *, names: tuple[str, ...], grace: float | None, now: bool, reason: str, wait: bool) -> int:
    """End them."""
    if now and grace is not None:
        raise click.UsageError("--now is without a grace: it does not go with --grace.")

    async def ask(agent: Agent) -> tuple[Outcome[tuple[str, ShuttingDown]], list[str]]:
        async def end(name: str) -> tuple[str, ShuttingDown]:
            given = GRACE_SECONDS if grace is None else grace
            return name, await agent.shutdown_agent(name, graceful=not now, grace_period_seconds=given, reason=reason)

        outcome = await each(names, end)
        if not wait:
            return outcome, []
        try:
            return outcome, await _still_there(agent, [ending for _, ending in outcome.done])
        except asyncio.CancelledError:
            fleet.say("they end all the same; `shuttle agents list` shows who is there")
            raise

    outcome, left = fleet.run(ask)
    rows = [
        (name, ending.guid, "gone", "")
        if wait and ending.guid not in left
        else (name, ending.guid, ending.status, ending.until)
        for name, ending in outcome.done
    ]
    fleet.show(Ended(agents=tuple(ending for _, ending in outcome.done)), ENDING, rows, "")
    for guid in left:
        click.echo(f"shuttle: {guid} is still there\n  `shuttle agents revoke {guid}` cuts it off", err=True)
    return told(outcome.failed) or bool(left)


@agents.command(
    help="Cut agents off for good: their connections end, and what they hold is handed back.\n\n"
    "Example: shuttle agents revoke ada --yes"
)
@WHO
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def revoke(fleet: Fleet, *, names: tuple[str, ...], yes: bool) -> int:
    """Cut them off."""
    fleet.confirm(f"Cut off {', '.join(names)}?", yes=yes)

    async def ask(agent: Agent) -> Outcome[tuple[str, Revoked]]:
        async def cut(name: str) -> tuple[str, Revoked]:
            return name, await agent.revoke_agent(name)

        return await each(names, cut)

    outcome = fleet.run(ask)
    rows = [(name, cut.guid, "cut off") for name, cut in outcome.done]
    fleet.show(CutOff(agents=tuple(cut for _, cut in outcome.done)), CUT, rows, "")
    return told(outcome.failed)


async def _still_there(agent: Agent, ending: Sequence[ShuttingDown]) -> list[str]:
    """Return who is not gone SPARE_SECONDS after its time, once all others are."""
    from datetime import UTC, datetime

    left = [each.guid for each in ending]
    until = max((each.until for each in ending), default=datetime.now(UTC)).timestamp() + SPARE_SECONDS
    while left and datetime.now(UTC).timestamp() < until:
        left = [guid for guid in left if (await agent.get_agent_info(guid)).status is not AgentStatus.OFFLINE]
        if left:
            await asyncio.sleep(LOOK_SECONDS)  # no event tells an operator that an agent is gone
    return left


def _rows(found: Discovered) -> list[tuple[object, ...]]:
    return [
        (
            each.handle, each.agent_type, each.status, each.capabilities, each.boundaries, each.current_work,
            each.free, each.last_seen, each.hostname,
        )
        for each in found.agents
    ]  # fmt: skip


def _facts(agent: AgentView) -> list[tuple[str, object]]:
    from loominal.fabric.protocol import encode

    return [
        ("handle", agent.handle),
        ("guid", agent.guid),
        ("type", agent.agent_type),
        ("status", agent.status),
        ("seen", agent.last_seen),
        ("host", agent.hostname),
        ("capabilities", agent.capabilities),
        ("boundaries", agent.boundaries),
        ("visibility", agent.visibility),
        ("room", f"{agent.free} of {agent.max_concurrent} free"),
        ("metadata", encode(agent.metadata).decode() if agent.metadata else ""),
    ]
