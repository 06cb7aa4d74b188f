"""Warp, the MCP server that an agent's client starts: reads the settings, serves stdio, leaves when stdin is closed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import loominal
from loominal.fabric.client.settings import ClientSettings
from loominal.model.errors import LoominalError

HELP = """Usage: warp

  The MCP server of Loominal: an agent's client starts it and talks to it over stdin and stdout.

  Example: claude mcp add loominal -- warp

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.
"""


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
    """Serve until stdin is closed and return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG_LEVEL", "WARNING").upper())
    try:
        settings = ClientSettings.from_env(os.environ, client="mcp")
    except LoominalError as error:
        print(f"warp: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 2
    asyncio.run(serve(settings))
    return 0


async def serve(settings: ClientSettings) -> None:
    """Serve one client on stdin and stdout."""
    from loominal.warp.rpc import Rpc
    from loominal.warp.server import Server

    server = Server(settings)
    async with asyncio.TaskGroup() as group:
        connection = group.create_task(server.keep_connected(), name="connection")
        try:
            await Rpc(server.methods).serve()
        finally:
            connection.cancel()


if __name__ == "__main__":
    main()
