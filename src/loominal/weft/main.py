"""Weft, the coordinator service: reads the settings, builds every object, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import pwd
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

import loominal
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.secret_file import create_secret, read_secret
from loominal.broker.server_config import operator_text
from loominal.broker.shown_url import shown_url
from loominal.fabric.runtime_file import (
    Mode,
    Runtime,
    machine_credential_path,
    read_runtime,
    remove_runtime,
    update_runtime,
)
from loominal.model.errors import BrokerUnavailable, Forbidden, InvalidArgument, LoominalError, NotFound
from loominal.model.names import handle_like
from loominal.weft.api.request_id import InLog
from loominal.weft.api.tokens import Tokens, new_bearer_token
from loominal.weft.connections import HUB_NAME
from loominal.weft.json_log import JsonLines
from loominal.weft.launcher import MechanismLauncher, allowed
from loominal.weft.living import Living, living
from loominal.weft.log_limit import LogLimit
from loominal.weft.mechanisms.means import Means
from loominal.weft.open_fabric import OpenFabric
from loominal.weft.operator_fabric import OperatorFabric
from loominal.weft.settings import Settings, broker_of, tls_of
from loominal.weft.supervised import ask_broker_restart, heal, is_anothers
from loominal.weft.token_command import token
from loominal.weft.weft_file import FILE, WeftFile, read_weft_file

if TYPE_CHECKING:
    from loominal.weft.api.server import Certificate, HttpServer

log = logging.getLogger("loominal.weft")

EXIT_CODES: tuple[tuple[type[LoominalError], int], ...] = (
    (InvalidArgument, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (BrokerUnavailable, 5),
    (LoominalError, 1),
)
LOG_LINE = "%(asctime)s %(levelname)s %(name)s%(request)s: %(message)s"
COLLECT_AFTER = (50_000, 20, 100)  # with Python's own numbers a third of loading 100 000 items is looking for garbage
LEAVE_SECONDS = 3.0  # for handing the projects on
STOP_SECONDS = 5.0  # for what is in flight after the signal to stop; then the process ends anyway


class Served(NamedTuple):
    """The fabric that weft serves, how it is connected, and the broker's URL."""

    fabric: OperatorFabric | OpenFabric
    mode: Mode
    url: str


class Stop(Exception):
    """A signal said so; raised in the task group, it ends every task."""


class Weft(click.Group):
    """The coordinator, and what is done for it while it runs. Our errors become a line and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run what was asked for."""
        try:
            return super().invoke(ctx)
        except LoominalError as error:
            click.echo(f"weft: {error.message}" + (f" ({error.hint})" if error.hint else ""), err=True)
            sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


@click.group(
    cls=Weft,
    invoke_without_command=True,
    help="Run the coordinator until it is told to stop.\n\nExample: LOOMINAL_HOME=/srv/loominal weft",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--home", type=click.Path(path_type=Path), help="Directory of the fabric; default: LOOMINAL_HOME.")
@click.option("--broker-config", is_flag=True, help="Print what the servers of an operator's own NATS need, and end.")
@click.version_option(loominal.__version__, prog_name="weft")
@click.pass_context
def main(ctx: click.Context, home: Path | None, *, broker_config: bool) -> None:
    """Run weft, unless a command was named."""
    environ = ctx.obj = {**os.environ, **({"LOOMINAL_HOME": str(home)} if home else {})}
    if ctx.invoked_subcommand is not None:
        return
    settings = Settings.from_env(environ)
    _log_to_stderr(settings)
    if broker_config:
        click.echo(operator_text(Keyring.open(settings.home / "keys"), Path("jwt")))
        return
    gc.set_threshold(*COLLECT_AFTER)
    asyncio.run(run(settings))


main.add_command(token)


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(LOG_LINE))
    handler.addFilter(LogLimit())
    handler.addFilter(InLog())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # at INFO it writes whole URLs, which may hold secrets


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises: InvalidArgument for settings that cannot be used."""
    from loominal.weft.api.server import Certificate, bound_socket  # uvicorn need not load for --help

    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = read_weft_file(settings.weft_config or settings.home / FILE, required=settings.weft_config is not None)
    http = settings.http
    certificate = Certificate.read(http.certificate, http.key) if http.certificate and http.key else None
    try:
        with bound_socket(http.host, http.port) as listening:
            async with _fabric(settings, file) as served, asyncio.TaskGroup() as group:
                group.create_task(_stop_on_signal(served.fabric), name="stop")
                group.create_task(served.fabric.serve(), name="fabric")
                group.create_task(_serve_http(settings, file, certificate, listening, served, group), name="http")
                if settings.supervisor_pid is not None:
                    group.create_task(heal(settings.supervisor_pid, settings.home), name="heal")
    except* Stop:
        log.info("stopped")


@contextlib.asynccontextmanager
async def _fabric(settings: Settings, file: WeftFile) -> AsyncIterator[Served]:
    """Yield the fabric that the settings mean."""
    with living(settings.home, settings.weft_id) as here:
        async with _connected(settings, file, here) as served:
            yield served


@contextlib.asynccontextmanager
async def _connected(settings: Settings, file: WeftFile, here: Living) -> AsyncIterator[Served]:
    runtime = read_runtime(settings.home)
    mode, url = broker_of(settings, runtime)
    tls = tls_of(settings, runtime if runtime is not None and runtime.url == url else None)
    policy = file.default_policy(open_mode=mode is Mode.OPEN)
    if mode is not Mode.OPEN:
        keyring = _keyring(settings.home, mode)
        machine = _machine(settings.home, keyring, mode)
        store = settings.home / "broker"
        restart = functools.partial(ask_broker_restart, settings.supervisor_pid)
        user, timings, launcher = _unix_user(), settings.timings, _launcher(settings, file, mode)
        fabric = OperatorFabric(url, keyring, machine, user, timings, here, store, policy, tls, restart, launcher)
        yield Served(fabric, mode, url)
        return
    log.warning("open mode: nobody is authenticated, boundaries and users are on trust (%s)", shown_url(url))
    creds = settings.nats_creds

    def connect(name: str) -> AbstractAsyncContextManager[Broker]:
        return Broker.connect(
            url,
            name=name,
            inbox=subjects.reply_prefix(name),
            credential=(lambda: Credential.read(creds)) if creds else None,
            user=settings.nats_user,
            password=settings.nats_password,
            tls=tls,
            wait_seconds=0,
        )

    async with connect(HUB_NAME) as broker:
        yield Served(OpenFabric(broker, url, settings.timings, here, connect, policy), mode, url)


def _launcher(settings: Settings, file: WeftFile, mode: Mode) -> MechanismLauncher:
    """Return what starts agents, as far as the machine's owner allows."""
    runtime = functools.partial(read_runtime, settings.home)
    allow = allowed(file.allow, runtime(), mode)
    means = Means(allow=allow, home=settings.home, environ=os.environ, own_keys=file.allow is None)
    return MechanismLauncher(means, runtime, file.made_targets(datetime.now(UTC)))


def _keyring(home: Path, mode: Mode) -> Keyring:
    """Return the keys of this fabric. Raises: InvalidArgument if somebody's servers should know keys we do not have."""
    if mode is Mode.EXTERNAL and not (home / "keys").exists():
        raise InvalidArgument(
            f"there are no keys in {home / 'keys'}, by which an operator's servers would know this weft",
            "`weft --broker-config` makes them and prints what the servers need; every weft of a fabric has the same",
        )
    return Keyring.open(home / "keys")


def _machine(home: Path, keyring: Keyring, mode: Mode) -> Credential | None:
    """Return the credential with which programs of this home enrol; on an operator's servers it is made if missing."""
    path = machine_credential_path(home)
    if not path.exists() and mode is Mode.EXTERNAL:
        keyring.machine_credential(handle_like(socket.gethostname())[:40]).write(path)
    return Credential.read(path) if path.exists() else None


async def _serve_http(
    settings: Settings,
    file: WeftFile,
    certificate: Certificate | None,
    listening: socket.socket,
    served: Served,
    group: asyncio.TaskGroup,
) -> None:
    """Serve HTTP until cancelled, and say in the runtime file where."""
    from loominal.weft.api.server import url_of  # litestar and uvicorn load while the broker connects

    _, mode, url = served
    token_file = settings.home / "api.token"
    create_secret(token_file, new_bearer_token())
    own = (read_secret(token_file) or "").strip()
    server = _http_server(settings, Tokens(own, file.identities(), served.fabric.bearers), certificate, served, group)
    api_url = url_of(listening, tls=certificate is not None)
    ca = str(settings.nats_ca.absolute()) if settings.nats_ca else ""
    started = Runtime(mode=mode, url=url, started_at=datetime.now(UTC), version=loominal.__version__, ca=ca)

    def changed(runtime: Runtime | None) -> Runtime:
        if runtime is not None and (runtime.mode, runtime.url) != (mode, url):
            if runtime.supervisor_pid or runtime.nats_pid:
                return runtime  # of another fabric in this home, which stays the one that programs find
            runtime = None  # left by a weft that was killed
        if runtime is not None and is_anothers(runtime.supervisor_pid, settings.supervisor_pid):
            return runtime  # programs go on finding the weft that is kept running
        was = runtime or started
        return msgspec.structs.replace(
            was,
            weft_pid=os.getpid(),
            api_url=api_url,
            api_certificate=certificate.fingerprint if certificate else "",
            token_file=str(token_file),
            ca=ca or was.ca,
        )

    written = update_runtime(settings.home, changed)
    if written.weft_pid != os.getpid():
        log.warning("one more weft: `loominal up` runs one in %s, which programs go on asking", settings.home)
    log.info("serving %s for the broker %s", api_url, shown_url(url))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    try:
        await asyncio.shield(serving)
    finally:
        if (left := read_runtime(settings.home)) and left.supervisor_pid == 0 and left.weft_pid == os.getpid():
            remove_runtime(settings.home)
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, STOP_SECONDS)


def _http_server(
    settings: Settings, tokens: Tokens, certificate: Certificate | None, served: Served, group: asyncio.TaskGroup
) -> HttpServer:
    """Return the HTTP server of a fabric: its application behind the doors."""
    from loominal.weft.api.app import application
    from loominal.weft.api.desk import Desk
    from loominal.weft.api.doors import Doors
    from loominal.weft.api.rate import Rate
    from loominal.weft.api.server import http_server
    from loominal.weft.api.tally import Counted, HttpTally

    http, tally = settings.http, HttpTally()
    app = application(
        served.fabric, Desk(served.fabric.connect_as, group), tokens, settings.project, tally, settings.home
    )
    doors = Doors(app, tokens, (http.host, *http.hosts), Rate(http.rate))
    return http_server(Counted(doors, tally), certificate)


def _unix_user() -> str:
    """Return who runs this, as the system knows it; the environment is not asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.getuid())


async def _stop_on_signal(fabric: OperatorFabric | OpenFabric) -> None:
    """Hand the projects on and raise Stop at the first SIGTERM or SIGINT; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    loop.call_later(STOP_SECONDS, os._exit, 0)  # whatever hangs: the logs are the truth, nothing is lost by leaving
    await fabric.leave(LEAVE_SECONDS)
    raise Stop


if __name__ == "__main__":
    main(prog_name="weft")
