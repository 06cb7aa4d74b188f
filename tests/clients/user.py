"""A person who uses an agent client: a throw-away home with a project in it, connected by `loominal connect`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.fabric import Fabric

CLIENTS = Path(__file__).parents[2] / ".clients"
PROGRAMS = CLIENTS / "node_modules" / ".bin"
OURS = Path(sys.executable).parent
SECONDS = 200.0  # for a client to come to its end on a loaded machine


class User:
    """One person's home, project and environment; nothing of the caller's own leaks in."""

    def __init__(self, home: Path, fabric: Fabric, project: str) -> None:
        self.home, self.folder, self.project = home, home / project, project
        self.folder.mkdir(parents=True)
        self.environ = {
            "PATH": os.pathsep.join(map(str, (PROGRAMS, OURS, os.defpath))),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "CLIENTS": str(CLIENTS),
            "LOOMINAL_HOME": str(fabric.home),
            "LOOMINAL_PROJECT_ID": project,
        }

    def connect(self, client: str, *options: str) -> None:
        """Let `loominal connect` write the client's configuration, with the tools allowed."""
        self.run("loominal", "connect", client, "--allow", *options)

    def run(self, *command: str, **environ: str) -> str:
        """Return all that a command prints; it must end well."""
        done = subprocess.run(
            command, env=self.environ | environ, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    @asynccontextmanager
    async def running(self, *command: str, **environ: str) -> AsyncIterator[Started]:
        """Yield a command that runs; afterwards it has ended by itself, or is killed if the block failed."""
        log = self.home / "client.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, env=self.environ | environ, cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            yield Started(process, log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Started:
    """A client that runs, and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    async def end(self) -> str:
        """Return what it has printed when it has ended, well."""
        async with asyncio.timeout(SECONDS):
            code = await self._process.wait()
        assert code == 0, self.said
        return self.said


def need(program: str) -> None:
    """Skip the test if the client could not be installed."""
    if not (PROGRAMS / program).exists():
        pytest.skip(f"NOT SHOWN HERE: {program} is not installed; `make clients` installs what can be had")
