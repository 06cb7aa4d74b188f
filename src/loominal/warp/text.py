"""Answers as a few lines of text, for clients that show their model only that. A peer's text never starts a line."""

from __future__ import annotations

INDENT = "  "


def rendered(value: object, limit_bytes: int) -> str:
    """Return `value` as indented lines of at most `limit_bytes`; what is left out is said in the last one."""
    lines, size = [], 0
    for line in _lines(value, 0):
        size += len(line.encode("utf-8", "replace")) + 1
        if size > limit_bytes - 100:
            lines.append("(more: read on with a cursor, or with id and offset)")
            break
        lines.append(line)
    return "\n".join(lines) or "ok"


def _lines(value: object, depth: int) -> list[str]:
    pad = INDENT * depth
    match value:
        case dict():
            found = []
            for name, each in value.items():
                if isinstance(each, (dict, list)) and each:
                    found += [f"{pad}{name}:", *_lines(each, depth + 1)]
                elif each not in ([], {}, ""):
                    found += _said(f"{pad}{name}: ", each, depth)
            return found
        case list():
            found = []
            for each in value:
                inner = _lines(each, depth + 1)
                found += [f"{pad}- {inner[0].strip()}", *inner[1:]] if inner else []
            return found
    return _said(pad, value, depth)


def _said(start: str, value: object, depth: int) -> list[str]:
    """Return a value behind `start`; a text of several lines goes on indented, so that no line of it starts a line."""
    shown = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    first, *rest = shown.splitlines() or [""]
    return [start + first, *(f"{INDENT * (depth + 2)}{line}" for line in rest)]
