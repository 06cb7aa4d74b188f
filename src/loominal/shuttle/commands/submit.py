"""`shuttle submit`: offer an item, and with `--wait` stay until it has ended."""

from __future__ import annotations

import sys

import click

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Offered, WorkDetail
from loominal.model.work import Status
from loominal.shuttle.fleet import Fleet, json_option

WAIT_SECONDS = 50.0


@click.command(
    help='Offer work to whoever can do it.\n\nExample: shuttle submit "Fix the tests" --capability python --wait'
)
@click.argument("text")
@click.option("--capability", "-c", "capabilities", multiple=True, help="What is needed; all of them.")
@click.option("--boundary", "-b", default="personal", show_default=True)
@click.option("--priority", type=click.IntRange(1, 10), default=5, show_default=True, help="10 goes first.")
@click.option("--task-id", help="Your own id: the same again is the same item.")
@click.option("--deadline", help="A time, or a duration such as 2h.")
@click.option("--depends-on", multiple=True, metavar="ID", help="Ready only when these are done.")
@click.option("--wait", is_flag=True, help="Stay until it has ended; exit 1 unless it is done.")
@json_option
@click.pass_obj
def submit(
    fleet: Fleet,
    *,
    text: str,
    capabilities: tuple[str, ...],
    boundary: str,
    priority: int,
    task_id: str | None,
    deadline: str | None,
    depends_on: tuple[str, ...],
    wait: bool,
) -> int:
    """Submit one item."""
    description = sys.stdin.read() if text == "-" else text
    if not description.strip():
        raise click.BadParameter("it is empty", param_hint="TEXT")

    async def offer(agent: Agent) -> tuple[Offered, WorkDetail | None]:
        offered = await agent.broadcast_work_offer(
            description,
            capabilities=capabilities,
            boundary=boundary,
            priority=priority,
            task_id=task_id,
            deadline=deadline,
            depends_on=depends_on,
        )
        click.echo(_prospect(offered), err=True)
        return offered, await ended(agent, offered.id) if wait else None

    offered, detail = fleet.run(offer)
    if fleet.as_json:
        fleet.show_json(detail or offered)
    else:
        click.echo(offered.id)
        if detail:
            click.echo(f"{detail.status}: {detail.summary or detail.dead_reason or ''}", err=True)
    return 0 if detail is None or detail.status is Status.DONE else 1


def _prospect(offered: Offered) -> str:
    """Return who can take the item now, or why nobody can."""
    if offered.eligible:
        return "1 agent can take it" if offered.eligible == 1 else f"{offered.eligible} agents can take it"
    return offered.note or f"it is {offered.status} already"


async def ended(agent: Agent, item_id: str) -> WorkDetail:
    """Return an item once it has ended."""
    while (detail := await agent.get_work(item_id, wait_seconds=WAIT_SECONDS)).ended_at is None:
        continue
    return detail
