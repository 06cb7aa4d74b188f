"""How the clients on this machine stand to Loominal; `loominal doctor` and the list of `loominal connect` ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from loominal.local.connect.edit import looked_up
from loominal.local.connect.interface import Client, FileEdit, Place, Scope, Wish
from loominal.local.connect.text import GRAMMARS


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client names our server, and what it would start; `problem` says why that cannot work."""

    path: Path
    scope: Scope
    program: str = ""
    problem: str = ""


def findings(client: Client, place: Place) -> list[Finding]:
    """Return the client's files that name our server or cannot be read, the project's first."""
    found = []
    for scope in (Scope.PROJECT, Scope.USER):
        edit = client.edits(place, Wish(scope=scope, program=("warp",)))[0]
        if (finding := _look(edit, scope, place)) is not None:
            found.append(finding)
    return found


def _look(edit: FileEdit, scope: Scope, place: Place) -> Finding | None:
    try:
        data = GRAMMARS[edit.format].parse(edit.path.read_text("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return Finding(path=edit.path, scope=scope, problem=f"it cannot be read: {error}")
    entry = looked_up(data, edit.ops[0].keys)
    if not isinstance(entry, dict):
        return None
    command = entry.get("command")
    program = str(command[0] if isinstance(command, list) and command else command or "")
    if shutil.which(program, path=place.environ.get("PATH")) is None:
        return Finding(
            path=edit.path, scope=scope, program=program, problem=f"there is no program {program or '(none)'}"
        )
    return Finding(path=edit.path, scope=scope, program=program)
