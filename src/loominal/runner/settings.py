"""What a runner is told by its command line. `main.py` makes it; the connection has its own settings."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from loominal.model.errors import InvalidArgument
from loominal.model.names import meant, shown
from loominal.model.times import duration_seconds
from loominal.runner.clients import CLIENTS
from loominal.runner.clients.interface import Client

MOST_SLOTS = 50


class RunnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One runner's settings."""

    client: Client
    command: tuple[str, ...]  # of the client: its program, found, and the user's own options
    capabilities: tuple[str, ...] = ()
    boundaries: tuple[str, ...] | None = None  # None: as registration has it
    max_items: int | None = None
    slots: int = 1
    idle_seconds: float | None = None
    worktree: bool = False
    folder: Path  # where items are done
    log_level: int  # LOG_LEVEL: INFO


def settings_from(
    client: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    *,
    capabilities: Sequence[str] = (),
    boundaries: Sequence[str] = (),
    max_items: int | None = None,
    slots: int = 1,
    idle_exit: str | None = None,
    worktree: bool = False,
) -> RunnerSettings:
    """Return the settings. Raises: InvalidArgument for what cannot be run."""
    if client not in CLIENTS:
        raise InvalidArgument(f"there is no client {shown(client)}", meant(client, CLIENTS, "clients"))
    known = CLIENTS[client]
    words = tuple(command) or known.program
    if not words:
        raise InvalidArgument(f"{client} needs a command", f"loominal agent run --client {client} -- COMMAND …")
    level = logging.getLevelNamesMapping().get(environ.get("LOG_LEVEL", "INFO").upper())
    if level is None:
        raise InvalidArgument("LOG_LEVEL is no level", "use DEBUG, INFO, WARNING or ERROR")
    program = shutil.which(words[0], path=environ.get("PATH"))
    if program is None:
        raise InvalidArgument(
            f"there is no program {shown(words[0])}", "install it, or name another behind --: its path and options"
        )
    return RunnerSettings(
        client=known,
        command=(str(Path(program).absolute()), *words[1:]),
        capabilities=tuple(capabilities),
        boundaries=tuple(boundaries) or None,
        max_items=max_items,
        slots=slots,
        idle_seconds=_idle_seconds(idle_exit),
        worktree=worktree,
        folder=folder,
        log_level=level,
    )


def _idle_seconds(text: str | None) -> float | None:
    """Return the seconds; a plain number is seconds, too."""
    if text is None:
        return None
    return duration_seconds(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)
