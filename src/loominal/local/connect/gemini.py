"""Gemini CLI: servers and hooks in `settings.json`, a user's permissions in a policy file of our own.

Seen in Gemini CLI 0.61: `gemini mcp add`, its documentation of hooks and of the policy engine. A workspace's policies
have no effect there, so a project's permissions are in `tools.allowed`, of which it warns at each start.
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Add, Op, Put
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, grouped, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

PRIORITY = 100  # of a user's rules: above every default
EVENTS = {"SessionStart": SESSION_START, "BeforeAgent": PROMPT, "AfterAgent": STOP}


class Gemini:
    """Google's command line."""

    name = "gemini"
    title = "Gemini CLI"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("gemini") or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edits of `settings.json` and, if need be, of the policy."""
        folder = _folder(place) if wish.scope is Scope.USER else place.project / ".gemini"
        edit = server_edit(folder / "settings.json", Format.JSONC, "mcpServers", wish.server)
        more: tuple[Op, ...] = hook_ops(wish.program, EVENTS, grouped) if wish.hooks else ()
        if wish.allow and wish.scope is Scope.PROJECT:
            more += (Add(keys=("tools", "allowed"), values=tuple(f"mcp_{SERVER}_{t}" for t in ALLOWED_TOOLS)),)
        edits = [FileEdit(path=edit.path, format=edit.format, ops=edit.ops + more)]
        if wish.allow and wish.scope is Scope.USER:
            rule = {"mcpName": SERVER, "toolName": list(ALLOWED_TOOLS), "decision": "allow", "priority": PRIORITY}
            policy = folder / "policies" / "loominal.toml"
            edits.append(FileEdit(path=policy, format=Format.TOML, ops=(Put(keys=("rule",), value=[rule]),)))
        return edits

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        return ["Gemini CLI starts servers, the user's own too, only in folders that you trust"]


def _folder(place: Place) -> Path:
    return place.moved("GEMINI_CLI_HOME", place.home) / ".gemini"
