"""Weft as the tests of launches run it: it is killed, or stands still, at a step of a launch that a test has named.

A file called like the step, in the folder that LOOMINAL_TEST_FAULTS names, holds the signal; whoever meets it first
renames it to "<step>.met", writes its pid there, and sends itself that signal. `launch_faults.py` starts it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from loominal.fabric.hub.access import enrolment, joining
from loominal.fabric.hub.spinup import launches, scaler, starting
from loominal.model.launch import LaunchMove, Order
from loominal.model.target import Target
from loominal.weft.launcher import MechanismLauncher
from loominal.weft.main import run
from loominal.weft.settings import Settings

FAULTS = "LOOMINAL_TEST_FAULTS"
STEPS = (  # as they follow each other in the life of a launch
    "before-requested",
    "requested",
    "invited",
    "about-to-start",
    "starting",  # its process is there, and the mechanism has not answered
    "before-started",
    "started",
    "spent",  # its enrolment is, and its agent has not been let in
    "let-in",
    "before-registered",
    "registered",
    "before-draining",  # recorded, and its agent was not told
    "draining",
    "before-closing",
    "closing",  # recorded, and nothing was done about it
    "ended",  # nothing of it is left, which is not recorded
    "closed",
)
LOOKED_AGAIN_SECONDS = 0.01
GONE_SECONDS, SWEEP_SECONDS = 1.5, 20.0  # the latter is scaled
Deed = Callable[..., Awaitable[Any]]  # Any: whatever a patched function takes and returns


def main() -> None:
    """Serve until told to stop, or until a step has a fault."""
    log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    settings = Settings.from_env(os.environ)
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format=log_format)
    patch(Path(os.environ[FAULTS]))
    asyncio.run(run(settings))


def patch(faults: Path) -> None:
    """Have every step look for its fault."""

    def reach(step: str) -> None:
        if not step:
            return
        met = faults / f"{step}.met"
        try:
            (faults / step).rename(met)
        except FileNotFoundError:
            return
        sent = signal.Signals[met.read_text()]
        met.write_text(str(os.getpid()))
        os.kill(os.getpid(), sent)

    def around(owner: object, name: str, before: str = "", after: str = "") -> None:
        deed: Deed = getattr(owner, name)

        async def with_steps(*args: Any, **named: Any) -> Any:
            reach(before)
            outcome = await deed(*args, **named)
            reach(after)
            return outcome

        setattr(owner, name, with_steps)

    make, start = launches.make, MechanismLauncher.start

    async def made(project: Any, launch_id: str, move: LaunchMove, **named: Any) -> Any:
        name = {LaunchMove.START: "started", LaunchMove.REGISTER: "registered", LaunchMove.LOSE: ""}.get(move, "closed")
        reach(f"before-{name}")
        outcome = await make(project, launch_id, move, **named)
        reach(name)
        return outcome

    async def started(launcher: MechanismLauncher, target: Target, order: Order) -> str:
        reach("about-to-start")
        answer = asyncio.ensure_future(start(launcher, target, order))
        while (faults / "starting").exists() and not (answer.done() or any(processes(order.launch))):  # noqa: ASYNC110 - /proc tells nobody
            await asyncio.sleep(LOOKED_AGAIN_SECONDS)
        reach("starting")
        return await answer

    setattr(launches, "make", made)  # noqa: B010  (functions for everybody else)
    setattr(MechanismLauncher, "start", started)  # noqa: B010
    around(launches, "request", "before-requested", "requested")
    around(starting, "_enrolment", after="invited")
    around(joining, "_let_in", before="spent")
    around(enrolment, "admit_agent", after="let-in")
    around(launches, "mark_draining", after="before-draining")
    around(scaler, "_let_go", after="draining")
    around(launches, "mark_closing", "before-closing", "closing")
    around(starting, "_undo", after="ended")
    setattr(starting, "GONE_SECONDS", GONE_SECONDS)  # noqa: B010
    setattr(scaler, "SWEEP_SECONDS", SWEEP_SECONDS)  # noqa: B010


class Process(NamedTuple):
    """A process that a launch has started, or that such a one has."""

    launch: str
    pid: str
    parent: str
    born: str  # in ticks since the machine's start


def processes(launch: str = "") -> list[Process]:
    """Return every process of every launch, or of one alone if it is named."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        for line in environ.split(b"\0"):
            name, _, value = line.partition(b"=")
            if name == b"LOOMINAL_LAUNCH" and launch in ("", value.decode()):
                found.append(Process(value.decode(), folder.name, fields[1], fields[19]))
    return found


if __name__ == "__main__":
    main()
