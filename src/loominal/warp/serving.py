"""Serving one client: the settings become objects, and these run until stdin is closed or a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from loominal.warp.link import Link
    from loominal.warp.rpc import Call, Json
    from loominal.warp.server import Server
    from loominal.warp.settings import WarpSettings

Guard: TypeAlias = "Callable[[Server, Call], Awaitable[Json]]"

log = logging.getLogger("loominal.warp")


class Stop(Exception):
    """The client is gone, or a signal said so; raised in the task group, it ends every task."""


def run(guard: Guard, *, channel: bool) -> int:
    """Serve until stdin is closed or a signal comes, and return the exit code; `guard` asks the server."""
    from loominal.fabric.client.settings import ENROLMENT
    from loominal.model.errors import LoominalError
    from loominal.warp.settings import WarpSettings
    from loominal.warp.stdio import open_closed_files

    open_closed_files()
    try:
        settings = WarpSettings.from_env(os.environ, channel=channel)
    except LoominalError as error:
        print(f"warp: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 2
    os.environ.pop(ENROLMENT, None)  # no child sees it
    logging.basicConfig(stream=sys.stderr, level=settings.log_level)
    if os.isatty(0):
        print("warp: an MCP client is to start this and talk to it (`warp --help`); Ctrl-C ends it", file=sys.stderr)
    asyncio.run(serve(settings, guard))
    return 0


async def serve(settings: WarpSettings, guard: Guard) -> None:
    """Serve one client on stdin and stdout."""
    from loominal.warp.attention import Attention
    from loominal.warp.desk import Desk
    from loominal.warp.link import Link
    from loominal.warp.reminders import Reminders
    from loominal.warp.rpc import Rpc
    from loominal.warp.server import Server
    from loominal.warp.stdio import Stdio
    from loominal.warp.subscriptions import Subscriptions

    async def answer(call: Call) -> Json:
        return await guard(server, call)

    link = Link(settings)
    rpc = Rpc(Stdio.take(), answer)
    subscriptions = Subscriptions(link, rpc.notify)
    attention = Attention(link)
    desk = Desk(Reminders(link, attention), settings.client.session)
    link.beside.append(desk.open)
    server = Server(link, rpc, subscriptions, channel=settings.channel)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_stop_on_signal(link), name="stop")
            group.create_task(link.keep(), name="link")
            group.create_task(subscriptions.keep(), name="subscriptions")
            if settings.channel:
                from loominal.warp.channel import Channel

                group.create_task(Channel(attention, rpc.notify).keep(), name="channel")
            await rpc.serve()
            raise Stop
    except* Stop:
        log.info("stopped")


async def _stop_on_signal(link: Link) -> None:
    """Hand back all claims and raise Stop at the first signal to end; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, told.set)
    await told.wait()
    for number in signals:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    await link.hand_back()
    raise Stop
