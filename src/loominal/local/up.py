"""`loominal up`: run the fabric in the foreground, or start it detached and return when it serves."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from loominal.broker.shown_url import shown_url
from loominal.fabric.runtime_file import Mode, read_runtime
from loominal.local.at_login import service, shown, switch_on
from loominal.local.down import ORDERLY_SECONDS
from loominal.local.home import keep_idle_exit, open_home, read_config, supervision, supervisor_pid
from loominal.local.lending import nothing_allowed
from loominal.local.listening import Listen, broker_url, keep_listen, parse_listen
from loominal.local.processes import alive, end, running
from loominal.local.supervisor import READY_SECONDS, RESTART_BROKER, Supervisor, child_environment
from loominal.local.weft_api import not_ready
from loominal.model.errors import BrokerUnavailable, Forbidden, InvalidArgument
from loominal.model.times import duration_seconds

LOOK_SECONDS = 0.05
LOG_BYTES = 10_000_000
OPEN_MODE = (
    "open mode: this broker is not ours, so nobody is authenticated. Users, boundaries and roles are on trust,\n"
    "  `corporate` does not exist, and weft starts no agents."
)


@click.command(help="Start this user's fabric and keep it running.\n\nExample: loominal up --detach")
@click.option("--detach", is_flag=True, help="Return when it serves; `loominal down` ends it.")
@click.option("--idle-exit", metavar="DURATION", help="End it so long after its last use; default: it stays.")
@click.option(
    "--listen",
    metavar="HOST[:PORT]",
    help="Serve other machines, too, with TLS: an address of this one, or 0.0.0.0 for all. 127.0.0.1: only this one.",
)
@click.option("--at-login", is_flag=True, help="Start it now and at each login, by systemd or launchd.")
@click.option("--dry-run", is_flag=True, help="With --at-login: only show what would be done.")
@click.option("--heal", type=int, hidden=True, help="Take over for a killed supervisor, while this weft lives.")
def up(
    *, detach: bool, idle_exit: str | None, listen: str | None, at_login: bool, dry_run: bool, heal: int | None
) -> None:
    """Start the fabric."""
    if dry_run and not at_login:
        raise InvalidArgument("--dry-run goes with --at-login", "`loominal status` shows what runs")
    if at_login and (detach or idle_exit):
        raise InvalidArgument("what starts at login stays, in the background", "leave out --detach and --idle-exit")
    if dry_run:
        click.echo(shown(service(os.environ)))
        return
    home = open_home(os.environ)
    _refuse_joined(home)
    idle_seconds = duration_seconds(idle_exit) if idle_exit else None
    if _foreign_url(home) and os.environ.get("LOOMINAL_MODE") != Mode.EXTERNAL:
        click.echo(OPEN_MODE, err=True)
    moved = listen is not None and _listen(home, parse_listen(listen))
    if listen is not None and not parse_listen(listen).plain and (unable := nothing_allowed(os.environ)):
        click.echo(unable, err=True)
    start = Start(heal=heal, idle_seconds=idle_seconds, moved=moved)
    if at_login:
        _at_login(home)
    elif detach:
        _detach(home, start)
    else:
        _supervise(home, start)


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms a fabric is started."""

    heal: int | None  # the weft for which a killed supervisor is replaced
    idle_seconds: float | None  # after its last use; None: it stays until somebody ends it
    moved: bool  # it runs, and listens elsewhere now

    def running(self, home: Path) -> None:
        """Say that a fabric runs already; it stays from now on if it was not to end by itself."""
        if self.heal is None and self.idle_seconds is None:
            keep_idle_exit(home, None)
        click.echo(f"{'up' if self.moved else 'already running'}: {_where(home)}")

    def options(self) -> list[str]:
        """Return the terms as options of `loominal up`."""
        heal = ["--heal", str(self.heal)] if self.heal is not None else []
        return [*heal, "--idle-exit", f"{self.idle_seconds:f}s"] if self.idle_seconds is not None else heal


def _at_login(home: Path) -> None:
    """Let the system's manager start the fabric, now and at each login; one that runs goes on."""
    wanted = service(os.environ)
    running = supervisor_pid(home) is not None
    switch_on(wanted)
    until = time.monotonic() + READY_SECONDS
    while reasons := not_ready(home):
        if time.monotonic() > until:
            raise BrokerUnavailable(
                "; ".join(reasons), f"`journalctl --user -u loominal`, or {home / 'logs'}, says why"
            )
        time.sleep(LOOK_SECONDS)
    click.echo(f"up: {_where(home)}")
    click.echo(f"it starts at each login ({wanted.file}); `loominal down --at-login` undoes that")
    if running:
        click.echo("the one that was running goes on until `loominal down`", err=True)
    if wanted.note:
        click.echo(wanted.note, err=True)


def _refuse_joined(home: Path) -> None:
    """Raises: Forbidden on a machine that has joined another's fabric, which never starts one of its own."""
    runtime = read_runtime(home)
    if runtime is not None and runtime.mode is Mode.JOINED:
        raise Forbidden(
            f"this machine has joined the fabric at {runtime.url}, so it starts none of its own",
            "`loominal join --leave` forgets that fabric; another LOOMINAL_HOME can have its own",
        )


def _listen(home: Path, listen: Listen) -> bool:
    """Move the broker's listener, and return whether a running fabric serves there now. Raises: BrokerUnavailable."""
    if _foreign_url(home):
        raise InvalidArgument("where somebody else's broker listens is not ours to say", "unset NATS_URL")
    config = keep_listen(home, listen)
    pid = supervisor_pid(home)
    if config is None or pid is None:
        return False
    os.kill(pid, RESTART_BROKER)  # it holds the lock at this moment, so the pid is its own
    until = time.monotonic() + READY_SECONDS
    while (runtime := read_runtime(home)) is None or runtime.url != broker_url(home, config) or not_ready(home):
        if time.monotonic() > until:
            raise BrokerUnavailable("the broker does not serve there yet", "`loominal logs` says why")
        time.sleep(LOOK_SECONDS)
    click.echo("the broker has moved: agents that were connected have to be started again", err=True)
    return True


def _supervise(home: Path, start: Start) -> None:
    """Supervise the fabric until a signal ends it; if another does so already, say so once it serves."""
    until = time.monotonic() + READY_SECONDS
    while True:
        with supervision(home) as ours:
            if ours:
                if start.heal is None:
                    keep_idle_exit(home, start.idle_seconds)
                if start.heal is None or alive(start.heal):
                    _run(home, patient=start.heal is not None)
                return
        if not not_ready(home):
            start.running(home)
            return
        if time.monotonic() > until:
            raise BrokerUnavailable(
                f"process {supervisor_pid(home)} is starting or ending this fabric, and it does not serve",
                "`loominal down` ends it",
            )
        time.sleep(LOOK_SECONDS)


def _run(home: Path, *, patient: bool) -> None:
    foreign = _foreign_url(home)
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s", force=True)
    supervisor = Supervisor(home, os.environ, foreign)
    how_to_end = "; Ctrl-C ends it" if sys.stdout.isatty() else ""
    asyncio.run(supervisor.run(lambda: click.echo(f"up: {_where(home)}{how_to_end}"), patient=patient))


def _detach(home: Path, start: Start) -> None:
    """Start a supervisor of its own and return when the fabric serves. Raises: BrokerUnavailable with the reason."""
    if supervisor_pid(home) is not None and not not_ready(home):
        start.running(home)
        return
    log_path = home / "logs" / "supervisor.log"
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    command = [sys.executable, "-m", "loominal", "up", *start.options()]
    with log_path.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            env=child_environment(os.environ, foreign=bool(_foreign_url(home))) | {"LOOMINAL_HOME": str(home)},
            start_new_session=True,
        )
    until = time.monotonic() + READY_SECONDS + 5  # it gives up by itself, and says why
    while process.poll() is None and time.monotonic() < until:
        if not not_ready(home):
            click.echo(f"up: {_where(home)}")
            return
        time.sleep(LOOK_SECONDS)
    reasons = not_ready(home)
    if process.poll() is None and start.heal is None:
        _end_started(home, process)
        reasons = [*reasons, "what was started is ended again"]
    elif process.poll() == 0 and not reasons:
        start.running(home)
        return
    with log_path.open("rb") as words:
        words.seek(began)
        told = [line for line in words.read().decode(errors="replace").splitlines() if line.startswith("loominal: ")]
    raise BrokerUnavailable(
        told[-1].removeprefix("loominal: ") if told else "; ".join(reasons), f"the logs are in {home / 'logs'}"
    )


def _end_started(home: Path, process: subprocess.Popen[bytes]) -> None:
    """End a supervisor that takes too long, and whatever it has started; nobody else's."""
    process.terminate()
    try:
        process.wait(ORDERLY_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with supervision(home) as ours:
        for left in running(home) if ours else ():
            end(home, left)


def _foreign_url(home: Path) -> str:
    """Return the URL of somebody else's broker, "" if this fabric brings its own. Raises: InvalidArgument."""
    from loominal.fabric.client.settings import servers_in

    url, config = os.environ.get("NATS_URL", ""), read_config(home)
    try:
        servers_in(url, os.environ)
    except InvalidArgument as error:
        raise InvalidArgument(f"NATS_URL: {error.message}", error.hint) from error
    return "" if config and url and urlsplit(url).netloc == urlsplit(broker_url(home, config)).netloc else url


def _where(home: Path) -> str:
    runtime = read_runtime(home)
    if runtime is None:
        return str(home)
    mode = "" if runtime.mode is Mode.EMBEDDED else f" ({runtime.mode} mode)"
    return f"broker {shown_url(runtime.url)}{mode}, weft {runtime.api_url}, home {home}"
