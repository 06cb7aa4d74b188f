"""`loominal connect`: the command. Says what it did to which file, and what the user has to do next."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from loominal.local.connect.clients import CLIENTS
from loominal.local.connect.findings import findings
from loominal.local.connect.interface import Client, Place, Scope, Wish, warp_program
from loominal.local.connect.plan import Plan, connecting, undoing
from loominal.local.home import find_home
from loominal.model.errors import InvalidArgument, LoominalError

FAILED = 1


@click.command(
    help="Write Loominal into an agent client's configuration. Without CLIENT: which clients there are.\n\n"
    "Example: loominal connect claude-code --allow"
)
@click.argument("client", required=False)
@click.option("--all", "every", is_flag=True, help="Every client found on this machine.")
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    default=Scope.USER.value,
    help="For all your projects (user, the default) or for everybody in this directory (project).",
)
@click.option("--allow", is_flag=True, help="Let agents use the tools unasked, but for three that undo others' work.")
@click.option("--no-hooks", is_flag=True, help="Write no hooks.")
@click.option("--dry-run", is_flag=True, help="Print what would change, as a diff, and change nothing.")
@click.option("--undo", is_flag=True, help="Take everything out again.")
def connect(
    *, client: str | None, every: bool, scope: str, allow: bool, no_hooks: bool, dry_run: bool, undo: bool
) -> None:
    """Connect clients; exit 1 if one of them could not be."""
    place, home = Place.from_env(os.environ), find_home(os.environ)
    chosen = _chosen(client, place, every=every)
    if not chosen:
        _list(place)
        return
    where = Scope(scope)
    wish = Wish(scope=where, program=warp_program(where), allow=allow, hooks=not no_hooks)
    failed = False
    for one in chosen:
        try:
            _undo(one, place, where, home, dry_run=dry_run) if undo else _connect(
                one, place, wish, home, dry_run=dry_run
            )
        except LoominalError as error:
            failed = True
            click.echo(
                f"loominal: {one.title}: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), err=True
            )
    if failed:
        sys.exit(FAILED)


def _chosen(name: str | None, place: Place, *, every: bool) -> list[Client]:
    """Return the clients that are meant; none if they are to be listed."""
    if name and every:
        raise InvalidArgument("name a client or say --all, not both")
    if every:
        found = [client for client in CLIENTS.values() if client.found(place)]
        if not found:
            raise InvalidArgument("no client was found on this machine", f"name one of {', '.join(CLIENTS)}")
        return found
    if not name:
        return []
    if name not in CLIENTS:
        raise InvalidArgument(f"there is no client {name!r}", f"one of {', '.join(CLIENTS)}")
    return [CLIENTS[name]]


def _connect(client: Client, place: Place, wish: Wish, home: Path, *, dry_run: bool) -> None:
    plan = connecting(client, place, wish, home)
    if dry_run:
        click.echo(plan.diff() or f"{client.title}: nothing to change", nl=not plan.rewrites)
        return
    if plan.rewrites:
        plan.carry_out()
        click.echo(f"{client.title}: connected")
        _say_files(plan)
    else:
        click.echo(f"{client.title}: already connected")
    if not client.found(place):
        click.echo("  it was not found on this machine; the files are ready for it")
    for note in client.notes(place, wish):
        click.echo(f"  {note}")
    if plan.rewrites:
        click.echo(f"  restart {client.title}, then ask it to join; --undo takes this out again")


def _undo(client: Client, place: Place, scope: Scope, home: Path, *, dry_run: bool) -> None:
    plan = undoing(client, place, scope, home)
    if dry_run:
        click.echo(plan.diff() or f"{client.title}: nothing to undo", nl=not plan.rewrites)
        return
    plan.carry_out()
    if not plan.rewrites:
        click.echo(f"{client.title}: nothing to undo")
        return
    click.echo(f"{client.title}: undone")
    _say_files(plan)
    click.echo(f"  restart {client.title}")


def _say_files(plan: Plan) -> None:
    for rewrite in plan.rewrites:
        verb = "wrote" if rewrite.old is None else "removed" if rewrite.new is None else "changed"
        click.echo(f"  {verb} {rewrite.path}" + (f" ({rewrite.remark})" if rewrite.remark else ""))


def _list(place: Place) -> None:
    for client in CLIENTS.values():
        where = [f"{finding.scope} ({finding.path})" for finding in findings(client, place) if not finding.problem]
        state = f"connected: {', '.join(where)}" if where else "found" if client.found(place) else "not found"
        click.echo(f"{client.name:<12} {state}")
    click.echo("`loominal connect NAME` connects one, --all every one that is found", err=True)
