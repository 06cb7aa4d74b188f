"""The hooks by which a client tells warp that a session starts, a prompt comes or the agent stops."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from loominal.local.connect.edit import Add, Op

SESSION_START, PROMPT, STOP, WAIT = "session-start", "prompt", "stop", "wait"


def hook_command(program: tuple[str, ...], moment: str) -> str:
    """Return the shell command for a moment."""
    return shlex.join([*program, "hook", moment])


def hook_ops(
    program: tuple[str, ...], events: Mapping[str, str], entry: Callable[[str], dict[str, object]]
) -> tuple[Op, ...]:
    """Return one addition to the lists under `hooks` for each of `events` (the client's name -> our moment)."""
    return tuple(
        Add(keys=("hooks", event), values=(entry(hook_command(program, moment)),), replaces=f"hook {moment}")
        for event, moment in events.items()
    )


def grouped(command: str) -> dict[str, object]:
    """Return a hook as Claude Code writes it down, and those who took that over."""
    return {"hooks": [{"type": "command", "command": command}]}
