"""`loominal logs`: what supervisor, weft and broker wrote."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from loominal.local.home import usable_home
from loominal.local.processes import broker_directory
from loominal.model.errors import NotFound

LOOK_SECONDS = 0.3  # between two looks for new lines with -f
BLOCK_BYTES = 1 << 20  # of the end of each log in which the last lines are looked for


@click.command(help="Show the last lines of the fabric's logs.\n\nExample: loominal logs -f")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, help="Last lines of each log (50).")
def logs(*, follow: bool, lines: int) -> None:
    """Show the logs."""
    home = usable_home(os.environ)
    paths = {
        "supervisor": home / "logs" / "supervisor.log",
        "weft": home / "logs" / "weft.log",
        "broker": broker_directory(home) / "nats.log",
    }
    if not follow and not any(path.exists() for path in paths.values()):
        raise NotFound(f"there are no logs in {home}", "`loominal up` starts a fabric there")
    ends = {name: _show_last(name, path, lines) for name, path in paths.items()}
    while follow:
        time.sleep(LOOK_SECONDS)
        ends = {name: _show_new(name, paths[name], end) for name, end in ends.items()}


def _show_last(name: str, path: Path, count: int) -> int:
    """Print the last `count` lines of a log and return how long it was."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - BLOCK_BYTES))
        found = file.read(size - file.tell()).decode(errors="replace").splitlines()
    _print(name, found[len(found) - min(count, len(found)) :])
    return size


def _show_new(name: str, path: Path, end: int) -> int:
    """Print the whole lines that a log has beyond byte `end`, and return where they end; a shorter log is a new one."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(end if size >= end else 0)
        start = file.tell()
        whole, newline, _ = file.read().rpartition(b"\n")
    _print(name, whole.decode(errors="replace").splitlines())
    return start + len(whole) + len(newline)


def _print(name: str, found: list[str]) -> None:
    for line in found:
        click.echo(f"{name:>10} | {line}")
