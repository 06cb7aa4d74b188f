"""`loominal invite`: let one more machine join this fabric, and print the line to run there; or take that back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.addresses import Reach, from_elsewhere
from loominal.fabric.invitation import Token
from loominal.fabric.operations.access import Invited
from loominal.fabric.runtime_file import read_runtime
from loominal.local.grant import confirm_corporate
from loominal.local.home import find_home
from loominal.model.errors import HubUnavailable, InvalidArgument
from loominal.model.grant import Role


@click.command(
    help="Print the line with which one more machine joins this fabric, or take an invitation back.\n\n"
    "Example: loominal invite --project shop --boundary personal"
)
@click.option("--project", "projects", multiple=True, metavar="P", help="A project its agents may enter; default: any.")
@click.option("--boundary", "boundaries", multiple=True, metavar="B", help="A boundary; default: all but corporate.")
@click.option("--capability", "capabilities", multiple=True, metavar="C", help="A capability; default: any.")
@click.option("--agent-type", "agent_types", multiple=True, metavar="T", help="An agent type; default: any.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.AGENT.value,
    show_default=True,
    help="What it may be.",
)
@click.option("--expires", default="1h", show_default=True, help="When the invitation ends: a duration, or a time.")
@click.option("--revoke", metavar="ID", help="Take this invitation back, if nobody has used it.")
@click.option("--yes", is_flag=True, help="Do not ask before `corporate` is granted.")
def invite(
    *,
    projects: tuple[str, ...],
    boundaries: tuple[str, ...],
    capabilities: tuple[str, ...],
    agent_types: tuple[str, ...],
    role: str,
    expires: str,
    revoke: str | None,
    yes: bool,
) -> None:
    """Invite, or take back."""
    if revoke is not None:
        if projects or boundaries or capabilities or agent_types:
            raise InvalidArgument(
                "--revoke takes an invitation back", "give it alone; `loominal machines` lists the ids"
            )
        asyncio.run(_revoke(revoke))
        return
    reach = reachable(find_home(os.environ))
    confirm_corporate(boundaries, yes=yes)
    key = KeyPair.generate(Kind.USER)
    invited = asyncio.run(
        _ask(
            key.public,
            projects=projects,
            boundaries=boundaries,
            capabilities=capabilities,
            agent_types=agent_types,
            role=Role(role),
            expires=expires,
        )
    )
    token = Token(urls=reach.urls, ca=reach.ca, jwt=invited.jwt, seed=key.seed, expires_at=invited.expires_at)
    click.echo(f"loominal join {token.to_text()}")
    click.echo(
        f"Run this line on the other machine. It is good for one machine and until {invited.expires_at:%Y-%m-%d %H:%M} "
        f"UTC;\nwhoever has it can join, so send it as you would a password. Reached at {', '.join(reach.urls)}.\n"
        f"`loominal invite --revoke {invited.id}` takes it back.",
        err=True,
    )


def reachable(home: Path) -> Reach:
    """Return how other machines reach this home's fabric.

    Raises: HubUnavailable if none runs, Forbidden if other machines cannot reach it over TLS.
    """
    runtime = read_runtime(home)
    if runtime is None:
        raise HubUnavailable("no fabric is running", "`loominal up --listen 0.0.0.0` starts one that others can join")
    return from_elsewhere(runtime)


async def _ask(
    key: str,
    *,
    projects: tuple[str, ...],
    boundaries: tuple[str, ...],
    capabilities: tuple[str, ...],
    agent_types: tuple[str, ...],
    role: Role,
    expires: str,
) -> Invited:
    from loominal.fabric.client.connect import connect  # loads the NATS client

    async with connect(client="loominal", person=True, operator=True) as operator:
        return await operator.invite(
            key,
            projects=projects,
            boundaries=boundaries,
            capabilities=capabilities,
            agent_types=agent_types,
            role=role,
            expires=expires,
        )


async def _revoke(invitation_id: str) -> None:
    from loominal.fabric.client.connect import connect

    async with connect(client="loominal", person=True, operator=True) as operator:
        gone = await operator.revoke_invitation(invitation_id)
    click.echo(f"taken back: {gone.id}")
