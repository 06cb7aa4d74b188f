"""`loominal join TOKEN`: make this machine's agents part of another machine's fabric, over TLS and nothing else."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

import loominal
from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.secret_file import create_secret, read_secret, replace_secret
from loominal.fabric.invitation import Token
from loominal.fabric.runtime_file import (
    Mode,
    Runtime,
    machine_credential_path,
    read_runtime,
    remove_runtime,
    write_runtime,
)
from loominal.local.home import open_home, supervision
from loominal.local.weft_api import answers
from loominal.model.errors import Forbidden, InvalidArgument

if TYPE_CHECKING:
    from loominal.fabric.client.joining import Entry


@click.command(
    help="Join another machine's fabric with the line that `loominal invite` printed there; `-` reads the token from "
    "stdin.\n\nExample: loominal join TOKEN"
)
@click.argument("token", required=False)
@click.option("--leave", is_flag=True, help="Forget the fabric that this machine has joined.")
def join(*, token: str | None, leave: bool) -> None:
    """Join, or leave."""
    if leave == (token is not None):
        raise InvalidArgument("give either a TOKEN or --leave", "`loominal invite` on the other machine prints it")
    home = open_home(os.environ)
    with supervision(home) as ours:  # so that nobody starts a fabric here meanwhile
        runtime = read_runtime(home)
        if not ours or (runtime is not None and runtime.mode is not Mode.JOINED and answers(runtime)):
            raise Forbidden(
                f"a fabric runs in {home}; a machine is part of one at a time",
                "`loominal down` ends it, what is stored stays; or use another LOOMINAL_HOME",
            )
        if token is None:
            _leave(home, runtime)
        else:
            _join(home, runtime, Token.from_text(sys.stdin.read() if token == "-" else token))


def _join(home: Path, runtime: Runtime | None, token: Token) -> None:
    """Join with this home's key; one that was cut off comes with a new one, as another machine."""
    pending = home / "joining.seed"
    known = runtime is not None and runtime.mode is Mode.JOINED
    may_be_cut_off = known or pending.exists()
    again = ""
    key = _key(home, pending, known=known)
    try:
        entry = _ask(token, key)
    except Forbidden as refusal:
        if not may_be_cut_off:
            raise
        if not known:
            pending.unlink()
        try:
            entry = _ask(token, _key(home, pending, known=False))
        except Forbidden:
            if not known:
                replace_secret(pending, key.seed)
            raise refusal from None  # for the invitation is spent, too
        again = "; it is a new one, for what this home was has been cut off, and its agents begin anew"
    ca = home / "joined.pem"
    replace_secret(ca, token.ca)
    entry.credential.write(machine_credential_path(home))
    write_runtime(
        home,
        Runtime(
            mode=Mode.JOINED,
            url=",".join(entry.urls),
            started_at=datetime.now(UTC),
            version=loominal.__version__,
            ca=str(ca),
        ),
    )
    pending.unlink(missing_ok=True)
    click.echo(
        f"joined the fabric at {', '.join(entry.urls)} as machine {entry.credential.name}, user {entry.user}{again}"
    )


def _ask(token: Token, key: KeyPair) -> Entry:
    from loominal.fabric.client.joining import join_fabric  # loads the NATS client

    return asyncio.run(join_fabric(token, key, hostname=socket.gethostname(), user=_user()))


def _leave(home: Path, runtime: Runtime | None) -> None:
    """Forget the fabric; what the agents here were to it stays, should this machine join it again."""
    if runtime is None or runtime.mode is not Mode.JOINED:
        click.echo("this machine has joined no fabric")
        return
    replace_secret(home / "joining.seed", Credential.read(machine_credential_path(home)).key.seed)
    remove_runtime(home)
    for path in (machine_credential_path(home), home / "joined.pem"):
        path.unlink(missing_ok=True)
    click.echo(f"left the fabric at {runtime.url}; an operator of it can cut the machine off: `loominal machines`")


def _key(home: Path, pending: Path, *, known: bool) -> KeyPair:
    """Return this home's key: that with which it has joined, if it is `known`, else one that outlives a failed try."""
    if known:
        return Credential.read(machine_credential_path(home)).key
    create_secret(pending, KeyPair.generate(Kind.USER).seed)
    return KeyPair.from_seed((read_secret(pending) or "").strip())


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
