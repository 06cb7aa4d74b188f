"""`shuttle submit`: offer an item, and with `--wait` stay until it has ended."""

from __future__ import annotations

import sys
from typing import TextIO

import click
import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Offered, WorkDetail
from loominal.model.agent import JsonObject
from loominal.model.work import Status
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetCommand

WAIT_SECONDS = 50.0


def _object(_: click.Context, __: click.Parameter, text: str | None) -> JsonObject | None:
    try:
        return msgspec.json.decode(text, type=JsonObject) if text else None
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"it is no JSON object: {error}") from error


@click.command(
    cls=FleetCommand,
    help='Offer work to whoever can do it.\n\nExample: shuttle submit "Fix the tests" --capability python --wait',
)
@click.argument("text", required=False)
@click.option("--file", "-f", type=click.File(encoding="utf-8"), help="Read the text from here; - is stdin.")
@click.option("--capability", "-c", "capabilities", multiple=True, help="What is needed; all of them.")
@click.option("--boundary", "-b", default="personal", show_default=True)
@click.option("--priority", type=click.IntRange(1, 10), default=5, show_default=True, help="10 goes first.")
@click.option("--task-id", help="Your own id: the same again is the same item.")
@click.option("--deadline", help="A time, or a duration such as 2h.")
@click.option("--depends-on", multiple=True, metavar="ID", help="Ready only when these are done.")
@click.option("--agent-type", help="Only agents of this type may take it.")
@click.option("--context", callback=_object, metavar="JSON", help="What the work needs to know, an object.")
@click.option("--wait", is_flag=True, help="Stay until it has ended; exit 1 unless it is done.")
@click.pass_obj
def submit(
    fleet: Fleet,
    *,
    text: str | None,
    file: TextIO | None,
    capabilities: tuple[str, ...],
    boundary: str,
    priority: int,
    task_id: str | None,
    deadline: str | None,
    depends_on: tuple[str, ...],
    agent_type: str | None,
    context: JsonObject | None,
    wait: bool,
) -> int:
    """Submit one item."""
    description = _description(text, file)

    async def offer(agent: Agent) -> tuple[Offered, WorkDetail | None]:
        offered = await agent.broadcast_work_offer(
            description,
            capabilities=capabilities,
            boundary=boundary,
            priority=priority,
            task_id=task_id,
            deadline=deadline,
            depends_on=depends_on,
            required_agent_type=agent_type,
            context_data=context,
        )
        fleet.say(_prospect(offered))
        return offered, await ended(agent, offered.id) if wait else None

    offered, detail = fleet.run(offer, acts=True)
    if fleet.wants_json:
        fleet.show_json(detail or offered)
    else:
        click.echo(offered.id)
        if detail:
            click.echo(f"{detail.status}: {detail.summary or detail.dead_reason or ''}", err=True)
    return 0 if detail is None or detail.status is Status.DONE else 1


def _description(text: str | None, file: TextIO | None) -> str:
    if (text is None) is (file is None):
        raise click.UsageError("Give the work as TEXT (- reads stdin) or with --file.")
    read = text if text is not None and text != "-" else (file or sys.stdin).read()
    if not read.strip():
        raise click.BadParameter("it is empty", param_hint="TEXT")
    return read


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
