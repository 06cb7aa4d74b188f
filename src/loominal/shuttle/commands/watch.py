"""`shuttle watch`: follow items until they have ended."""

from __future__ import annotations

import click

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkDetail
from loominal.fabric.protocol import encode_answer
from loominal.model.work import Status
from loominal.shuttle.commands.submit import ended
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetCommand


@click.command(
    cls=FleetCommand,
    help="Follow items until they have ended; exit 1 unless all are done.\n\nExample: shuttle watch w_1234",
)
@click.argument("item_ids", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def watch(fleet: Fleet, *, item_ids: tuple[str, ...]) -> int:
    """Follow them."""

    async def ask(agent: Agent) -> list[WorkDetail]:
        found = []
        for item_id in item_ids:
            detail = await ended(agent, item_id)
            if fleet.wants_json:
                click.echo(encode_answer(detail))
            else:
                click.echo(f"{detail.id}  {detail.status}  {detail.summary or detail.dead_reason or ''}".rstrip())
            found.append(detail)
        return found

    return 0 if all(detail.status is Status.DONE for detail in fleet.run(ask)) else 1
