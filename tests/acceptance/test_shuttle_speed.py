"""What a command of Shuttle costs, in CPU time beside a bare interpreter's, in turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.client import environment
from bench.suites.warp import cpu_to_end
from tests.acceptance.test_warp_speed import at_most, bare, ratio
from tests.integration.fabric import Fabric

HELP_RATIO, LIST_RATIO = 6.0, 15.0  # the targets; found are 4.4 and 12, but interpreters differ in what a bare one does
SHUTTLE = [sys.executable, "-m", "loominal.shuttle.main"]


def test_help_takes_little_more_than_a_bare_interpreter(tmp_path: Path) -> None:
    alone = environment(tmp_path, "shop")

    at_most(HELP_RATIO, lambda: ratio(lambda: cpu_to_end([*SHUTTLE, "--help"], alone), lambda: bare(alone)))


def test_a_list_takes_a_few_times_what_a_bare_interpreter_takes(fabric: Fabric) -> None:
    here = environment(fabric.home, "listed")

    at_most(LIST_RATIO, lambda: ratio(lambda: cpu_to_end([*SHUTTLE, "work", "list"], here), lambda: bare(here)))


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        (["--help"], "{'rich', 'asyncio', 'msgspec', 'nats'}"),
        (["work", "list", "--json"], "{'rich', 'nats.js.api', 'importlib.metadata', 'aiohttp'}"),
    ],
)
def test_what_a_command_does_not_need_is_not_loaded(fabric: Fabric, command: list[str], unwanted: str) -> None:
    code = (
        "import sys; from loominal.shuttle.main import main\n"
        f"sys.argv = ['shuttle', *{command}]\n"
        f"try: main()\nfinally: print({unwanted} & set(sys.modules), file=sys.stderr)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(fabric.home, "listed"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ran.stderr.splitlines()[-1] == "set()"
