"""A directory in which commands are typed; the fixture `shell` of `conftest.py` is one with a fabric."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 60


class Shell:
    """A directory in which commands are typed, with a fabric of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def home(self) -> Path:
        return self.directory / "home"

    def run(self, *command: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            env=os.environ | {"LOOMINAL_HOME": str(self.home)} | environment,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def shuttle(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("loominal.shuttle.main", *arguments, stdin=stdin, **environment)
