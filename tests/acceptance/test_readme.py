"""What the README tells people to type does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.acceptance.busy_fleet import busy_fleet
from tests.acceptance.pages import DOCS, blocks
from tests.acceptance.shells import Typing
from tests.acceptance.transcripts import missing

README = (Path(__file__).parents[2] / "README.md").read_text()
SECONDS = 60


def run(*command: str, environment: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_readmes_commands_and_program_run_as_they_stand(tmp_path: Path) -> None:
    environment = os.environ | {"LOOMINAL_HOME": str(tmp_path / "home")}
    programs = Path(sys.executable).parent
    typed = re.findall(r"^    \.venv/bin/(.+)$", README, re.MULTILINE)
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "program.py").write_text(program)

    said = {}
    try:
        for line in typed:
            if line.startswith("shuttle submit"):
                said["program"] = run(sys.executable, "program.py", environment=environment, cwd=tmp_path)
            name, *arguments = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)]
            said[line] = run(str(programs / name), *arguments, environment=environment, cwd=tmp_path)
    finally:
        run(str(programs / "loominal"), "down", environment=environment, cwd=tmp_path)

    assert "Your work item" in said["program"]
    assert "{'count': [1, 2, 3]}" in said["program"]
    assert "Count to three" in said["shuttle work list"]


async def test_the_first_screen_is_what_a_person_sees(typed: Typing) -> None:
    [screen] = blocks(README, "text")
    shown = dict(zip(*[iter(re.split(r"^\$ shuttle (.+)\n", screen, flags=re.MULTILINE)[1:])] * 2, strict=True))

    wrong = {}
    async with busy_fleet(typed.agent):
        for command, lines in shown.items():
            if command.startswith("watch"):  # which goes on until all have ended
                told = (DOCS / "terminals.md").read_text()
            else:
                done = await typed(*shlex.split(command))
                told = done.stdout + done.stderr
            if left := missing(lines, told):
                wrong[command] = (left, told)

    assert not wrong
