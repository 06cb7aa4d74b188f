"""opencode: servers and permissions in `opencode.json` or `opencode.jsonc`, whichever is there.

Seen in opencode 1.18 (`opencode debug config`, `opencode mcp list`). It has plugins in place of hooks.
"""

from __future__ import annotations

from pathlib import Path

from loominal.local.connect.edit import Put
from loominal.local.connect.interface import ALLOWED_TOOLS, SERVER, FileEdit, Place, Scope, Wish
from loominal.local.connect.text import Format

TIMEOUT_MILLISECONDS = 60_000  # its default of 5 s would cut off what waits up to 50 s


class Opencode:
    """The open command line."""

    name = "opencode"
    title = "opencode"

    def found(self, place: Place) -> bool:
        """Return whether the client is on this machine."""
        return place.on_path("opencode") or (place.config() / "opencode").is_dir()

    def edits(self, place: Place, wish: Wish) -> list[FileEdit]:
        """Return the edit of the configuration."""
        folder = place.config() / "opencode" if wish.scope is Scope.USER else place.project
        server: dict[str, object] = {
            "type": "local",
            "command": list(wish.program),
            "enabled": True,
            "timeout": TIMEOUT_MILLISECONDS,
        }
        ops = [Put(keys=("mcp", SERVER), value=server)]
        if wish.allow:
            ops += [Put(keys=("permission", f"{SERVER}_{tool}"), value="allow") for tool in ALLOWED_TOOLS]
        return [FileEdit(path=_file(folder), format=Format.JSONC, ops=tuple(ops))]

    def notes(self, place: Place, wish: Wish) -> list[str]:  # noqa: ARG002 - the interface's
        """Return what the user has to know or do besides."""
        return []


def _file(folder: Path) -> Path:
    commented = folder / "opencode.jsonc"
    return commented if commented.exists() else folder / "opencode.json"
