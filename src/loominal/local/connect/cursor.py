"""Cursor and its command line: servers in `mcp.json`, hooks in `hooks.json`, permissions in two files of their own.

Source: cursor.com/docs: context/mcp, agent/hooks, reference/permissions, cli/reference/permissions.
"""

from __future__ import annotations

from loominal.local.connect.edit import Add, Put
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

EVENTS = {"sessionStart": SESSION_START, "beforeSubmitPrompt": PROMPT, "stop": STOP}


class Cursor:
    """The editor Cursor."""

    name = "cursor"
    title = "Cursor"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("cursor", "cursor-agent") or (place.home / ".cursor").is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edits of `mcp.json` and, if need be, of hooks and permissions."""
        folder = (place.home if wish.scope is Scope.USER else place.project) / ".cursor"
        server = wish.server
        if wish.scope is Scope.PROJECT:  # the editor starts servers in a directory of its own
            server["env"] = {"MCP_PROJECT_PATH": "${workspaceFolder}"}
        edits = [server_edit(folder / "mcp.json", Format.JSONC, "mcpServers", server)]
        if wish.hooks:
            ops = (Put(keys=("version",), value=1), *hook_ops(wish.program, EVENTS, _entry))
            edits.append(FileEdit(path=folder / "hooks.json", format=Format.JSONC, ops=ops))
        if wish.allow:
            edits += _permissions(place, wish.scope)
        return edits

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        notes = (
            ["a user's server may start outside your folder: --scope project makes each folder its own project"]
            if wish.scope is Scope.USER
            else []
        )
        if wish.allow:
            notes.append("a list in ~/.cursor/permissions.json stands in for the one in Cursor's own settings")
        return notes


def _permissions(place: Place, scope: Scope) -> list[FileEdit]:
    """Return the editor's rules, which are per user, and the command line's, if it has a file that we can add to."""
    for_all = tuple(f"{SERVER}:{tool}" for tool in ALLOWED_TOOLS)
    for_cli = (Add(keys=("permissions", "allow"), values=tuple(f"Mcp({rule})" for rule in for_all)),)
    if scope is Scope.PROJECT:
        return [FileEdit(path=place.project / ".cursor" / "cli.json", format=Format.JSON, ops=for_cli)]
    editor = FileEdit(
        path=place.home / ".cursor" / "permissions.json",
        format=Format.JSONC,
        ops=(Add(keys=("mcpAllowlist",), values=for_all),),
    )
    cli = place.home / ".cursor" / "cli-config.json"
    return [editor, FileEdit(path=cli, format=Format.JSON, ops=for_cli)] if cli.exists() else [editor]


def _entry(command: str) -> dict[str, object]:
    return {"command": command}
