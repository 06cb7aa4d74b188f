"""Codex: servers and their permissions in `config.toml`, hooks in `hooks.json` beside it.

Seen in Codex 0.169 (`codex mcp add`, and which values its configuration takes).
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Add, Op, Put
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, grouped, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

EVENTS = {"SessionStart": SESSION_START, "UserPromptSubmit": PROMPT, "Stop": STOP}
PASSED_ON = (  # Codex gives its servers a handful of variables, unless more are named; it warns of named ones not set
    "LOOMINAL_HOME", "LOOMINAL_PROJECT_ID", "LOOMINAL_AGENT_ID", "LOOMINAL_HANDLE", "LOOMINAL_ENROLMENT",
    "LOOMINAL_ATTACH", "LOOMINAL_AUTOSTART", "NATS_URL", "NATS_CREDS", "NATS_USER", "NATS_PASS", "NATS_CA",
    "MCP_PROJECT_PATH", "XDG_STATE_HOME", "LOG_LEVEL",
)  # fmt: skip


class Codex:
    """OpenAI's command line; its editor extension reads the same files."""

    name = "codex"
    title = "Codex"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("codex") or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edits of `config.toml` and, if need be, of `hooks.json`."""
        folder = _folder(place) if wish.scope is Scope.USER else place.project / ".codex"
        server = server_edit(folder / "config.toml", Format.TOML, "mcp_servers", wish.server)
        more: tuple[Op, ...] = ()
        if wish.scope is Scope.USER and (names := tuple(name for name in PASSED_ON if place.environ.get(name))):
            more += (Add(keys=("mcp_servers", SERVER, "env_vars"), values=names),)
        if wish.allow:
            tools = {tool: {"approval_mode": "approve"} for tool in ALLOWED_TOOLS}
            more += (Put(keys=("mcp_servers", SERVER, "tools"), value=tools),)
        edits = [FileEdit(path=server.path, format=server.format, ops=server.ops + more)]
        if wish.hooks:
            ops = hook_ops(wish.program, EVENTS, grouped)
            edits.append(FileEdit(path=folder / "hooks.json", format=Format.JSON, ops=ops))
        return edits

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        trusted = ["Codex reads a project's files only where the project is trusted"]
        hooks = ["Codex runs hooks only after you have looked at them and trusted them (/hooks)"]
        return (trusted if wish.scope is Scope.PROJECT else []) + (hooks if wish.hooks else [])


def _folder(place: Place) -> Path:
    return place.moved("CODEX_HOME", place.home / ".codex")
