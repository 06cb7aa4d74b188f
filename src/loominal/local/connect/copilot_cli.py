"""Copilot CLI: servers in `mcp-config.json` or `.github/mcp.json`, hooks in a file of our own in its `hooks` folder.

Seen in Copilot CLI 1.0 (`copilot mcp add`, `copilot help permissions`); hooks: docs.github.com, "Hooks reference".
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Put
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

EVENTS = {"sessionStart": SESSION_START, "userPromptSubmitted": PROMPT, "agentStop": STOP}


class CopilotCli:
    """GitHub's command line."""

    name = "copilot-cli"
    title = "Copilot CLI"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("copilot") or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edits of the servers' file and, if need be, of our file of hooks."""
        user = wish.scope is Scope.USER
        folder = _folder(place) if user else place.project / ".github"
        server = {"type": "local"} | wish.server | {"tools": ["*"]}
        edits = [server_edit(folder / ("mcp-config.json" if user else "mcp.json"), Format.JSONC, "mcpServers", server)]
        if wish.hooks:
            ops = (Put(keys=("version",), value=1), *hook_ops(wish.program, EVENTS, _entry))
            edits.append(FileEdit(path=folder / "hooks" / "loominal.json", format=Format.JSON, ops=ops))
        return edits

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        if not wish.allow:
            return []
        flags = " ".join(f"--allow-tool='{SERVER}({tool})'" for tool in ALLOWED_TOOLS)
        return [f"Copilot CLI takes permission rules on its command line only: copilot {flags}"]


def _entry(command: str) -> dict[str, object]:
    return {"type": "command", "bash": command}


def _folder(place: Place) -> Path:
    return place.moved("COPILOT_HOME", place.home / ".copilot")
