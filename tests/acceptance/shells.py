"""A directory in which commands are typed; the fixture `shell` of `conftest.py` is one with a fabric."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from loominal.fabric.client.agent import Agent
from loominal.fabric.client.connect import connect

SECONDS = 60


class Shell:
    """A directory in which commands are typed, with a fabric of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def environ(self) -> dict[str, str]:
        """What commands find: no terminal's width among it, which pytest may have set for itself."""
        return {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {
            "LOOMINAL_HOME": str(self.home)
        }

    def run(self, *command: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            env=self.environ | environment,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def shuttle(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("loominal.shuttle.main", *arguments, stdin=stdin, **environment)


class Typing:
    """Commands typed in one project of a shell's fabric, while agents of the test go on beside them."""

    def __init__(self, shell: Shell, project: str) -> None:
        self.shell = shell
        self.project = project

    async def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            self.shell.shuttle, *arguments, stdin=stdin, **{"LOOMINAL_PROJECT_ID": self.project, **environment}
        )

    async def json(self, *arguments: str, stdin: str = "") -> Any:  # Any: what a command prints is JSON
        done = await self(*arguments, "--json", stdin=stdin)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def agent(self, handle: str, **registration: Any) -> AbstractAsyncContextManager[Agent]:  # Any: whatever it takes
        """Be an agent of the project in this process."""
        return connect(handle, project=self.project, home=self.shell.home, **{"capabilities": ["any"], **registration})

    async def answered(self, answer: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Return what comes of a command that asks on its terminal, and is answered so."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, f"{answer}\n".encode())  # the terminal keeps it until somebody reads
            return await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "loominal.shuttle.main", *arguments],
                env=self.shell.environ | {"LOOMINAL_PROJECT_ID": self.project},
                stdin=theirs,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)

    def operator(self) -> AbstractAsyncContextManager[Agent]:
        """Look at the project as an operator whom nobody sees."""
        return connect(project=self.project, home=self.shell.home, operator=True, person=True, client="looker")
