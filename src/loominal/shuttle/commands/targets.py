"""`shuttle targets`: where agents can be started, and how."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import click
import msgspec

from loominal.fabric.operations.targets import HealthView, TargetList, TargetView
from loominal.model.errors import Forbidden
from loominal.model.mechanism import Mechanism
from loominal.model.mistakes import Mistake
from loominal.shuttle import completing
from loominal.shuttle.documents import Document, differences, read_document, refuse, show_changes, show_document, shown
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column, duration, plain, status
from loominal.shuttle.targets.flags import Given, Said, TargetCommand, flag_at

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent
    from loominal.shuttle.targets.documents import Wanted
    from loominal.shuttle.targets.plan import Step

COLUMNS = (
    Column("NAME", 1), status(), Column("MECHANISM"), Column("AGENT TYPE", 1), Column("CAPABILITIES", 2),
    Column("BOUNDARIES", 3), Column("AGENTS"), Column("NOTE", 3),
)  # fmt: skip
MECHANISMS = click.Choice([each.value for each in Mechanism])
EXAMPLES = """\b
Examples:
  shuttle targets add here --mechanism local --agent-type exec \\
    --capability python --boundary personal --cwd /srv/agents \\
    -- loominal agent run --client exec --capability python -- ./do
  shuttle targets add box --mechanism ssh --host box --user ci \\
    --agent-type codex --boundary personal --identity-file /keys/fleet \\
    -- loominal agent run --client codex
  shuttle targets add pods --mechanism kubernetes --namespace agents \\
    --agent-type exec --boundary personal --image loominal:1 --env LANG=C
  shuttle targets add ci --mechanism github-actions --repo acme/shop \\
    --agent-type claude-code --boundary open-source \\
    --workflow loominal-agent.yml
  shuttle targets add hook --mechanism webhook --agent-type exec \\
    --boundary personal --url https://ci.example/start \\
    --body '{"launch": "{launchId}", "enrolment": "{enrolment}"}'
  shuttle targets add --from targets.toml --update
"""


@click.group(cls=FleetGroup, help="Where agents can be started, and how.\n\nExample: shuttle targets list")
def targets() -> None:
    """Group the commands."""


@targets.command("list", help="List targets by name.\n\nExample: shuttle targets list")
@click.pass_obj
def list_targets(fleet: Fleet) -> None:
    """List them."""

    async def ask(agent: Agent) -> TargetList:
        return await agent.list_targets()

    fleet.show_pages(fleet.gather(ask), "targets", COLUMNS, _rows, "no targets: `shuttle targets add` makes one")


@targets.command(help="Show one target; what may be secret is in --json only.\n\nExample: shuttle targets show here")
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.pass_obj
def show(fleet: Fleet, *, target: str) -> None:
    """Show it."""

    async def ask(agent: Agent) -> TargetView:
        return await agent.get_target(target)

    view = fleet.run(ask)
    if fleet.wants_json:
        fleet.show_json(view)
    else:
        fleet.show_facts([*_what_goes_on(view), *_what_it_is(msgspec.to_builtins(view))])


@targets.command(
    cls=TargetCommand,
    help="Say where agents can be started, and how. What has … can be given several times.",
    epilog=EXAMPLES,
)
@click.argument("name", required=False)
@click.option("--mechanism", type=MECHANISMS, metavar="NAME", help="local, ssh, kubernetes, github-actions, webhook.")
@click.option("--from", "file", type=click.File("rb"), help="One target or several, in TOML or JSON; - is stdin.")
@click.option("--update", is_flag=True, help="With --from: those that are there become as it says.")
@click.option("--dry-run", is_flag=True, help="Check it, show what would be sent, and send nothing.")
@click.pass_obj
def add(
    fleet: Fleet,
    *,
    name: str | None,
    mechanism: str | None,
    file: BinaryIO | None,
    update: bool,
    dry_run: bool,
    given: Given,
) -> None:
    """Add targets."""
    from loominal.shuttle.targets import documents
    from loominal.shuttle.targets.plan import done, plan

    if file is not None:
        if name or mechanism or given.anything:
            raise click.UsageError("--from says all of its targets; give no NAME and no flags of one beside it.")
        wanted = documents.wanted_in(read_document(file))
    elif not name or not mechanism or update:
        raise click.UsageError("Give a NAME and a --mechanism, or --from FILE; --update is for the latter.")
    else:
        document = {"name": name, "mechanism": mechanism, "capabilities": [], "config": {}}
        wanted = [_of_flags(document, Said(Mechanism(mechanism), given))]

    async def make(agent: Agent) -> list[TargetView]:
        steps = await plan(agent, wanted, update=update)
        if dry_run:
            _show_steps(fleet, steps, single=file is None)
            return []
        views = []
        for step in steps:
            views.append(await done(agent, step))
            fleet.say(f"{step.name}: {step.deed}")
        return views

    views = fleet.run(make)
    if not dry_run:
        _show(fleet, views, single=file is None)


@targets.command(
    cls=TargetCommand,
    help="Change a target; what is not said stays. What has … replaces all that there was, and '' leaves none."
    "\n\nExample: shuttle targets update here --max-concurrent 4 --tag ''",
)
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.option("--name", help="Call it so.")
@click.option("--mechanism", type=MECHANISMS, metavar="NAME", help="Another one, with all that it has to be told.")
@click.option("--dry-run", is_flag=True, help="Check it, show what would change, and change nothing.")
@click.pass_obj
def update(fleet: Fleet, *, target: str, name: str | None, mechanism: str | None, dry_run: bool, given: Given) -> None:
    """Change it."""
    from loominal.shuttle.targets.documents import is_secret, present
    from loominal.shuttle.targets.plan import check_boundaries, fields

    if not (name or mechanism or given.anything):
        raise click.UsageError("Say what to change; `shuttle targets update --help` lists the flags.")

    async def change(agent: Agent) -> TargetView:
        view = await agent.get_target(target)
        if not view.config:  # it is shown to operators alone, and every mechanism has some
            raise Forbidden("update_target is for operators", "`loominal invite --role operator` makes one")
        before = present(view)
        flags = Said(Mechanism(mechanism or view.mechanism), given)
        start = before if flags.mechanism is view.mechanism else before | {"config": {}}
        after = _of_flags(start | {"name": name or view.name, "mechanism": flags.mechanism}, flags).document
        await check_boundaries(agent, [after])
        show_changes(fleet, differences(before, after, is_secret), dry_run=dry_run)
        changed = {key: value for key, value in after.items() if value != before[key]}
        if dry_run and fleet.wants_json:
            show_document(changed)
        return (
            view
            if dry_run or not changed
            else await agent.update_target(view.id, **fields(changed), version=view.version)
        )

    view = fleet.run(change)
    if dry_run:
        fleet.say("nothing was sent")
    else:
        _show(fleet, [view], single=True)


@targets.command(help="Forget a target.\n\nExample: shuttle targets remove here --yes")
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(fleet: Fleet, *, target: str, yes: bool) -> None:
    """Forget it."""

    async def look(agent: Agent) -> TargetView:
        return await agent.get_target(target)

    async def forget(agent: Agent) -> TargetView:
        return await agent.remove_target(view.id)

    view = fleet.run(look)
    fleet.confirm(f"Remove the target {plain(view.name)}?{_still(view)}", yes=yes)
    view = fleet.run(forget)
    fleet.say(f"{view.name}: removed.{_still(view)}")
    if fleet.wants_json:
        fleet.show_json(view)


@targets.command(help="Let agents be started there again.\n\nExample: shuttle targets enable here")
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.pass_obj
def enable(fleet: Fleet, *, target: str) -> None:
    """Enable it."""

    async def ask(agent: Agent) -> TargetView:
        return await agent.enable_target(target)

    _show(fleet, [fleet.run(ask)], single=True)


@targets.command(help="Start no more agents there.\n\nExample: shuttle targets disable here")
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.pass_obj
def disable(fleet: Fleet, *, target: str) -> None:
    """Disable it."""

    async def ask(agent: Agent) -> TargetView:
        return await agent.disable_target(target)

    _show(fleet, [fleet.run(ask)], single=True)


@targets.command(
    help="Find out whether an agent could be started there; exit 1 if none could.\n\nExample: shuttle targets test here"
)
@click.argument("target", metavar="NAME", shell_complete=completing.targets)
@click.pass_obj
def test(fleet: Fleet, *, target: str) -> int:
    """Test it, and tell each step as it is taken."""

    def tell(what: str, outcome: str, detail: str) -> None:
        if not fleet.wants_json:
            click.echo(f"{what:<8}  {outcome:<6}  {plain(detail)}".rstrip())

    async def ask(agent: Agent) -> HealthView:
        view = await agent.get_target(target)
        tell("target", "ok" if view.enabled else "note", "enabled" if view.enabled else "disabled: none is started")
        may = f"it is {view.unusable}" if view.unusable else f"weft may use the mechanism {view.mechanism}"
        tell("allowed", "failed" if view.unusable else "ok", may)
        policy = await agent.get_policy()
        for each in view.boundaries:
            rule = policy.boundaries.get(each)
            serves = (
                rule is not None
                and rule.spin_up
                and (not rule.targets or not {view.name, view.id}.isdisjoint(rule.targets))
            )
            tell(
                "policy",
                "ok" if serves else "note",
                f"work of {each} {'may start' if serves else 'starts no'} agents here",
            )
        health = await agent.test_target(target)
        outcome = "ok" if health.healthy else "failed"
        tell("check", outcome, f"{health.detail} ({health.latency_ms:g} ms)")
        return health

    health = fleet.run(ask)
    if fleet.wants_json:
        fleet.show_json(health)
    return 0 if health.healthy else 1


def _of_flags(document: Document, flags: Said) -> Wanted:
    """Return `document` with what the flags say. Raises: InvalidArgument, with everything that is wrong."""
    from loominal.shuttle.targets.documents import target_mistakes, wanted

    made = copy.deepcopy(document)
    for place, value in flags.values.items():
        *tables, last = place.split(".")
        table = made
        for each in tables:
            table = table.setdefault(each, {})
        table[last] = value
    known = {each.place for each in flags.mistakes}
    wrong = [Mistake(flag_at(each.place), each.what, each.hint) for each in target_mistakes(made)]
    refuse([*flags.mistakes, *(each for each in wrong if each.place not in known)], "the target")
    return wanted(made)


def _show(fleet: Fleet, views: Sequence[TargetView], *, single: bool) -> None:
    whole = TargetList(targets=tuple(views), total=len(views))
    fleet.show(views[0] if single else whole, COLUMNS, _rows(whole), "no targets")


def _show_steps(fleet: Fleet, steps: Sequence[Step], *, single: bool) -> None:
    if fleet.wants_json:
        documents = [step.document | ({} if step.enabled else {"enabled": False}) for step in steps]
        show_document(documents[0] if single else {"targets": documents, "total": len(documents)})
    for step in steps if not fleet.wants_json else ():
        click.echo(
            f"{plain(step.name)}: to be {step.deed}" if step.changes or not step.before else f"{step.name}: unchanged"
        )
        for line in step.changes:
            click.echo(f"  {plain(line)}")
        if step.before is None:
            fleet.show_facts(_what_it_is(step.document))
    fleet.say("nothing was sent")


def _rows(found: TargetList) -> list[tuple[object, ...]]:
    return [
        (
            each.name, _state(each), each.mechanism, each.agent_type, each.capabilities, each.boundaries,
            f"{each.running}/{each.max_concurrent}" + (f" +{each.booting}" if each.booting else ""), _note(each),
        )
        for each in found.targets
    ]  # fmt: skip


def _state(view: TargetView) -> str:
    if not view.enabled:
        return "disabled"
    if view.unusable:
        return "unusable"
    return "enabled" if view.health is None else "healthy" if view.health.healthy else "unhealthy"


def _note(view: TargetView) -> str:
    if view.unusable:
        return f"it is {view.unusable}"
    if view.health is not None and not view.health.healthy:
        return view.health.detail
    return f"failing ({view.failures} in a row)" if view.failures else view.description


def _still(view: TargetView) -> str:
    count = view.running + view.booting
    return f" {count} agents that it has started go on until they are idle." if count else ""


def _what_goes_on(view: TargetView) -> list[tuple[str, object]]:
    health = view.health
    return [
        ("id", view.id),
        ("status", _state(view)),
        ("unusable", view.unusable and f"it is {view.unusable}"),
        ("health", health and f"{health.detail} ({health.latency_ms:g} ms)"),
        ("looked at", health and health.checked_at),
        ("agents", f"{view.running} there, {view.booting} on the way, {view.max_concurrent} at most"),
        ("failures", f"{view.failures} in a row" if view.failures else ""),
        ("updated", view.updated_at),
    ]


def _what_it_is(document: Document) -> list[tuple[str, object]]:
    """Return a target as people read it, without what may be secret."""
    check = document["healthCheck"]
    seconds = [document[key] for key in ("cooldownSeconds", "idleSeconds", "bootTimeoutSeconds")]
    cooldown, idle, boot = map(duration, seconds)
    every = f"every {duration(check['intervalSeconds'])}, at most {duration(check['timeoutSeconds'])} long"
    return [
        ("name", document["name"]),
        ("description", document["description"]),
        ("agent type", document["agentType"]),
        ("capabilities", document["capabilities"]),
        ("boundaries", document["boundaries"]),
        ("tags", document["tags"]),
        ("starts", f"{document['maxConcurrent']} at most, {cooldown} apart; each must have come within {boot}"),
        ("ends", f"after {idle} without work"),
        ("looks", every if check["enabled"] else "by hand alone"),
        ("mechanism", document["mechanism"]),
        *((key, _setting(key, value)) for key, value in document["config"].items()),
    ]


def _setting(key: str, value: object) -> str:
    """Return a setting of a mechanism on a line, without what may be a secret."""
    from loominal.shuttle.targets.documents import is_secret

    if value in (None, "", [], {}):
        return ""
    if isinstance(value, dict) and any(is_secret(f"config.{key}.{name}") for name in value):
        return f"{', '.join(value)} (values are in --json)"
    if key in ("command", "args") and isinstance(value, (list, tuple)):
        return shlex.join(map(str, value))
    if key == "url" and urlsplit(str(value)).query:
        return str(value).partition("?")[0] + "?…"
    return shown(value)
