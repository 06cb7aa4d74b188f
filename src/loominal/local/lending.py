"""What `weft.toml` lends to targets out of the environment: whoever starts weft hands these variables on to it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from loominal.fabric.state_directory import home_directory

FILE = "weft.toml"
OURS = ("LOOMINAL_", "NATS_")  # mean something to weft itself


class _Allow(msgspec.Struct, frozen=True):
    """Of the file what names variables."""

    env: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = {}  # by the variable of a bearer token, where that may be sent


class _File(msgspec.Struct, frozen=True):
    """The rest of it is weft's to read."""

    allow: _Allow = _Allow()


def lent_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of `environ` the file lends; nothing if it cannot be read, which weft says at its start."""
    file = Path(environ.get("LOOMINAL_WEFT_CONFIG") or home_directory(environ) / FILE)
    try:
        allow = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File).allow
    except (OSError, ValueError):  # msgspec's and tomllib's errors are ValueErrors
        return {}
    return {name: environ[name] for name in (*allow.env, *allow.hosts) if name in environ and not name.startswith(OURS)}
