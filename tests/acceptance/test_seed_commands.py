"""The commands of Loominal's first README, letter for letter. Its `config` lines are in test_shuttle_config.py."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from tests.acceptance.busy_fleet import busy_fleet
from tests.acceptance.shells import Typing
from tests.integration.conftest import eventually

ARCHITECTURE = """
shuttle submit <task>      # Submit work
shuttle agents list        # View registered agents
shuttle work list          # View work items
shuttle watch <work-id>    # Watch progress in real-time
shuttle targets list       # View spin-up targets
shuttle spin-up <target>   # Manually trigger agent spin-up
shuttle stats              # View coordinator statistics
"""
QUICK_START = """shuttle submit "Implement user authentication" \\
  --boundary personal \\
  --capability typescript
"""
TARGET = ("--mechanism", "local", "--agent-type", "exec", "--boundary", "personal", "--idle", "30s", "--command")
AGENT = f"{sys.executable} -m loominal agent run --client exec -- true"
SECONDS = 60.0


@pytest.mark.timeout(240)
async def test_each_command_does_what_the_first_readme_says(typed: Typing) -> None:
    lines = (*ARCHITECTURE.strip().split("\n"), QUICK_START.replace("\\\n", " "))
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    assert [command[0] for command in commands] == [
        "submit", "agents", "work", "watch", "targets", "spin-up", "stats", "submit",
    ]  # fmt: skip
    async with busy_fleet(typed.agent), typed.operator() as boss:
        made = await typed("targets", "add", "here", *TARGET, AGENT)
        assert made.returncode == 0, made.stderr
        meant = {"<task>": "Count to three", "<work-id>": "parser-1", "<target>": "here"}

        submit, agents, work, watch, targets, spin_up, stats, quick = [
            await typed(*(meant.get(word, word) for word in command)) for command in commands
        ]

        done = (submit, agents, work, watch, targets, spin_up, stats, quick)
        assert [each.returncode for each in done] == [0] * len(done), done
        for offered, text, capabilities in (
            (submit, "Count to three", ()),
            (quick, "Implement user authentication", ("typescript",)),
        ):
            item = await boss.get_work(offered.stdout.strip())
            assert (item.description, item.boundary, item.capabilities) == (text, "personal", capabilities)
        assert all(name in agents.stdout for name in ("ada", "ben", "cid"))
        assert all(text in work.stdout for text in ("Make the parser accept nested comments", "45 % 9 of 20", "dead"))
        assert "three rules are not covered" in watch.stdout
        assert "here" in targets.stdout
        launch = spin_up.stdout.strip()
        await eventually(lambda: _is(typed, launch, "registered"), SECONDS)
        assert "2 claimed" in stats.stdout
        assert (await boss.get_target("here")).name == "here"
        await typed("agents", "shutdown", (await boss.get_spin_up(launch)).agent)
        await eventually(lambda: _is(typed, launch, "stopped"), SECONDS)


async def _is(typed: Typing, launch: str, status: str) -> bool:
    shown = json.loads((await typed("spin-ups", "show", launch, "--json")).stdout)
    return bool(shown["status"] == status)
