"""Pages of `docs` whose shell blocks are run as they stand, by a user of their own on a port of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PORT = "127.0.0.1:4280"  # on every page


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of `page` that are in `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


@contextmanager
def a_users_home(path: Path) -> Iterator[Path]:
    """Yield the home of a user; afterwards nothing runs there, also no agent that a target has started."""
    try:
        yield path
    finally:
        subprocess.run(["loominal", "down"], env=environment(path), timeout=60, check=True, capture_output=True)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                known = (process / "environ").read_bytes().split(b"\0")
                if f"HOME={path}".encode() in known:
                    os.kill(int(process.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a user of that home has in the environment."""
    not_theirs = ("LOOMINAL_", "NATS_", "API_", "COLUMNS")  # the last is pytest's own
    ours = {name: value for name, value in os.environ.items() if not name.startswith(not_theirs)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return ours | {"HOME": str(home), "PATH": path, "no_proxy": "*"} | more


def typed(script: str, home: Path, port: int, *, seconds: float, **more: str) -> tuple[int, str]:
    """Have bash run `script` and return its exit code, that of `timeout` if it took longer, and all it has said."""
    with (home / "said").open("w+") as said:
        done = subprocess.run(
            ["timeout", f"{seconds:g}", "bash", "-c", script.replace(PORT, f"127.0.0.1:{port}")],
            env=environment(home, API_PORT=str(port), **more),
            cwd=home,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said.seek(0)
        return done.returncode, said.read()
