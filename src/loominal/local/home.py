"""The directory of a fabric: where things lie in it, who supervises it, and its settings that outlive a restart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from loominal.broker.secret_file import read_secret, replace_secret
from loominal.broker.server import free_port
from loominal.fabric.state_directory import home_directory
from loominal.model.errors import InvalidArgument

NATS_PORT = 4222  # people and programs expect NATS there
WEFT_TOLD = ("API_HOST", "API_PORT", "API_HOSTS", "API_RATE", "API_INSECURE", "LOG_FORMAT", "LOG_LEVEL")
WEFT_FILES = ("API_TLS_CERT", "API_TLS_KEY", "LOOMINAL_WEFT_CONFIG")


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a fabric keeps of itself in `config.json`."""

    v: int = 1
    broker_port: int  # chosen free once, so that programs find the broker again after a restart
    listen: str = ""  # the address (or name, or 0.0.0.0 for all) where it listens with TLS; "": on loopback, plain


def weft_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of `environ` is for weft; the files that it names as weft finds them, which runs elsewhere."""
    told = {name: environ[name] for name in WEFT_TOLD if environ.get(name)}
    return told | {name: str(Path(environ[name]).absolute()) for name in WEFT_FILES if environ.get(name)}


def open_home(environ: Mapping[str, str]) -> Path:
    """Return the fabric's directory, made with mode 0700 if it is not there. Raises: InvalidArgument."""
    home = find_home(environ)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_mode & 0o077:
            home.chmod(0o700)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(f"cannot use {home}: {error.strerror}", "set LOOMINAL_HOME") from error
    return home


def find_home(environ: Mapping[str, str]) -> Path:
    """Return the fabric's directory by its real path, whether it is there or not."""
    return Path(os.path.realpath(home_directory(environ)))


def usable_home(environ: Mapping[str, str]) -> Path:
    """Return the fabric's directory, whether it is there or not. Raises: InvalidArgument if it is not ours to use."""
    home = find_home(environ)
    trouble = ""
    try:
        if not stat.S_ISDIR(home.stat().st_mode):
            trouble = "it is no directory"
        elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            trouble = "it is another user's"
    except FileNotFoundError:
        return home
    except OSError as error:
        raise InvalidArgument(f"cannot use {home}: {error.strerror}", "set LOOMINAL_HOME") from error
    if trouble:
        raise InvalidArgument(f"cannot use {home}: {trouble}", "set LOOMINAL_HOME")
    return home


def read_config(home: Path) -> Config | None:
    """Return the fabric's own settings, None before the first start. Raises: InvalidArgument."""
    path = home / "config.json"
    text = read_secret(path)
    try:
        return msgspec.json.decode(text, type=Config) if text is not None else None
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{path} cannot be read: {error}", "remove it; a new port is chosen then") from error


def new_port(home: Path, environ: Mapping[str, str]) -> int:
    """Choose a port for the broker, keep it, and return it: in the usual place NATS's own, unless that is taken."""
    usual = find_home({name: value for name, value in environ.items() if name != "LOOMINAL_HOME"})
    port = NATS_PORT if home == usual and is_free(NATS_PORT) else free_port()
    return keep_config(home, Config(broker_port=port)).broker_port


def is_free(port: int) -> bool:
    """Return whether this user's broker can listen at `port` of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def keep_config(home: Path, config: Config) -> Config:
    """Keep the fabric's own settings, and return them."""
    replace_secret(home / "config.json", msgspec.json.encode(config).decode())
    return config


def tls_directory(home: Path) -> Path:
    """Return where the fabric's certificate authority and its broker's certificate are."""
    return home / "tls"


def idle_exit_seconds(home: Path) -> float | None:
    """Return how long the running fabric outlives its last use; None: until somebody ends it."""
    text = read_secret(home / "idle-exit")
    try:
        return float(text) if text else None
    except ValueError:
        return None


def keep_idle_exit(home: Path, seconds: float | None) -> None:
    """Let the running fabric end by itself `seconds` after its last use, or not at all."""
    if seconds is not None:
        replace_secret(home / "idle-exit", str(seconds))
        return
    with contextlib.suppress(FileNotFoundError):
        (home / "idle-exit").unlink()


@contextlib.contextmanager
def supervision(home: Path) -> Iterator[bool]:
    """Yield whether this process is now the only one that may start and end the fabric's processes.

    It is until the block ends; a process that is killed gives it up, too.
    """
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield True


def supervisor_pid(home: Path) -> int | None:
    """Return the pid of the process that supervises the fabric now; None if nobody does."""
    try:
        with (home / "up.lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read()
                return int(text) if text.isdecimal() else None
            return None
    except FileNotFoundError:
        return None
