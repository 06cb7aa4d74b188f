"""Warp, the MCP server that a client starts, and the hooks that the client runs. Each loads only what it needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import loominal

if TYPE_CHECKING:
    from loominal.warp.rpc import Call, Json
    from loominal.warp.server import Server

HELP = """Usage: warp [--channel]
       warp hook session-start|prompt|stop|wait

  The MCP server of Loominal: an agent's client starts it and talks to it over stdin and stdout.
  The hooks tell that client what waits for its agent; `loominal connect` sets both up.

  Example: claude mcp add loominal -- warp

Options:
  --channel   Push what waits into a running session of Claude Code (its channels must be on).
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
        case ["hook", *arguments]:
            from loominal.warp import hook

            sys.exit(hook.main(arguments))
        case [] | ["--channel"] as options:
            from loominal.warp.serving import run

            sys.exit(run(guarded, channel=bool(options)))
        case unknown:
            print(f"warp: {' '.join(unknown)!r} is not understood; `warp --help` shows what is", file=sys.stderr)
            sys.exit(2)


async def guarded(server: Server, call: Call) -> Json:
    """Return the server's answer; a bug in one of them does not end the others. Raises: RpcError."""
    import logging

    from loominal.warp.rpc import INTERNAL_ERROR, RpcError

    try:
        return await server.answer(call)
    except RpcError:
        raise
    except Exception as error:  # the last line of defence
        logging.getLogger("loominal.warp").exception("%s failed", call.method)
        raise RpcError(INTERNAL_ERROR, f"a bug: {type(error).__name__}; warp's log on stderr has it") from error


if __name__ == "__main__":
    main()
