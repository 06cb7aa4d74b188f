"""JSON texts, with comments and trailing commas or without, changed in place: all else stays byte for byte."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

DEEPEST = 200  # levels; beyond, a text is refused rather than the stack exhausted
_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")
_LINE_REST = re.compile(r"(?:[ \t]|/\*[^\n]*?\*/)*(?://[^\r\n]*)?")  # blanks and comments up to the line's end
_BLANKS = re.compile(r"[ \t]*")
_LINE_BREAK = re.compile(r"\r?\n")
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


@dataclass
class Node:
    """A value and where it stands; `parts` are the members or items of a container."""

    start: int
    data: object = None
    end: int = 0
    parts: list[Part] = field(default_factory=list)


@dataclass
class Part:
    """A member or an item of a container: from its key (or value) to the end of its value."""

    key: str | int
    start: int
    value: Node


class Json:
    """The grammar of JSON, and with `comments` what editors take besides: comments and trailing commas."""

    def __init__(self, *, comments: bool = False) -> None:
        self._comments = comments

    def parse(self, text: str) -> object:
        """Return what the text says; nothing at all says {}. Raises: ValueError with the line."""
        if self._comments or not text.strip():
            return self._tree(text).data
        try:
            data: object = json.loads(
                text, parse_constant=_refused
            )  # ten times as fast: Claude Code's file has megabytes
        except RecursionError as error:
            raise ValueError("line 1: it is nested too deep") from error
        return data

    def put(self, text: str, keys: tuple[str | int, ...], value: object) -> str:
        """Return the text with `value` at `keys`: in place of what is there, else behind the container's last part."""
        text = text if text.strip() else "{}" + (text or "\n")
        holder = _find(self._tree(text), keys[:-1])
        unit = found.group(1) if (found := _INDENT.search(text)) else "  "
        part = _part(holder, keys[-1])
        if part is not None:
            written = _written(value, unit, _indent_at(text, part.start), _newline(text))
            return text[: part.value.start] + written + text[part.value.end :]
        return _insert(text, holder, keys[-1], value, unit)

    def drop(self, text: str, keys: tuple[str | int, ...]) -> str:
        """Return the text without the part at `keys`, its comma, and its line if nothing else stands there."""
        holder = _find(self._tree(text), keys[:-1])
        part = _part(holder, keys[-1])
        return text if part is None else _remove(text, holder, part)

    def _tree(self, text: str) -> Node:
        return _Reader(text if text.strip() else "{}", comments=self._comments).document()


class _Reader:
    """Reads a text from its beginning to its end."""

    def __init__(self, text: str, *, comments: bool) -> None:
        self._text = text
        self._at = 0
        self._comments = comments

    def document(self) -> Node:
        node = self._value(0)
        self._skip()
        if self._at < len(self._text):
            raise self._wrong("something stands behind the end")
        return node

    def _value(self, depth: int) -> Node:
        self._skip()
        node = Node(self._at)
        sign = self._text[self._at : self._at + 1]
        if depth > DEEPEST:
            raise self._wrong("it is nested too deep")
        if sign == "{":
            self._members(node, depth)
        elif sign == "[":
            self._items(node, depth)
        else:
            node.data = self._literal(_STRING if sign == '"' else _SCALAR)
        node.end = self._at
        return node

    def _members(self, node: Node, depth: int) -> None:
        while self._more(node, "}"):
            start = self._at
            key = self._literal(_STRING)
            self._skip()
            self._take(":")
            node.parts.append(Part(str(key), start, self._value(depth + 1)))
        node.data = {part.key: part.value.data for part in node.parts}

    def _items(self, node: Node, depth: int) -> None:
        while self._more(node, "]"):
            node.parts.append(Part(len(node.parts), self._at, self._value(depth + 1)))
        node.data = [part.value.data for part in node.parts]

    def _more(self, node: Node, closing: str) -> bool:
        """Step to the next part of a container or behind its end, and return whether there is one."""
        if not node.parts:
            self._at += 1
        self._skip()
        if node.parts and self._text[self._at : self._at + 1] == ",":
            self._at += 1
            self._skip()
            if self._text[self._at : self._at + 1] == closing and not self._comments:
                raise self._wrong("a comma too many")
        elif node.parts and self._text[self._at : self._at + 1] != closing:
            raise self._wrong(f"expected ',' or '{closing}'")
        if self._text[self._at : self._at + 1] != closing:
            return True
        self._at += 1
        return False

    def _literal(self, form: re.Pattern[str]) -> object:
        found = form.match(self._text, self._at)
        if found is None:
            raise self._wrong("expected a value" if form is _SCALAR else "expected a text in double quotes")
        try:
            data: object = json.loads(found.group())
        except ValueError as error:
            raise self._wrong(str(error)) from error
        self._at = found.end()
        return data

    def _take(self, sign: str) -> None:
        if self._text[self._at : self._at + 1] != sign:
            raise self._wrong(f"expected '{sign}'")
        self._at += 1

    def _skip(self) -> None:
        self._at = _behind(_SPACE, self._text, self._at)
        while self._comments and (found := _COMMENT.match(self._text, self._at)):
            self._at = _behind(_SPACE, self._text, found.end())

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"line {self._text.count(chr(10), 0, self._at) + 1}: {what}")


def _refused(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _insert(text: str, holder: Node, key: str | int, value: object, unit: str) -> str:
    """Return the text with a new part at the holder's end, written as the parts before it are."""
    newline = _newline(text)
    inline = bool(holder.parts) and "\n" not in text[holder.start : holder.parts[-1].start]
    outer = _indent_at(text, holder.start)
    indent = _indent_at(text, holder.parts[-1].start) if holder.parts else outer + unit
    name = json.dumps(key, ensure_ascii=False) + ": " if isinstance(key, str) else ""
    written = name + _written(value, "" if inline else unit, indent, newline)
    if not holder.parts:
        inside = text[holder.start + 1 : holder.end - 1]
        kept = inside.rstrip() if inside.strip() else ""  # a comment
        return f"{text[: holder.start + 1]}{kept}{newline}{indent}{written}{newline}{outer}{text[holder.end - 1 :]}"
    end = holder.parts[-1].value.end
    if inline:
        return f"{text[:end]}, {written}{text[end:]}"
    comma = _comma(text, end, holder.end)
    tail = _behind(_LINE_REST, text, end if comma is None else comma + 1)
    first, last = (",", "") if comma is None else ("", ",")
    return f"{text[:end]}{first}{text[end:tail]}{newline}{indent}{written}{last}{text[tail:]}"


def _remove(text: str, holder: Node, part: Part) -> str:
    """Return the text without a part."""
    place = holder.parts.index(part)
    start, end = part.start, part.value.end
    after = _comma(text, end, holder.end)
    if after is not None:
        text = text[:after] + text[after + 1 :]
        end = after if text[end:after].isspace() else end  # else a comment stands between
    line = text.rfind("\n", 0, start) + 1
    rest = _behind(_BLANKS, text, end)
    line_end = _behind(_LINE_BREAK, text, rest)
    if not text[line:start].strip() and (line_end > rest or rest == len(text)):
        start, end = line, line_end  # nothing else stands on its lines
    elif after is not None:
        end = rest
    text = text[:start] + text[end:]
    if place and after is None:  # it was the last, so the one before it is now
        text = _without_comma(text, holder.parts[place - 1].value.end, start)
    if len(holder.parts) == 1:
        text = _closed_up(text, holder.start + 1)
    return text


def _without_comma(text: str, start: int, end: int) -> str:
    """Return the text without the comma between two places, nor the blanks behind it if nothing else is there."""
    comma = _comma(text, start, end)
    if comma is None:
        return text
    behind = text[comma + 1 : end]
    return text[:comma] + text[comma + 1 if behind.strip(" \t") else end :]


def _closed_up(text: str, inside: int) -> str:
    """Return the text with an empty container's sign of opening right before that of closing."""
    closing = _behind(_SPACE, text, inside)
    return text[:inside] + text[closing:] if text[closing : closing + 1] in ("}", "]") else text


def _comma(text: str, start: int, end: int) -> int | None:
    """Return where the first comma outside of comments stands between two places, None if there is none."""
    at = _behind(_SPACE, text, start)
    while found := _COMMENT.match(text, at):
        at = _behind(_SPACE, text, found.end())
    return at if at < end and text[at : at + 1] == "," else None


def _find(node: Node, keys: tuple[str | int, ...]) -> Node:
    for key in keys:
        part = _part(node, key)
        if part is None:
            raise ValueError(f"there is no {key!r}")
        node = part.value
    return node


def _part(node: Node, key: str | int) -> Part | None:
    return next((part for part in reversed(node.parts) if part.key == key), None)  # of two with one key the last counts


def _written(value: object, unit: str, indent: str, newline: str) -> str:
    text = json.dumps(value, indent=unit or None, ensure_ascii=False)
    return text.replace("\n", newline + indent)


def _indent_at(text: str, at: int) -> str:
    """Return the blanks at the beginning of the line in which `at` is."""
    line = text.rfind("\n", 0, at) + 1
    return text[line : _behind(_BLANKS, text, line)]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _behind(form: re.Pattern[str], text: str, at: int) -> int:
    """Return where the match of a form that may be empty ends."""
    found = form.match(text, at)
    return found.end() if found else at
