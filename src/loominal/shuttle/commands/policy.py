"""`shuttle policy`: who may take which work."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from loominal.fabric.operations.policy import PolicyView
from loominal.model.names import shown
from loominal.shuttle import completing
from loominal.shuttle.documents import differences, read_document, show_changes, show_document
from loominal.shuttle.durations import seconds
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column, duration

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (
    Column("BOUNDARY", 1), Column("AGENT TYPES", 2), Column("PREFERRED", 2), Column("SPIN-UP"), Column("TARGETS", 3),
)  # fmt: skip


@click.group(cls=FleetGroup, help="Who may take which work.\n\nExample: shuttle policy show")
def policy() -> None:
    """Group the commands."""


@policy.command(help="Show the policy that holds.\n\nExample: shuttle policy show --json")
@click.pass_obj
def show(fleet: Fleet) -> None:
    """Show it."""

    async def ask(agent: Agent) -> PolicyView:
        return await agent.get_policy()

    _show(fleet, fleet.run(ask))


@policy.command(
    "set",
    help="Change the policy: one boundary, what holds for all, or the whole of it from a file. It holds at once. "
    "What has … can be given several times.\n\n"
    "Example: shuttle policy set --boundary personal --preferred codex --no-spin-up",
)
@click.option("--boundary", "-b", metavar="NAME", help="The boundary that is changed, or made.")
@click.option("--agent-type", "agentTypes", multiple=True, metavar="TYPE…", help="Who may take its work; '' is any.")
@click.option("--preferred", multiple=True, metavar="TYPE…", help="Who gets a head start; '' is nobody.")
@click.option("--spin-up/--no-spin-up", "spinUp", default=None, help="Whether agents are started for it.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME…",
    help="Where; '' is on any target.",
    shell_complete=completing.targets,
)
@click.option("--remove-boundary", "removed", multiple=True, metavar="NAME…", help="Nobody takes its work any more.")
@click.option("--cross-project/--no-cross-project", "crossProject", default=None, help="Whether others may see us.")
@click.option("--stalled", "stalledSeconds", callback=seconds, metavar="TIME", help="Silent so long, agents are woken.")
@click.option("--hand-back", "handBackSeconds", callback=seconds, metavar="TIME", help="And so long, lose their work.")
@click.option("--from", "file", type=click.File("rb"), help="The whole, in TOML or JSON; - is stdin.")
@click.option("--if-version", type=click.IntRange(0), metavar="N", help="Only if this is the one that holds.")
@click.option("--dry-run", is_flag=True, help="Check it, show what would change, and change nothing.")
@click.pass_obj
def set_policy(
    fleet: Fleet,
    /,
    *,
    file: BinaryIO | None,
    removed: tuple[str, ...],
    if_version: int | None,
    dry_run: bool,
    **flags: object,
) -> None:
    """Change it."""
    from loominal.model.errors import IllegalMove
    from loominal.shuttle.policy_changes import OF_A_RULE, changed, plain, written

    said = {name: value for name, value in flags.items() if value not in (None, ())}
    if (file is None) is not bool(said or removed):
        raise click.UsageError("Say what to change, or give the whole with --from; not both.")
    if "boundary" not in said and any(name in said for name in OF_A_RULE):
        raise click.UsageError("Say which --boundary is meant.")
    whole = written(read_document(file)) if file is not None else None

    async def change(agent: Agent) -> PolicyView:
        before = await agent.get_policy()
        after, version = whole or (changed(before, said, removed), before.version)
        version = version if if_version is None else if_version
        if version not in (None, before.version):
            raise IllegalMove(
                f"the policy is at version {before.version}, not {version}",
                "look at it with get_policy, and make your change to that",
            )
        if dry_run:
            await _say_unknown_targets(fleet, agent, after)
        show_changes(fleet, differences(plain(before), plain(after)), dry_run=dry_run)
        if dry_run or plain(before) == plain(after):
            return after if dry_run else before
        return await agent.set_policy(
            {name: msgspec.to_builtins(rule) for name, rule in after.boundaries.items()},
            cross_project=after.cross_project,
            stalled_seconds=after.stalled_seconds,
            hand_back_seconds=after.hand_back_seconds,
            version=version,
        )

    view = fleet.run(change)
    if not dry_run:
        _show(fleet, view)
        return
    if fleet.wants_json:
        show_document(plain(view))
    fleet.say("nothing was sent")


async def _say_unknown_targets(fleet: Fleet, agent: Agent, wanted: PolicyView) -> None:
    from loominal.shuttle.policy_changes import unknown_targets

    there = (await agent.list_targets()).targets
    for unknown in unknown_targets(wanted, [name for each in there for name in (each.name, each.id)]):
        fleet.say(str(unknown))


def _show(fleet: Fleet, view: PolicyView) -> None:
    for name in view.unknown_targets:
        fleet.say(f"there is no target {shown(name)} yet, which a rule names")
    fleet.show_facts(
        [
            ("version", view.version or "0: nobody has set one, this is the default"),
            ("cross-project", "yes" if view.cross_project else "no"),
            ("stalled", f"after {duration(view.stalled_seconds)} without a sign of life"),
            ("handed back", f"after {duration(view.hand_back_seconds)}"),
            ("unreadable", "what is stored cannot be read: nobody may take anything" if view.unreadable else ""),
        ]
    )
    rows = [
        (
            name, rule.agent_types or "any", rule.preferred, "yes" if rule.spin_up else "no",
            (rule.targets or "any") if rule.spin_up else "",
        )
        for name, rule in view.boundaries.items()
    ]  # fmt: skip
    fleet.show(view, COLUMNS, rows, "no boundaries: nobody may take anything")
