"""What weft has to do with the process that supervises it (`loominal up`): report to it, outlive it, replace it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)

RESTART_BROKER = signal.SIGUSR1  # to the supervisor: a stream that met a full disk is dead until the broker restarts
HEAL_SECONDS = 10.0  # a new supervisor ends us within this; else the next try


def ask_broker_restart(supervisor_pid: int | None) -> bool:
    """Ask the supervisor to restart the broker; return whether there is one to ask."""
    if supervisor_pid is None or os.getppid() != supervisor_pid:
        return False
    os.kill(supervisor_pid, RESTART_BROKER)
    return True


def is_anothers(supervisor_pid: int, own_pid: int | None) -> bool:
    """Return whether the supervisor lives and keeps another weft than one started by `own_pid`; 0 is no supervisor."""
    if supervisor_pid in (0, own_pid):
        return False
    try:
        os.kill(supervisor_pid, 0)
    except ProcessLookupError:
        return False
    return True


async def heal(supervisor_pid: int, home: Path) -> None:
    """Wait for the supervisor's end and then start another, which ends this weft and takes over.

    An orderly supervisor ends weft before itself; so one that ended first was killed.
    """
    await _ended(supervisor_pid)
    while True:
        log.warning("the supervisor %d was killed; starting another", supervisor_pid)
        command = [sys.executable, "-m", "loominal", "up", "--detach", "--heal", str(os.getpid())]
        environ = {name: value for name, value in os.environ.items() if name != "LOOMINAL_SUPERVISOR"}
        subprocess.Popen(  # noqa: ASYNC220 - starting it takes a millisecond, and nobody waits for it
            command,
            env={**environ, "LOOMINAL_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        await asyncio.sleep(HEAL_SECONDS)


async def _ended(parent: int) -> None:
    """Return when the process that started this one has ended."""
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    try:
        if os.getppid() != parent:
            return  # it ended before the handle was there, and the pid may be somebody else's by now
        loop.add_reader(handle, lambda: None if over.done() else over.set_result(None))
        await over
    finally:
        loop.remove_reader(handle)
        os.close(handle)
