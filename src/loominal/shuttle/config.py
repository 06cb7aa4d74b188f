"""What a person has set for Shuttle, in a file of mode 0600: `shuttle config` writes it, every command reads it.

The file is TOML, a line a key: `$LOOMINAL_HOME/shuttle.toml`, unless --config names another.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from loominal.broker.secret_file import read_secret, replace_secret
from loominal.fabric.state_directory import home_directory
from loominal.model import names
from loominal.model.errors import InvalidArgument, NotFound

FILE = "shuttle.toml"
OUTPUTS = ("table", "json")

Value = str | int


def _url(text: str) -> str:
    from loominal.fabric.client.settings import servers_in  # only who sets one loads it

    if "@" in text:
        raise InvalidArgument(
            "nats-url is no place for a user or a password",
            "`shuttle config set nats-creds FILE` names a credential file; NATS_USER and NATS_PASS go with every url",
        )
    servers_in(text, {})
    return text


def _file(text: str) -> str:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise InvalidArgument(f"there is no file {path}")
    return str(path)


def _project(text: str) -> str:
    names.project_name(text)
    return text


def _boundary(text: str) -> str:
    return names.label(text, "boundary")


def _priority(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10:
        raise InvalidArgument(f"{names.shown(text)} is no priority", "1 to 10, and 10 goes first")
    return int(text)


def _output(text: str) -> str:
    if text not in OUTPUTS:
        raise InvalidArgument(f"{names.shown(text)} is no output", f"one of {', '.join(OUTPUTS)}")
    return text


KEYS: dict[str, Callable[[str], Value]] = {
    "nats-url": _url,
    "nats-creds": _file,
    "project-id": _project,
    "default-boundary": _boundary,
    "default-priority": _priority,
    "output": _output,
}  # key -> what checks its value


class Config:
    """The settings of one file, each checked when it is asked for: one that is wrong keeps nobody from mending it."""

    def __init__(self, path: Path, values: Mapping[str, Value], *, mended: bool = False) -> None:
        self.path = path
        self.values = dict(values)
        self.mended = mended  # others could read it, and cannot any more

    @classmethod
    def read(cls, file: Path | None, environ: Mapping[str, str], *, new: bool = False) -> Config:
        """Return what `file` says, or LOOMINAL_HOME's. Raises: InvalidArgument, NotFound if no `file` is there nor new.

        A file of ours that others can read is theirs no more.
        """
        path = config_path(file, environ)
        text = read_secret(path)
        if text is None and file is not None and not new:
            raise NotFound(f"there is no file {path}", "`shuttle --config FILE config set KEY VALUE` makes one")
        return cls(path, _values(path, text or ""), mended=text is not None and _mend(path))

    def value(self, key: str) -> Value | None:
        """Return a setting, None if it is not set. Raises: InvalidArgument if it cannot be that."""
        if key not in self.values:
            return None
        try:
            return KEYS[key](str(self.values[key]))
        except InvalidArgument as error:
            mend = f"`shuttle config set {key} VALUE` or `shuttle config unset {key}` mends it"
            raise InvalidArgument(
                f"{self.path}: {key}: {error.message}", f"{error.hint}; {mend}" if error.hint else mend
            ) from error

    def text(self, key: str) -> str:
        """Return a setting as text, "" if it is not set. Raises: InvalidArgument if it cannot be that."""
        value = self.value(key)
        return "" if value is None else str(value)

    def set(self, key: str, value: str) -> None:
        """Keep a setting, beside what others have set by now; "" takes it out. Raises: InvalidArgument."""
        key = named(key)
        kept = {key: KEYS[key](value)} if value else {}
        if self.path.exists() and not self.path.is_file():  # a device must not become a file
            raise InvalidArgument(f"{self.path} is no file", "--config names a file")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.path.resolve()  # a link stays one
        with _alone_in(file.parent):
            values = _values(self.path, read_secret(file) or "")
            self.values = {name: each for name, each in values.items() if name != key} | kept
            lines = [f"{each} = {json.dumps(self.values[each])}\n" for each in KEYS if each in self.values]
            replace_secret(file, "".join(lines))

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return `environ` with what it leaves unsaid and this file says."""
        said = {}
        if not environ.get("NATS_URL"):  # credentials belong to their own broker
            said = {"NATS_URL": self.text("nats-url"), "NATS_CREDS": self.text("nats-creds")}
        return {name: value for name, value in said.items() if value} | {
            name: value for name, value in environ.items() if value
        }


def config_path(file: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where the settings are: in `file`, else in LOOMINAL_HOME."""
    return file.expanduser().absolute() if file else home_directory(environ) / FILE


def named(key: str) -> str:
    """Return the key that `key` means: `nats-url`, also written `natsUrl`. Raises: InvalidArgument."""
    kebab = re.sub(r"[A-Z]", lambda capital: f"-{capital[0].lower()}", key).replace("_", "-")
    if kebab not in KEYS:
        raise InvalidArgument(f"there is no setting {names.shown(key)}", names.meant(kebab, KEYS, "settings"))
    return kebab


def _values(path: Path, text: str) -> dict[str, Value]:
    if not text:
        return {}
    import tomllib

    try:
        return {named(key): value for key, value in tomllib.loads(text.removeprefix("\ufeff")).items()}
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path} is no TOML: {error}", "mend or remove it") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}", f"{error.hint}; mend or remove the file") from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Have other shuttles that write in the folder wait until the block ends."""
    import fcntl  # only who writes loads it

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that locks no folders: who writes last wins
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _mend(path: Path) -> bool:
    """Return whether the file was this user's and others could read it, which they cannot any more."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or not found.st_mode & 0o077:
        return False
    path.chmod(0o600)
    return True
