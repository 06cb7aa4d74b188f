"""Lines of text for clients that show their model nothing else. What starts a line is ours, never a peer's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from loominal.fabric.protocol import encode
from loominal.model.times import rfc3339

INDENT = "  "
UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"
PLAIN_NAME = re.compile(r"[\w.+#@:/-]*")
CUT = "(cut here; the structured content has all of it)"


def quoted(text: str) -> list[str]:
    """Return a peer's text as lines that are all indented, without control characters."""
    if text.isprintable():  # then it is one line, as most are
        return [INDENT + text]
    return [INDENT + _plain(line) for line in text.splitlines()] or [INDENT]


def name(text: str) -> str:
    """Return a name that its author chose; in quotes unless it is a plain word, so that it stays a name."""
    return text if PLAIN_NAME.fullmatch(text) else encode(one_line(text)).decode()


def one_line(text: str) -> str:
    """Return our own words on one line, whatever was put into them."""
    return text if text.isprintable() else _plain(" ".join(text.splitlines()))


def json_line(name: str, value: object) -> list[str]:
    """Return a peer's object as one indented line, and none for an empty one."""
    return [f"{INDENT}{name}: {one_line(encode(value).decode())}"] if value else []


def at(moment: datetime | None) -> str:
    """Return a time as answers show it, "" if there is none."""
    return rfc3339(moment) if moment else ""


def listed(names: Iterable[str]) -> str:
    """Return names with commas, `-` for none."""
    return ", ".join(map(name, names)) or "-"


def facts(*pairs: tuple[str, object]) -> str:
    """Return what is known as `name value; name value`, without what is empty."""
    return "; ".join([f"{name} {value}".strip() for name, value in pairs if value and value != "-"])


def counted(number: int, what: str) -> str:
    """Return how many there are, in words that agree."""
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def flat(entries: Iterable[list[str]]) -> list[str]:
    """Return the lines of several entries as one list."""
    return [line for entry in entries for line in entry]


def fitted(lines: list[str], room: int) -> str:
    """Return the lines as one text of at most `room` bytes; the last one says so if some are left out."""
    text = "\n".join(lines)
    if len(text.encode("utf-8", "replace")) <= room:
        return text
    kept: list[str] = []
    left = room - len(CUT)
    for line in lines:
        left -= len(line.encode("utf-8", "replace")) + 1
        if left < 0:
            kept.append(CUT)
            break
        kept.append(line)
    return "\n".join(kept)


def _plain(line: str) -> str:
    if line.isprintable():  # as nearly every line is; more would be shown, and each character be looked up
        return line
    return "".join(NO_CHARACTER if _is_unshown(char) else char for char in line)


def _is_unshown(char: str) -> bool:
    return unicodedata.category(char) in UNSHOWN and char != "\t"
