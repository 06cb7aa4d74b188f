"""Starting the local fabric when nothing runs: `loominal up`, detached, to end by itself when nobody needs it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from urllib.parse import urlsplit

from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.runtime_file import read_runtime
from loominal.model.errors import BrokerUnavailable
from loominal.model.names import one_line

IDLE_EXIT = "30m"  # after its last agent has left, if no work is open
START_SECONDS = 60.0  # `loominal up` gives up by itself sooner
LOOK_SECONDS = 1.0


async def ensure_fabric(settings: ClientSettings) -> None:
    """Return when this user's fabric runs, started if it did not; somebody else's broker is never touched.

    Several processes may do so at once: one fabric is started. Raises: BrokerUnavailable with the reason.
    """
    if settings.servers.urls or not await _is_down(settings):
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loominal", "up", "--detach", "--idle-exit", IDLE_EXIT,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"LOOMINAL_HOME": str(settings.home)}, start_new_session=True,
    )  # fmt: skip
    import loominal.fabric.client.connect  # noqa: F401 - what is needed next loads meanwhile

    try:
        async with asyncio.timeout(START_SECONDS):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise BrokerUnavailable("the local fabric does not come up", "`loominal up` shows why") from error
    if process.returncode:
        words = one_line(said.decode(errors="replace").strip().removeprefix("loominal: "), 400)
        raise BrokerUnavailable(f"the local fabric could not be started: {words}", "`loominal up` shows why")


async def _is_down(settings: ClientSettings) -> bool:
    """Return whether no fabric runs that `loominal up` would start; what another program brought up is its own."""
    runtime = read_runtime(settings.home)
    if runtime is None:
        return True
    if not runtime.supervisor_pid:
        return False
    place = urlsplit(runtime.url)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.close()
            return False
    return True
