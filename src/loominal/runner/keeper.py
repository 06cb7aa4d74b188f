"""The process that outlives a killed runner for a moment: it ends what the runner's clients have left.

`python -m loominal.runner.keeper RUNNER`, with a pipe from the runner as stdin: "+PID" and "-PID" lines tell which
process groups run. When the pipe ends, so has the runner; what it has left would do what somebody else does anew.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO

from loominal.runner.processes import marked, send

LOOK_SECONDS = 0.05
FORCE_SECONDS = 5.0  # for what was killed to be gone


class Keeper:
    """A runner's keeper, as the runner holds it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    @contextlib.contextmanager
    def watching(self, group: int) -> Iterator[None]:
        """Have the process group ended, should the runner not come to the end of the block."""
        self._tell(f"+{group}\n")
        try:
            yield
        finally:
            self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody has killed it; the mark in the environment is left
            self._pipe.write(line.encode())
            self._pipe.flush()


@contextlib.contextmanager
def keeping(runner: str) -> Iterator[Keeper]:
    """Run a keeper for the length of the block."""
    command = [sys.executable, "-m", __name__, runner]
    # a session of its own: Ctrl-C is for the runner
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin is not None
    try:
        yield Keeper(process.stdin)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def main() -> None:
    """Wait until the runner has ended, and end what it has left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever ends the runner's processes means this one, too: it is the last
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        groups = groups | {group} if line.startswith("+") else groups - {group}
    until = time.monotonic() + FORCE_SECONDS
    while groups or marked(f"{sys.argv[1]}."):
        send(signal.SIGKILL, groups, marked(f"{sys.argv[1]}."))
        groups = set()
        if time.monotonic() > until:
            break
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
