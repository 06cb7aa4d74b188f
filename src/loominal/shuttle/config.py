"""What a person has set for Shuttle, in a file of mode 0600: `shuttle config` writes it, every command reads it.

The file is TOML, a line a key: `$LOOMINAL_HOME/shuttle.toml`, unless --config names another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from loominal.broker.secret_file import read_secret, replace_secret
from loominal.fabric.state_directory import home_directory
from loominal.model import names
from loominal.model.errors import InvalidArgument, NotFound

FILE = "shuttle.toml"
OUTPUTS = ("table", "json")
HINT = "`shuttle config list` shows every key"

Value = str | int


def _url(text: str) -> str:
    from loominal.fabric.client.settings import servers_in  # only who sets one loads it

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
    """The settings of one file."""

    def __init__(self, path: Path, values: Mapping[str, Value]) -> None:
        self.path = path
        self.values = dict(values)

    @classmethod
    def read(cls, file: Path | None, environ: Mapping[str, str]) -> Config:
        """Return what `file` says, or LOOMINAL_HOME's. Raises: InvalidArgument, NotFound if there is no `file`."""
        path = file or home_directory(environ) / FILE
        text = read_secret(path)
        if text is None and file is not None:
            raise NotFound(f"there is no file {path}", "`shuttle --config FILE config set KEY VALUE` makes one")
        return cls(path, _values(path, text or ""))

    def text(self, key: str) -> str:
        """Return a setting as text, "" if it is not set."""
        return str(self.values.get(key, ""))

    def set(self, key: str, value: str) -> None:
        """Keep a setting; "" takes it out. Raises: InvalidArgument."""
        key = named(key)
        if value:
            self.values[key] = KEYS[key](value)
        else:
            self.values.pop(key, None)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [f"{each} = {json.dumps(self.values[each])}\n" for each in KEYS if each in self.values]
        replace_secret(self.path, "".join(lines))

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return `environ` with what it leaves unsaid and this file says."""
        said = {"NATS_URL": self.text("nats-url"), "NATS_CREDS": self.text("nats-creds")}
        if environ.get("NATS_URL"):  # credentials belong to their own broker
            said = {}
        return {name: value for name, value in said.items() if value} | {
            name: value for name, value in environ.items() if value
        }


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
        found = tomllib.loads(text)
        return {named(key): KEYS[named(key)](str(value)) for key, value in found.items()}
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path} is no TOML: {error}", "mend or remove it") from error
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}", error.hint) from error
