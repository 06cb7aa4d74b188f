"""Where a user's fabric keeps everything. Imports nothing of ours: client hooks, which must be small, ask it, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def home_directory(environ: Mapping[str, str]) -> Path:
    """Return `LOOMINAL_HOME`, else `loominal` in the XDG state directory."""
    if named := environ.get("LOOMINAL_HOME"):
        return Path(named).expanduser().absolute()
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # XDG: relative ones are to be ignored
        state = Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return state / "loominal"
