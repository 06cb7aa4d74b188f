"""`loominal grant`: which grants there are, a new one, one taken back. Asks the fabric as this user's operator."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import click

from loominal.fabric.operations.access import GrantView
from loominal.model.errors import InvalidArgument, NotFound
from loominal.model.grant import CORPORATE
from loominal.model.names import label

CORPORATE_MEANS = (
    "`corporate` marks work that only agents you approved may see. Granting it lets every agent of the user\n"
    "(of the types and projects you name, else of all) claim such work and read its content."
)


@click.command(
    help="List grants, grant boundaries, projects and agent types, or take a grant back.\n\n"
    "Example: loominal grant --boundary corporate --agent-type claude-code"
)
@click.option("--project", "projects", multiple=True, metavar="P", help="A project to grant it in; default: this one.")
@click.option("--boundary", "boundaries", multiple=True, metavar="B", help="A boundary to grant.")
@click.option(
    "--agent-type", "agent_types", multiple=True, metavar="T", help="Only to this agent type; default: to all."
)
@click.option("--user", help="Whose agents get it; default: yours.")
@click.option("--expires", help="When it ends: a duration such as 8h, or a time.")
@click.option("--revoke", metavar="ID", help="Take this grant back: claims made under it go on, new ones are refused.")
@click.option("--yes", is_flag=True, help="Do not ask before `corporate` is granted.")
def grant(
    *,
    projects: tuple[str, ...],
    boundaries: tuple[str, ...],
    agent_types: tuple[str, ...],
    user: str | None,
    expires: str | None,
    revoke: str | None,
    yes: bool,
) -> None:
    """List, grant or take back."""
    if revoke is not None:
        if boundaries or projects or agent_types or user or expires:
            raise InvalidArgument("--revoke takes a whole grant back", "give it alone; `loominal grant` lists the ids")
        asyncio.run(_revoke(revoke))
        return
    if not boundaries:
        if projects or agent_types or user or expires:
            raise InvalidArgument(
                "a grant names at least one boundary", "add --boundary; without options all are listed"
            )
        asyncio.run(_list())
        return
    confirm_corporate(boundaries, yes=yes)
    asyncio.run(_grant(projects, boundaries, agent_types, user, expires))


def confirm_corporate(boundaries: Sequence[str], *, yes: bool) -> None:
    """Return if `corporate` is not among `boundaries`, or is meant. Raises: InvalidArgument if nobody can be asked."""
    if CORPORATE in (label(boundary, "boundary") for boundary in boundaries) and not yes:
        click.echo(CORPORATE_MEANS, err=True)
        if not sys.stdin.isatty():
            raise InvalidArgument("granting `corporate` has to be confirmed", "add --yes")
        click.confirm("Grant it?", abort=True, err=True)


async def _list() -> None:
    from loominal.fabric.client.connect import connect  # loads the NATS client

    async with connect(client="loominal", person=True, operator=True) as operator:
        for found in (await operator.list_grants()).grants:
            _show(found)


async def _grant(
    projects: tuple[str, ...],
    boundaries: tuple[str, ...],
    agent_types: tuple[str, ...],
    user: str | None,
    expires: str | None,
) -> None:
    from loominal.fabric.client.connect import connect

    async with connect(client="loominal", person=True, operator=True) as operator:
        _show(
            await operator.grant_access(
                user=user, projects=projects, boundaries=boundaries, agent_types=agent_types, expires=expires
            )
        )


async def _revoke(grant_id: str) -> None:
    from loominal.fabric.client.connect import connect

    async with connect(client="loominal", person=True, operator=True) as operator:
        try:
            gone = await operator.revoke_grant(grant_id)
        except NotFound as error:
            raise NotFound(error.message, "`loominal grant` lists them") from error
    click.echo(f"taken back: {gone.id}")


def _show(found: GrantView) -> None:
    """Print a grant on one line."""
    every = ["all but corporate"] if found.every_boundary else []
    parts = [
        found.id,
        f"user {found.user or 'anybody'}",
        f"boundaries {', '.join([*every, *found.boundaries])}",
        f"projects {', '.join(found.projects) or 'all'}",
        f"agent types {', '.join(found.agent_types) or 'all'}",
        *([f"until {found.expires_at:%Y-%m-%d %H:%M} UTC"] if found.expires_at else []),
    ]
    click.echo("  ".join(parts))
