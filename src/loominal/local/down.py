"""`loominal down`: end the fabric, whoever started it, and return when it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import click

from loominal.fabric.runtime_file import Mode, read_runtime, remove_runtime
from loominal.local.at_login import service, switch_off
from loominal.local.home import supervision, supervisor_pid, usable_home
from loominal.local.processes import end, running
from loominal.model.errors import LoominalError

ORDERLY_SECONDS = 25.0  # weft has 7 s, the broker 10
FORCED_SECONDS = 5.0
LOOK_SECONDS = 0.05


@click.command(help="Stop this user's fabric; what is stored stays.\n\nExample: loominal down")
@click.option("--at-login", is_flag=True, help="And start it at login no more.")
def down(*, at_login: bool) -> None:
    """Stop the fabric."""
    home = usable_home(os.environ)
    if at_login:
        known = service(os.environ)
        was = f"it starts at login no more ({known.file} is removed)" if switch_off(known) else "it starts at no login"
        click.echo(was)
    runtime = read_runtime(home)
    if runtime is not None and runtime.mode is Mode.JOINED:
        click.echo(f"not running: this machine has joined the fabric at {runtime.url} (`loominal join --leave`)")
        return
    was_running = _end(home) if home.exists() else _end_without_home(home)
    click.echo("stopped" if was_running else "not running")


def _end_without_home(home: Path) -> bool:
    """End what runs although its directory was removed; the supervisor ends by itself when it cannot go on."""
    left = running(home)
    for process in left:
        end(home, process)
    return bool(left)


def _end(home: Path) -> bool:
    """End every process of the home's fabric; return whether there was one. Raises: LoominalError if one stays."""
    found = False
    for number, patience in ((signal.SIGTERM, ORDERLY_SECONDS), (signal.SIGKILL, FORCED_SECONDS)):
        until = time.monotonic() + patience
        told: int | None = None
        while time.monotonic() < until:
            with supervision(home) as ours:
                if ours:  # and as long as it is, nobody starts anything
                    left = running(home)
                    for process in left:
                        end(home, process)
                    remove_runtime(home)
                    return found or bool(left)
            pid = supervisor_pid(home)
            if pid is not None and pid != told:
                told, found = pid, True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)  # it holds the lock at this moment, so the pid is its own
            time.sleep(LOOK_SECONDS)
    raise LoominalError(f"pid {supervisor_pid(home)} holds {home / 'up.lock'} and cannot be ended", "look what it is")
