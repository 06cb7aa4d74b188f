"""`shuttle spin-up`: start an agent; `shuttle spin-ups`: those that were started, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.spin_ups import SpinUpList, SpinUpView
from loominal.model.launch import CLOSED, LaunchStatus
from loominal.shuttle import completing
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetCommand, FleetGroup
from loominal.shuttle.several import collect, say_rest
from loominal.shuttle.tables import Column, duration, plain, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (
    Column("ID"), status(), Column("TARGET", 1), Column("AGENT", 1), Column("FOR", 2), Column("REQUESTED"),
    Column("DETAIL", 3),
)  # fmt: skip
LOOK_SECONDS = 0.5  # between two looks at a start: nothing tells of one, and a start takes seconds
TAIL_LINES = 20  # of what a failed start printed
CAME = (LaunchStatus.REGISTERED, LaunchStatus.STOPPED)


class _Listing(FleetGroup):
    """A group that lists if no command of it is named."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant."""
        return super().resolve_command(ctx, ["list", *args] if args[0].startswith("-") else args)


@click.command(
    cls=FleetCommand, help="Start an agent now, whether work waits or not.\n\nExample: shuttle spin-up here --wait"
)
@click.argument("target", shell_complete=completing.targets)
@click.option("--wait", is_flag=True, help="Stay until it is there; exit 1 if none comes.")
@click.pass_obj
def spin_up(fleet: Fleet, *, target: str, wait: bool) -> int:
    """Start one."""

    async def start(agent: Agent) -> SpinUpView:
        return await agent.spin_up(target)

    async def follow(agent: Agent) -> SpinUpView:
        return await _followed(fleet, agent, launch)

    launch = fleet.run(start, acts=True)
    if not fleet.wants_json:
        click.echo(launch.id)
    if wait:
        try:
            launch = fleet.run(follow)
        except KeyboardInterrupt:
            fleet.say(f"it goes on: `shuttle spin-ups show {launch.id}` tells what comes of it")
            raise
    if fleet.wants_json:
        fleet.show_json(launch)
    return 1 if wait and launch.status not in CAME else 0


@click.group(
    cls=_Listing,
    invoke_without_command=True,
    context_settings={"ignore_unknown_options": True},
    help="The agents that were started, and what came of it; lists them unless a command is named.\n\n"
    "Example: shuttle spin-ups --target here --status failed",
)
@click.pass_context
def spin_ups(context: click.Context) -> None:
    """List them, if there is no command."""
    if context.invoked_subcommand is None:
        context.invoke(list_spin_ups)


@spin_ups.command("list", help="List them, newest first.\n\nExample: shuttle spin-ups list --status failed")
@click.option("--target", help="Only on this one.", shell_complete=completing.targets)
@click.option(
    "--status", "in_status", type=click.Choice([each.value for each in LaunchStatus]), help="Only those that are so."
)
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def list_spin_ups(fleet: Fleet, *, target: str | None, in_status: str | None, limit: int) -> None:
    """List them."""

    async def ask(agent: Agent) -> SpinUpList:
        def fetch(size: int, cursor: str | None) -> Awaitable[SpinUpList]:
            return agent.list_spin_ups(target=target, status=in_status, limit=size, cursor=cursor)

        return await collect(fetch, "spin_ups", limit)

    pages = fleet.gather(ask)
    fleet.show_pages(pages, "spinUps", COLUMNS, _rows, "no agent was started")
    say_rest(fleet, pages, "spin_ups")
    for page in pages:
        for why in page.answer.unmet:
            fleet.say(f"{page.project}: {why}" if fleet.all_projects else why)


@spin_ups.command(
    help="Show one, with the end of what a failed start printed.\n\nExample: shuttle spin-ups show l_1234"
)
@click.argument("launch_id", metavar="ID")
@click.pass_obj
def show(fleet: Fleet, *, launch_id: str) -> None:
    """Show it."""

    async def ask(agent: Agent) -> SpinUpView:
        return await agent.get_spin_up(launch_id)

    launch = fleet.run(ask)
    if fleet.wants_json:
        fleet.show_json(launch)
        return
    fleet.show_facts(_facts(launch))
    for line in launch.output.splitlines():
        click.echo(plain(line))


async def _followed(fleet: Fleet, agent: Agent, launch: SpinUpView) -> SpinUpView:
    """Return a launch once its agent is there or never will be, and tell on stderr how it goes."""
    told = None
    while True:
        if launch.status is not told:
            told = launch.status
            fleet.say(f"{told}: {launch.detail}" if launch.detail else f"{told} {launch.handle}".rstrip())
        if told in CAME or told in CLOSED:
            break
        await asyncio.sleep(LOOK_SECONDS)
        launch = await agent.get_spin_up(launch.id)
    for line in launch.output.splitlines()[-TAIL_LINES:]:
        fleet.say(f"  {line}")
    return launch


def _rows(page: SpinUpList) -> list[tuple[object, ...]]:
    return [
        (
            each.id, each.status, each.target, each.handle or each.agent, each.work_id or each.by, each.requested_at,
            each.detail,
        )
        for each in page.spin_ups
    ]  # fmt: skip


def _facts(launch: SpinUpView) -> list[tuple[str, object]]:
    moments = [each for each in (launch.registered_at, launch.ended_at) if each is not None]
    return [
        ("id", launch.id),
        ("status", launch.status),
        ("detail", launch.detail),
        ("target", launch.target),
        ("mechanism", launch.mechanism),
        ("reference", launch.reference),
        ("agent type", launch.agent_type),
        ("agent", launch.handle or launch.agent),
        ("draining", "it was told to end" if launch.draining else ""),
        ("for work", launch.work_id),
        ("asked by", launch.by or "the fabric itself"),
        ("requested", launch.requested_at),
        ("took", duration((min(moments) - launch.requested_at).total_seconds()) if moments else ""),
        ("ended", launch.ended_at),
    ]
