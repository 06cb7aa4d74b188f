"""Warp, the MCP server that an agent's client starts: reads the settings, serves stdio, leaves when stdin is closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import loominal

if TYPE_CHECKING:
    from loominal.warp.link import Link
    from loominal.warp.rpc import Call, Json
    from loominal.warp.server import Server
    from loominal.warp.settings import WarpSettings

HELP = """Usage: warp

  The MCP server of Loominal: an agent's client starts it and talks to it over stdin and stdout.

  Example: claude mcp add loominal -- warp

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.
"""

log = logging.getLogger("loominal.warp")


class Stop(Exception):
    """The client is gone, or a signal said so; raised in the task group, it ends every task."""


def main() -> None:
    """Run warp."""
    match sys.argv[1:]:
        case ["--version"]:
            print(f"warp, version {loominal.__version__}")
        case ["--help" | "-h"]:
            print(HELP, end="")
        case []:
            sys.exit(run())
        case unknown:
            print(f"warp: {' '.join(unknown)!r} is not understood; `warp --help` shows what is", file=sys.stderr)
            sys.exit(2)


def run() -> int:
    """Serve until stdin is closed or a signal comes, and return the exit code."""
    from loominal.model.errors import LoominalError
    from loominal.warp.settings import WarpSettings
    from loominal.warp.stdio import open_closed_files

    open_closed_files()
    try:
        settings = WarpSettings.from_env(os.environ)
    except LoominalError as error:
        print(f"warp: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 2
    logging.basicConfig(stream=sys.stderr, level=settings.log_level)
    if os.isatty(0):
        print("warp: an MCP client is to start this and talk to it (`warp --help`); Ctrl-C ends it", file=sys.stderr)
    asyncio.run(serve(settings))
    return 0


async def serve(settings: WarpSettings) -> None:
    """Serve one client on stdin and stdout."""
    from loominal.warp.link import Link
    from loominal.warp.rpc import Rpc
    from loominal.warp.server import Server
    from loominal.warp.stdio import Stdio
    from loominal.warp.subscriptions import Subscriptions

    async def answer(call: Call) -> Json:
        return await guarded(server, call)

    link = Link(settings)
    rpc = Rpc(Stdio.take(), answer)
    subscriptions = Subscriptions(link, rpc.notify)
    server = Server(link, rpc, subscriptions)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_stop_on_signal(link), name="stop")
            group.create_task(link.keep(), name="link")
            group.create_task(subscriptions.keep(), name="subscriptions")
            await rpc.serve()
            raise Stop
    except* Stop:
        log.info("stopped")


async def guarded(server: Server, call: Call) -> Json:
    """Return the server's answer; a bug in one of them does not end the others. Raises: RpcError."""
    from loominal.warp.rpc import INTERNAL_ERROR, RpcError

    try:
        return await server.answer(call)
    except RpcError:
        raise
    except Exception as error:  # the last line of defence
        log.exception("%s failed", call.method)
        raise RpcError(INTERNAL_ERROR, f"a bug: {type(error).__name__}; warp's log on stderr has it") from error


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


if __name__ == "__main__":
    main()
