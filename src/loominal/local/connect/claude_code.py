"""Claude Code: servers in `~/.claude.json` or `.mcp.json`, hooks and permissions in `settings.json`.

Seen in Claude Code 2.1 (`claude mcp add`); hooks and rules: code.claude.com/docs/en/hooks and /permissions.
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Add, Op
from loominal.local.connect.hooks import PROMPT, SESSION_START, STOP, WAIT, grouped, hook_ops
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish, server_edit
from loominal.local.connect.text import Format

WAIT_SECONDS = 86400  # the longest that an idle session hears of its mail
EVENTS = {"SessionStart": SESSION_START, "UserPromptSubmit": PROMPT, "Stop": STOP}


class ClaudeCode:
    """Anthropic's command line."""

    name = "claude-code"
    title = "Claude Code"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("claude") or _state(place).exists() or _folder(place).is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edits of the server's file and, if need be, of the settings."""
        user = wish.scope is Scope.USER
        servers = _state(place) if user else place.project / ".mcp.json"
        settings = (_folder(place) if user else place.project / ".claude") / "settings.json"
        edits = [server_edit(servers, Format.JSON, "mcpServers", {"type": "stdio"} | wish.server)]
        ops: tuple[Op, ...] = ()
        if wish.hooks:
            ops = hook_ops(wish.program, EVENTS, grouped) + hook_ops(wish.program, {"Stop": WAIT}, _waiting)
        if wish.allow:
            ops += (Add(keys=("permissions", "allow"), values=tuple(f"mcp__{SERVER}__{t}" for t in ALLOWED_TOOLS)),)
        return [*edits, FileEdit(path=settings, format=Format.JSON, ops=ops)] if ops else edits

    def notes(self, place: Place, wish: Wish) -> list[str]:
        """Return what the user has to know or do besides."""
        notes = ["Claude Code asks once whether to trust the project's server"] if wish.scope is Scope.PROJECT else []
        if (unread := unread_file(place)) is not None:
            notes.append(f"{unread} names {SERVER}, but Claude Code does not read that file: you can remove it")
        return notes


def _waiting(command: str) -> dict[str, object]:
    """Return a hook that runs in the background and wakes the model by exit code 2.

    Without `async` a session without a terminal (`claude -p`) would wait for it, and so never end.
    """
    in_background = {"async": True, "asyncRewake": True, "timeout": WAIT_SECONDS}
    return {"hooks": [{"type": "command", "command": command} | in_background]}


def unread_file(place: Place) -> Path | None:
    """Return `~/.claude/mcp.json` if it names our server: often recommended, never read."""
    path = _folder(place) / "mcp.json"
    try:
        return path if SERVER in path.read_text("utf-8", errors="replace") else None
    except OSError:
        return None


def _state(place: Place) -> Path:
    return place.moved("CLAUDE_CONFIG_DIR", place.home) / ".claude.json"


def _folder(place: Place) -> Path:
    return place.moved("CLAUDE_CONFIG_DIR", place.home / ".claude")
