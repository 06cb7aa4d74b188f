"""`loominal status`: what runs, where, whose broker it is, and what "accepted" means on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from loominal.broker.shown_url import shown_url
from loominal.fabric.addresses import addresses
from loominal.fabric.runtime_file import Mode, Runtime, read_runtime
from loominal.local.home import find_home, read_config
from loominal.local.weft_api import answers, listing, not_ready

NOT_RUNNING = 5
DURABILITY = {
    Mode.EMBEDDED: "accepted means on disk: the broker syncs every write before it answers",
    Mode.JOINED: "accepted means on disk of the machine whose fabric this is",
    Mode.EXTERNAL: "accepted means what that broker's own settings say (`sync_interval`, replicas)",
    Mode.OPEN: "accepted means what that broker's own settings say (`sync_interval`, replicas)",
}
TRUST = {
    Mode.EMBEDDED: "every process of this Unix user is trusted alike: between its agents a boundary is a guard rail, "
    "not a wall; a wall needs weft under another user",
    Mode.JOINED: "agents enrol with what this machine's invitation granted; every process of this Unix user is trusted "
    "alike",
    Mode.EXTERNAL: "agents enrol as on a fabric of this machine; whoever runs the broker's servers or reads its store "
    "is trusted with everything",
    Mode.OPEN: "nobody is authenticated: users, boundaries and roles are on trust, `corporate` does not exist",
}


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is; `listen` says who reaches it, where that is ours to say."""

    url: str
    version: str
    listen: str = ""


class Api(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where weft is."""

    url: str
    token_file: str


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What `status --json` prints; who leads is only said where there are several wefts."""

    running: bool
    mode: str
    durability: str
    home: str
    nats: Broker
    api: Api
    projects: list[str]
    wefts: list[str] = []
    leaders: dict[str, str] = {}  # the weft that leads a project, by title, as far as the asked weft has it loaded


@click.command(help="Show what runs, where, and what accepted means.\n\nExample: loominal status --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(*, as_json: bool) -> None:
    """Show the fabric's state; exit 5 if it does not run."""
    home = find_home(os.environ)
    runtime = read_runtime(home)
    found = status_of(home, runtime)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    elif runtime is not None and found.running:
        click.echo(_text(found, runtime, not_ready(home)))
    else:
        click.echo(f"not running (home {home})\n  `loominal up` starts it, `loominal doctor` says what is wrong")
    if not found.running:
        sys.exit(NOT_RUNNING)


def status_of(home: Path, runtime: Runtime | None) -> Status:
    """Return the state of the fabric in `home`, whose runtime file says `runtime`."""
    if runtime is None or not (broker_version(runtime) if runtime.mode is Mode.JOINED else answers(runtime)):
        mode = runtime.mode if runtime else Mode.EMBEDDED
        return Status(
            running=False,
            mode=mode,
            durability=DURABILITY[mode],
            home=str(home),
            nats=Broker(url="", version=""),
            api=Api(url="", token_file=""),
            projects=[],
        )
    told = listing(runtime)
    several = len(told.wefts) > 1
    return Status(
        running=True,
        mode=runtime.mode,
        durability=DURABILITY[runtime.mode],
        home=str(home),
        nats=Broker(url=shown_url(runtime.url), version=broker_version(runtime), listen=listens(home, runtime)),
        api=Api(url=runtime.api_url, token_file=runtime.token_file),
        projects=sorted(each.project for each in told.projects),
        wefts=told.wefts if several else [],
        leaders={each.project: each.leader for each in told.projects if each.leader} if several else {},
    )


def broker_version(runtime: Runtime) -> str:
    """Return what the broker says of itself when one connects; "" if it does not answer."""
    from loominal.broker.greeting import greeting

    told = greeting(runtime.url)
    return told.version if told else ""


def listens(home: Path, runtime: Runtime) -> str:
    """Return where the broker of this machine's own fabric listens and for whom; "" for any other broker."""
    config = read_config(home)
    if runtime.mode is not Mode.EMBEDDED or config is None:
        return ""
    if not config.listen:
        return f"on 127.0.0.1:{config.broker_port}, for this machine alone"
    places = ", ".join(f"{each}:{config.broker_port}" for each in addresses(config.listen))
    return f"on {config.listen}:{config.broker_port} with TLS, for machines that were invited ({places})"


def _text(found: Status, runtime: Runtime, reasons: list[str]) -> str:
    if runtime.mode is Mode.JOINED:
        reasons = []
    led = {title: f" (led by {weft})" for title, weft in found.leaders.items()}
    projects = ", ".join(title + led.get(title, "") for title in found.projects)
    lines = [
        f"{'running' if not reasons else 'running, but not ready'}, {found.mode} mode, home {found.home}",
        *(f"  ! {reason}" for reason in reasons),
        f"  broker    {found.nats.url} (nats-server {found.nats.version or 'does not answer'})",
        *([f"  listens   {found.nats.listen}"] if found.nats.listen else []),
        *([f"  weft      {found.api.url} (bearer token in {found.api.token_file})"] if found.api.url else []),
        f"  storage   {found.durability}",
        f"  trust     {TRUST[runtime.mode]}",
        *([f"  wefts     {', '.join(found.wefts)}"] if found.wefts else []),
        *([f"  projects  {projects or 'none yet'}"] if runtime.mode is not Mode.JOINED else []),
    ]
    return "\n".join(lines)
