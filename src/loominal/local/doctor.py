"""`loominal doctor`: one line for each thing a fabric needs, with the fix for what fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

import loominal
from loominal.broker import subjects
from loominal.broker.credentials import Credential
from loominal.broker.greeting import greeting, reach
from loominal.broker.server_program import find_server
from loominal.broker.shown_url import shown_url
from loominal.fabric.project_id import VARIABLE, find_project
from loominal.fabric.runtime_file import Mode, Runtime, machine_credential_path, read_runtime
from loominal.local.connect.claude_code import ClaudeCode, unread_file
from loominal.local.connect.clients import CLIENTS
from loominal.local.connect.findings import findings
from loominal.local.connect.interface import Client, Place
from loominal.local.home import find_home, supervisor_pid
from loominal.local.lending import nothing_allowed
from loominal.local.status import TRUST, listens
from loominal.local.weft_api import answers, not_ready
from loominal.model.errors import LoominalError

LEAST_FREE_BYTES = 2 << 30  # below that the broker's share of the disk begins to shrink
FAILED = 1
START = "`loominal up --detach`"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `fix` says what to do if it is not `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@click.command(help="Check everything a fabric needs, with the fix for what fails.\n\nExample: loominal doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(*, as_json: bool) -> None:
    """Check this machine's fabric; exit 1 if something is wrong."""
    checks = list(checks_of(find_home(os.environ)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"checks": checks})).decode())
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<11} {check.detail}")
            if not check.ok and check.fix:
                click.echo(f"      {'':<11} fix: {check.fix}")
    if not all(check.ok for check in checks):
        sys.exit(FAILED)


def checks_of(home: Path) -> Iterator[Check]:
    """Yield the checks of the fabric in `home`, in the order in which one thing needs the other."""
    yield Check(name="version", ok=True, detail=f"loominal {loominal.__version__}, Python {sys.version.split()[0]}")
    yield _broker_program()
    yield _home(home)
    if os.access(home, os.F_OK):
        yield _disk(home)
    yield _project()
    yield from _clients(Place.from_env(os.environ))
    try:
        runtime = read_runtime(home)
    except LoominalError as error:
        yield Check(name="running", ok=False, detail=error.message, fix=error.hint)
        return
    if runtime is None:
        yield Check(name="running", ok=False, detail="no fabric runs here", fix=START)
        return
    yield from _joined(home, runtime) if runtime.mode is Mode.JOINED else _processes(home, runtime)
    if runtime.mode is not Mode.OPEN:
        yield _credential(home)
    yield Check(name="trust", ok=True, detail=TRUST[runtime.mode])


def _processes(home: Path, runtime: Runtime) -> Iterator[Check]:
    pid = supervisor_pid(home)
    if pid or runtime.mode is not Mode.EXTERNAL:  # an operator's weft is kept running by other means
        yield Check(
            name="supervisor",
            ok=pid is not None,
            detail=f"pid {pid}" if pid else "nobody restarts what dies",
            fix=START,
        )
    told = greeting(runtime.url)
    yield Check(
        name="broker",
        ok=told is not None,
        detail=f"nats-server {told.version} at {shown_url(runtime.url)}"
        if told
        else f"nothing answers at {shown_url(runtime.url)}",
        fix=f"`loominal logs` says why it ended; {START} starts it",
    )
    if listening := listens(home, runtime):
        yield Check(name="listens", ok=True, detail=listening)
    if (runtime.listen or runtime.mode is Mode.EXTERNAL) and (unable := nothing_allowed(os.environ)):
        yield Check(name="targets", ok=True, detail=unable)
    alive = answers(runtime)
    yield Check(
        name="weft",
        ok=alive,
        detail=runtime.api_url if alive else "does not answer",
        fix=f"{home / 'logs' / 'weft.log'} says why",
    )
    reasons = not_ready(home) if alive else ["weft does not answer"]
    yield Check(
        name="ready", ok=not reasons, detail="; ".join(reasons) or "it serves", fix="`loominal logs -f` tells more"
    )


def _joined(home: Path, runtime: Runtime) -> Iterator[Check]:
    """Yield what this machine needs of the fabric it has joined: its broker, by its certificate, and entry."""
    try:
        certificate = Path(runtime.ca).read_text()
        place = reach(runtime.url.split(","), certificate)
    except LoominalError as error:
        yield Check(name="broker", ok=False, detail=error.message, fix=error.hint)
    except OSError as error:
        yield Check(name="broker", ok=False, detail=f"{runtime.ca}: {error.strerror}", fix="`loominal join` again")
    else:
        yield Check(name="broker", ok=True, detail=f"{place[0]}, joined, TLS with the fabric's own certificates")
        yield _let_in(home, place, certificate)


def _let_in(home: Path, urls: list[str], certificate: str) -> Check:
    """Return whether the fabric takes this machine's credential: it may have been cut off."""
    from loominal.broker.connection import Broker

    async def log_in() -> None:
        machine = Credential.read(machine_credential_path(home))
        async with Broker.connect(
            urls,
            name="doctor",
            inbox=subjects.reply_prefix(machine.name),
            credential=lambda: machine,
            tls=ssl.create_default_context(cadata=certificate),
        ):
            pass

    try:
        asyncio.run(log_in())
    except LoominalError as error:
        fix = "if it was cut off: ask for a new invitation, and `loominal join` it"
        return Check(name="let in", ok=False, detail=error.message, fix=fix)
    return Check(name="let in", ok=True, detail="the fabric takes this machine's credential")


def _broker_program() -> Check:
    try:
        return Check(name="nats-server", ok=True, detail=str(find_server()))
    except LoominalError as error:
        return Check(name="nats-server", ok=False, detail=error.message, fix=error.hint)


def _home(home: Path) -> Check:
    elsewhere = "set LOOMINAL_HOME to a directory of yours"
    try:
        found = home.stat()
    except FileNotFoundError:
        above = next(each for each in home.parents if each.exists())
        ok = os.access(above, os.W_OK)
        detail = f"{home} is made at the first start" if ok else f"{home} cannot be made: {above} may not be written"
        return Check(name="home", ok=ok, detail=detail, fix=elsewhere)
    except OSError as error:
        return Check(name="home", ok=False, detail=f"{home}: {error.strerror}", fix=elsewhere)
    if not stat.S_ISDIR(found.st_mode):
        return Check(name="home", ok=False, detail=f"{home} is no directory", fix=elsewhere)
    mode = found.st_mode & 0o777
    mine = found.st_uid == os.getuid()
    return Check(
        name="home",
        ok=mine and not mode & 0o077,
        detail=f"{home} (mode {mode:o}{'' if mine else ', of another user'})",
        fix=f"chmod 700 {home}" if mine else elsewhere,
    )


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(home).free
    return Check(
        name="disk",
        ok=free > LEAST_FREE_BYTES,
        detail=f"{free / (1 << 30):.1f} GiB free",
        fix="free some space: a full disk stops the broker's streams",
    )


def _project() -> Check:
    try:
        found = find_project(Path(), variable=os.environ.get(VARIABLE, ""))
    except LoominalError as error:
        return Check(name="project", ok=False, detail=error.message, fix=error.hint)
    return Check(name="project", ok=True, detail=f"{found.id}, because {found.why}")


def _clients(place: Place) -> Iterator[Check]:
    """Yield one check for each client on this machine; one that nobody has tried to connect is no fault."""
    for client in CLIENTS.values():
        try:
            found = _connection(client, place)
        except OSError as error:  # a home that is somebody else's
            found = Check(name=client.name, ok=False, detail=f"cannot be looked at: {error}", fix="is HOME yours?")
        if found:
            yield found


def _connection(client: Client, place: Place) -> Check | None:
    known = findings(client, place)
    connect = f"`loominal connect {client.name}`"
    if wrong := next((finding for finding in known if finding.problem), None):
        scope = f"`loominal connect {client.name} --scope {wrong.scope}`"
        fix = f"mend the file, then {scope}" if not wrong.program else f"{scope}, or put the program there"
        return Check(name=client.name, ok=False, detail=f"{wrong.path}: {wrong.problem}", fix=fix)
    if known:
        where = ", ".join(f"{finding.program} ({finding.path})" for finding in known)
        return Check(name=client.name, ok=True, detail=f"connected: {where}")
    if client.name == ClaudeCode.name and (unread := unread_file(place)) is not None:
        return Check(name=client.name, ok=False, detail=f"does not read {unread}", fix=f"{connect}; remove that file")
    return Check(name=client.name, ok=True, detail=f"not connected: {connect}") if client.found(place) else None


def _credential(home: Path) -> Check:
    path = machine_credential_path(home)
    try:
        name = Credential.read(path).name
    except LoominalError as error:
        return Check(name="credential", ok=False, detail=error.message, fix="restart the fabric: it writes a new one")
    mode = path.stat().st_mode & 0o777
    return Check(name="credential", ok=not mode & 0o077, detail=f"machine {name} ({path})", fix=f"chmod 600 {path}")
