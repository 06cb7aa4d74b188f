"""`loominal machines`: which machines are part of the fabric, and cutting one off."""

from __future__ import annotations

import asyncio

import click

from loominal.fabric.operations.access import MachineView


@click.command(
    help="List the machines of this fabric and open invitations, or cut a machine off.\n\n"
    "Example: loominal machines --revoke laptop-1a2b3c4d"
)
@click.option("--revoke", metavar="NAME", help="Cut this machine off for good, with all its agents.")
def machines(*, revoke: str | None) -> None:
    """List, or cut off."""
    asyncio.run(_list() if revoke is None else _revoke(revoke))


async def _list() -> None:
    from loominal.fabric.client.connect import connect  # loads the NATS client

    async with connect(client="loominal", person=True, operator=True) as operator:
        for each in (await operator.list_machines()).machines:
            click.echo(_line(each))


async def _revoke(name: str) -> None:
    from loominal.fabric.client.connect import connect

    async with connect(client="loominal", person=True, operator=True) as operator:
        gone = await operator.revoke_machine(name)
    click.echo(f"{gone.name} is cut off, with {gone.agents} agent(s)")


def _line(each: MachineView) -> str:
    """Return a machine on one line."""
    if each.invitation and each.expires_at:
        what = (
            f"(enrolment {each.invitation} of launch {each.launch})"
            if each.launch
            else f"(invitation {each.invitation})"
        )
        return f"{what}  role {each.role}  until {each.expires_at:%Y-%m-%d %H:%M} UTC"
    parts = [each.name, f"user {each.user}", f"role {each.role}", f"since {each.since:%Y-%m-%d %H:%M} UTC"]
    if each.revoked_at:
        parts.append(f"cut off {each.revoked_at:%Y-%m-%d %H:%M} UTC")
    if each.refused_at:
        parts.append(f"! another machine showed its invitation {each.refused_at:%Y-%m-%d %H:%M} UTC")
    return "  ".join(parts)
