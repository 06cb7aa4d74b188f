"""TOML texts changed in place: whole tables and single lines come and go, all else stays byte for byte."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_DEPTH = 3  # tables nested deeper are written inline
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK_LINE = re.compile(r"(?<=\n)\r?\n\Z")
_PIECE = re.compile(  # of a value: strings of the four kinds, a comment, or one sign
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|.', re.DOTALL
)


@dataclass(frozen=True)
class Statement:
    """A header or an assignment: where it stands, with its line's end, and the full way to what it names."""

    start: int
    end: int
    keys: tuple[str, ...]
    header: bool


class Toml:
    """The grammar of TOML."""

    def parse(self, text: str) -> object:
        """Return what the text says. Raises: ValueError if it is malformed."""
        return tomllib.loads(text.replace("\r\n", "\n"))

    def put(self, text: str, keys: tuple[str | int, ...], value: object) -> str:
        """Return the text with `value` at `keys`: in place of its line, in its table, or as a table at the end."""
        if isinstance(keys[-1], int):
            return self._with_items(text, keys[:-1], keys[-1], [value])
        path = _names(keys)
        newline = "\r\n" if "\r\n" in text else "\n"
        written = f"{_name(path[-1])} = {_inline(value)}{newline}"
        statements = list(_statements(text))
        for one in statements:
            if one.keys == path and not one.header:
                return text[: one.start] + written + text[one.end :]
        if not isinstance(value, dict) or len(path) > HEADER_DEPTH:
            place = _end_of_table(statements, path[:-1])
            if place is not None:
                glue = "" if not place or text[:place].endswith("\n") else newline
                return text[:place] + glue + written + text[place:]
            if not isinstance(value, dict):
                raise ValueError(f"[{'.'.join(path[:-1])}] is written in a way that cannot be added to")
        gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
        return text + gap + "\n".join(_tables(path, value)).replace("\n", newline)

    def drop(self, text: str, keys: tuple[str | int, ...]) -> str:
        """Return the text without the line or the tables at `keys`, and the blank line before each."""
        if isinstance(keys[-1], int):
            return self._with_items(text, keys[:-1], keys[-1], [])
        path = _names(keys)
        for one in reversed(list(_statements(text))):
            if one.keys[: len(path)] == path:
                before, behind = text[: one.start], text[one.end :]
                text = (_BLANK_LINE.sub("", before) if one.header else before) + behind
                text = text if before else text.lstrip("\r\n")
        return text

    def _with_items(self, text: str, keys: tuple[str | int, ...], at: int, items: list[object]) -> str:
        """Return the text with `items` in place of the list's item `at`; the list is written anew, on one line."""
        data = self.parse(text)
        for key in _names(keys):
            data = data[key] if isinstance(data, dict) else None
        if not isinstance(data, list):
            raise ValueError(f"{keys[-1]} is no list")
        return self.put(text, keys, [*data[:at], *items, *data[at + 1 :]])


def _statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a well-formed text."""
    at, table = 0, tuple[str, ...]()
    while at < len(text):
        start = at
        at = _line_end(text, at)
        line = text[start:at].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            table = _path(tomllib.loads(line))
            yield Statement(start, at, table, header=True)
        else:
            key = re.match(r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[^=\"'])*", line)
            yield Statement(start, at, table + _path(tomllib.loads(f"{key.group() if key else ''}= 0")), header=False)


def _line_end(text: str, at: int) -> int:
    """Return where the statement that begins at `at` ends, its line's end included."""
    is_header = text[at:].lstrip(" \t").startswith("[")
    depth = 0
    for piece in _PIECE.finditer(text, at):
        sign = piece.group()
        depth += (sign in ("[", "{")) - (sign in ("]", "}"))
        if sign == "\n" and (depth <= 0 or is_header):
            return piece.end()
    return len(text)


def _path(data: object) -> tuple[str, ...]:
    """Return the way to the only leaf of what one header or assignment says."""
    keys: tuple[str, ...] = ()
    while data:
        if isinstance(data, list):
            data = data[-1]
        elif isinstance(data, dict):
            [(key, data)] = data.items()
            keys += (key,)
    return keys


def _end_of_table(statements: list[Statement], path: tuple[str, ...]) -> int | None:
    """Return where a line can be added to a table that has a header, or to the outermost; None if it has none."""
    ends = [place for place, one in enumerate(statements) if one.header and one.keys == path]
    if not ends and path:
        return None
    place = ends[-1] if path else -1
    while place + 1 < len(statements) and not statements[place + 1].header:
        place += 1
    return statements[place].end if place >= 0 else 0


def _tables(path: tuple[str, ...], value: object) -> list[str]:
    """Return a value as tables, one text each."""
    if not isinstance(value, dict):
        raise ValueError(f"{'.'.join(path)} is no table")
    inner = {key: item for key, item in value.items() if isinstance(item, dict) and len(path) < HEADER_DEPTH}
    lines = [f"{_name(key)} = {_inline(item)}\n" for key, item in value.items() if key not in inner]
    own = [f"[{'.'.join(map(_name, path))}]\n" + "".join(lines)] if lines or not inner else []
    return own + [table for key, item in inner.items() for table in _tables((*path, key), item)]


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_name(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} cannot be written")
    return json.dumps(value, ensure_ascii=False)


def _name(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _names(keys: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the way to a value that is in no list."""
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("items of lists are not changed")
    return tuple(str(key) for key in keys)
