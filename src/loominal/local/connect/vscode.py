"""VS Code: servers in `mcp.json` of the user's profile or of the workspace.

Source: code.visualstudio.com/docs/agents/reference/mcp-configuration. Its hooks are a preview that reads Copilot CLI's
files; its permissions are given in its own window.
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.interface import FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format


class VSCode:
    """The editor VS Code with an agent in it."""

    name = "vscode"
    title = "VS Code"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("code") or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edit of `mcp.json`."""
        server = {"type": "stdio"} | wish.server
        if wish.scope is Scope.USER:
            return [server_edit(_folder(place) / "mcp.json", Format.JSONC, "servers", server)]
        server["env"] = {"MCP_PROJECT_PATH": "${workspaceFolder}"}  # servers start in a directory of the editor's
        return [server_edit(place.project / ".vscode" / "mcp.json", Format.JSONC, "servers", server)]

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        notes = (
            ["a user's server may start outside your folder: --scope project makes each folder its own project"]
            if wish.scope is Scope.USER
            else []
        )
        return [*notes, "VS Code has no file for permission rules: allow tools when it asks"] if wish.allow else notes


def _folder(place: Place) -> Path:
    return place.config() / "Code" / "User"
