"""Gemini CLI: servers, hooks and permissions in `settings.json`.

Seen in Gemini CLI 0.61: `gemini mcp add`, its documentation of hooks, and how its policy engine reads `tools.allowed`
(a workspace's policies have no effect there).
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Add, Op
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, grouped, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

EVENTS = {"SessionStart": SESSION_START, "BeforeAgent": PROMPT, "AfterAgent": STOP}


class Gemini:
    """Google's command line."""

    name = "gemini"
    title = "Gemini CLI"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("gemini") or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edit of `settings.json`."""
        folder = _folder(place) if wish.scope is Scope.USER else place.project / ".gemini"
        edit = server_edit(folder / "settings.json", Format.JSONC, "mcpServers", wish.server)
        more: tuple[Op, ...] = hook_ops(wish.program, EVENTS, grouped) if wish.hooks else ()
        if wish.allow:
            more += (Add(keys=("tools", "allowed"), values=tuple(f"mcp_{SERVER}_{t}" for t in ALLOWED_TOOLS)),)
        return [FileEdit(path=edit.path, format=edit.format, ops=edit.ops + more)]

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        return ["Gemini CLI starts servers, the user's own too, only in folders that you trust"]


def _folder(place: Place) -> Path:
    return place.moved("GEMINI_CLI_HOME", place.home) / ".gemini"
