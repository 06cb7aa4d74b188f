"""What whoever starts weft reads of `weft.toml`: variables that it lends to targets, and whether there may be any."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loominal.fabric.state_directory import home_directory

FILE = "weft.toml"
OURS = ("LOOMINAL_", "NATS_")  # mean something to weft itself


class _Allow(msgspec.Struct, frozen=True):
    """What matters of it before weft starts; the rest, and whether all is right, is weft's to say."""

    mechanisms: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = {}  # by the variable of a bearer token, where that may be sent


class _File(msgspec.Struct, frozen=True):
    """The rest of it is weft's to read."""

    allow: _Allow = _Allow()


def lent_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of `environ` the file lends; nothing if it cannot be read, which weft says at its start."""
    try:
        allow = _read(_place(environ)).allow
    except (OSError, ValueError):
        return {}
    return {name: environ[name] for name in (*allow.env, *allow.hosts) if name in environ and not name.startswith(OURS)}


def nothing_allowed(environ: Mapping[str, str]) -> str:
    """Return what to write so that a fabric which serves other machines can use targets; "" if weft may start some."""
    file = _place(environ)
    try:
        if _read(file).allow.mechanisms:
            return ""
    except FileNotFoundError:
        pass
    except (OSError, ValueError):  # weft does not start, and says why
        return ""
    what = '`[allow]` and `mechanisms = ["local"]`, or others,'
    again = "`loominal down`, `loominal up --detach`"
    return f"weft starts nothing by targets, as other machines are served: write {what} into {file}; then {again}"


def _place(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("LOOMINAL_WEFT_CONFIG") or home_directory(environ) / FILE)


def _read(file: Path) -> _File:
    """Raises: OSError, or ValueError, of which those of msgspec and tomllib are."""
    return msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
