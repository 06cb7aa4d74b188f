"""Weft, the coordinator service: reads the settings, builds every object, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

import loominal
from loominal.broker import subjects
from loominal.broker.connection import Broker
from loominal.broker.credentials import Credential
from loominal.broker.keyring import Keyring
from loominal.broker.secret_file import create_secret, read_secret
from loominal.broker.shown_url import shown_url
from loominal.fabric.runtime_file import (
    Mode,
    Runtime,
    machine_credential_path,
    read_runtime,
    remove_runtime,
    update_runtime,
)
from loominal.model.errors import InvalidArgument, LoominalError
from loominal.weft.fabric import HUB_NAME, OpenFabric, OperatorFabric
from loominal.weft.settings import Settings
from loominal.weft.supervised import heal

log = logging.getLogger("loominal.weft")

STOP_SECONDS = 5.0  # for what is in flight after the signal to stop; then the process ends anyway


class Stop(Exception):
    """A signal said so; raised in the task group, it ends every task."""


@click.command(help="Run the coordinator until it is told to stop.\n\nExample: LOOMINAL_HOME=/srv/loominal weft")
@click.option("--home", type=click.Path(path_type=Path), help="Directory of the fabric; default: LOOMINAL_HOME.")
@click.version_option(loominal.__version__, prog_name="weft")
def main(home: Path | None) -> None:
    """Run weft."""
    environ = {**os.environ, "LOOMINAL_HOME": str(home)} if home else os.environ
    try:
        settings = Settings.from_env(environ)
        logging.basicConfig(
            stream=sys.stderr, level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        asyncio.run(run(settings))
    except LoominalError as error:
        click.echo(f"weft: {error.message}" + (f" ({error.hint})" if error.hint else ""), err=True)
        sys.exit(2 if isinstance(error, InvalidArgument) else 1)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises: InvalidArgument for settings that cannot be used."""
    from loominal.weft.api.server import bound_socket  # uvicorn need not load for --help

    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    listening = bound_socket(settings.api_host, settings.api_port)
    try:
        async with _fabric(settings) as (fabric, mode, url), asyncio.TaskGroup() as group:
            group.create_task(_stop_on_signal(), name="stop")
            group.create_task(fabric.serve(), name="fabric")
            group.create_task(_serve_http(settings, listening, fabric, mode, url), name="http")
            if settings.supervisor_pid is not None:
                group.create_task(heal(settings.supervisor_pid, settings.home), name="heal")
    except* Stop:
        log.info("stopped")


@contextlib.asynccontextmanager
async def _fabric(settings: Settings) -> AsyncIterator[tuple[OperatorFabric | OpenFabric, Mode, str]]:
    """Yield the fabric that the settings mean, how it is connected, and the broker's URL."""
    runtime = read_runtime(settings.home)
    keys = settings.home / "keys"
    own = keys.exists() and runtime is not None and settings.nats_url in ("", runtime.url)
    if own and runtime is not None:
        credential_file = machine_credential_path(settings.home)
        machine = Credential.read(credential_file) if credential_file.exists() else None
        fabric = OperatorFabric(
            runtime.url, Keyring.open(keys), machine, _unix_user(), settings.timings, settings.home / "broker"
        )
        yield fabric, Mode.EMBEDDED, runtime.url
        return
    if not settings.nats_url:
        raise InvalidArgument(
            f"no broker: NATS_URL is not set and no fabric runs in {settings.home}", "`loominal up` starts one"
        )
    log.warning(
        "open mode: nobody is authenticated, boundaries and users are on trust (%s)", shown_url(settings.nats_url)
    )
    creds = settings.nats_creds
    async with Broker.connect(
        settings.nats_url,
        name=HUB_NAME,
        inbox=subjects.reply_prefix(HUB_NAME),
        credential=(lambda: Credential.read(creds)) if creds else None,
        user=settings.nats_user,
        password=settings.nats_password,
        tls=ssl.create_default_context(cafile=settings.nats_ca) if settings.nats_ca else None,
        wait_seconds=0,
    ) as broker:
        yield OpenFabric(broker, settings.nats_url, settings.timings), Mode.OPEN, settings.nats_url


async def _serve_http(
    settings: Settings, listening: socket.socket, fabric: OperatorFabric | OpenFabric, mode: Mode, url: str
) -> None:
    """Serve HTTP until cancelled, and say in the runtime file where."""
    from loominal.weft.api.app import application  # litestar and uvicorn load while the broker connects
    from loominal.weft.api.server import http_server, url_of

    token_file = settings.home / "api.token"
    create_secret(token_file, secrets.token_urlsafe(32))
    server = http_server(application(fabric, (read_secret(token_file) or "").strip()))
    api_url = url_of(listening)
    started = Runtime(mode=mode, url=url, started_at=datetime.now(UTC), version=loominal.__version__)

    def changed(runtime: Runtime | None) -> Runtime:
        if runtime is not None and runtime.url != url:
            return runtime  # of another fabric in this home, which stays the one that programs find
        return msgspec.structs.replace(
            runtime or started, weft_pid=os.getpid(), api_url=api_url, token_file=str(token_file)
        )

    update_runtime(settings.home, changed)
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


def _unix_user() -> str:
    """Return who runs this, as the system knows it; the environment is not asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.getuid())


async def _stop_on_signal() -> None:
    """Raise Stop at the first SIGTERM or SIGINT; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    loop.call_later(STOP_SECONDS, os._exit, 0)  # whatever hangs: the logs are the truth, nothing is lost by leaving
    raise Stop


if __name__ == "__main__":
    main()
