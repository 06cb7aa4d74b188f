"""What runs on this machine: the file in which a local fabric says where it is and who its processes are.

Written by `loominal up` and `weft`, read by everything that wants to connect.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from loominal.broker.secret_file import read_secret, replace_secret
from loominal.model.errors import InvalidArgument, UpgradeNeeded
from loominal.model.record import version
from loominal.model.times import Instant

RUNTIME_VERSION = 1


class Mode(StrEnum):
    """Whose broker it is."""

    EMBEDDED = "embedded"  # ours, on this machine: agents enrol
    JOINED = "joined"  # another machine's, which invited this one: agents enrol there, and nothing is started here
    EXTERNAL = "external"  # an operator's servers under our keys, a cluster perhaps: agents enrol
    OPEN = "open"  # somebody else's: everything is on trust


class Runtime(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A running local fabric. Pids are 0 while there is no such process; paths are absolute, empty if there is none."""

    v: int = version(RUNTIME_VERSION)
    mode: Mode
    url: str  # of the broker; of a cluster's servers, joined by commas
    nats_pid: int = 0
    weft_pid: int = 0
    supervisor_pid: int = 0
    api_url: str = ""
    api_certificate: str = ""  # SHA-256, in hex, of what `api_url` shows, if it begins with https
    token_file: str = ""  # holds the bearer token for `api_url`
    started_at: Instant
    version: str = ""  # of Loominal
    ca: str = ""  # certificates that the broker is checked against
    listen: str = ""  # where our own broker listens for other machines; "" if it serves this one alone


class _Versioned(msgspec.Struct):
    v: int = 0


def runtime_path(home: Path) -> Path:
    """Return the runtime file of the fabric in `home`."""
    return home / "fabric.json"


def machine_credential_path(home: Path) -> Path:
    """Return the credential file with which this user's processes enrol agents."""
    return home / "machine.creds"


def read_runtime(home: Path) -> Runtime | None:
    """Return what runs in `home`, or None if nothing does; whether its processes still live is not looked at.

    Raises: InvalidArgument if the file cannot be read, UpgradeNeeded if a newer Loominal wrote it.
    """
    path = runtime_path(home)
    text = read_secret(path)
    if text is None:
        return None
    try:
        if msgspec.json.decode(text, type=_Versioned).v > RUNTIME_VERSION:
            raise UpgradeNeeded(f"{path} was written by a newer Loominal", "run `pip install -U loominal`")
        return msgspec.json.decode(text, type=Runtime)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{path} is no runtime file: {error}", "`loominal up` writes it anew") from error


def write_runtime(home: Path, runtime: Runtime) -> None:
    """Replace the runtime file all at once, mode 0600. Raises: InvalidArgument if it cannot be written."""
    replace_secret(runtime_path(home), msgspec.json.format(msgspec.json.encode(runtime)).decode() + "\n")


def update_runtime(home: Path, change: Callable[[Runtime | None], Runtime]) -> Runtime:
    """Write what `change` makes of the runtime file, and return it; several processes may do so at once.

    Raises: as `read_runtime` and `write_runtime`.
    """
    with (home / "fabric.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runtime = change(read_runtime(home))
        write_runtime(home, runtime)
        return runtime


def remove_runtime(home: Path) -> None:
    """Remove the runtime file, if there is one: nothing runs any more."""
    with contextlib.suppress(FileNotFoundError):
        runtime_path(home).unlink()
