"""The formats in which clients keep their configuration, each with the same three ways of working on its text."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from loominal.local.connect.jsonc import Json
from loominal.local.connect.toml import Toml

Keys = tuple[str | int, ...]  # the way to a value: names of members, numbers of list items


class Format(StrEnum):
    """How a file is written."""

    JSON = "JSON"
    JSONC = "JSON with comments"
    TOML = "TOML"


class Grammar(Protocol):
    """One format. Texts stay as they are but for what is put in or dropped."""

    def parse(self, text: str) -> object:
        """Return what the text says. Raises: ValueError if it is malformed."""

    def put(self, text: str, keys: Keys, value: object) -> str:
        """Return the text with `value` at `keys`; its container is there. Raises: ValueError if that cannot be done."""

    def drop(self, text: str, keys: Keys) -> str:
        """Return the text without what is at `keys`. Raises: ValueError if that cannot be done."""


GRAMMARS: dict[Format, Grammar] = {Format.JSON: Json(), Format.JSONC: Json(comments=True), Format.TOML: Toml()}
