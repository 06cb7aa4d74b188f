"""`shuttle top` in a terminal: what it shows, what keys do, and that the terminal is given back on every way out."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.screens import Terminal, terminal
from tests.integration.fabric import Fabric

SHUTTLE = [sys.executable, "-m", "loominal.shuttle.main"]
HOSTILE = "card\x1b[2J\x1b]0;evil\x07\u202e the\nwool"
PROCESS = re.compile(r"\[1\] (\d+)")


async def shuttle(fabric: Fabric, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; agents of this process live on meanwhile."""
    ended = await asyncio.to_thread(
        subprocess.run, [*SHUTTLE, *arguments], env=os.environ | {"LOOMINAL_HOME": str(fabric.home), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


async def printed(fabric: Fabric, *arguments: str) -> str:
    code, out, error = await shuttle(fabric, *arguments)
    assert code == 0, error
    return out


@asynccontextmanager
async def top(
    fabric: Fabric, project: str, directory: Path, *flags: str, columns: int = 80, lines: int = 24
) -> AsyncIterator[Terminal]:
    """Yield a terminal in which `top` shows a project."""
    async with terminal(directory, columns, lines, LOOMINAL_HOME=str(fabric.home)) as played:
        played.type(" ".join([*SHUTTLE, "-p", project, "top", *flags]) + "\r")
        await played.until(lambda screen: screen.alternate and "answers in" in screen.lines[0], "top is there")
        played.screen.wrapped = 0  # the command was long
        yield played


async def the_shell_is_back(played: Terminal, before: list[object]) -> None:
    await played.until(lambda screen: not screen.alternate, "the main screen is back")
    await played.until(lambda _: played.modes == before, "the terminal's modes are as before")
    assert (played.screen.hidden, played.screen.wraps) == (False, True)


async def test_it_draws_on_a_terminal_only_and_prints_one_document_for_programs(fabric: Fabric, project: str) -> None:
    async with fabric.connect("ann", project=project, capabilities=["python"]) as ann:
        item = await ann.broadcast_work_offer("card", required_capability="weaving")

        code, nothing, error = await shuttle(fabric, "-p", project, "top")
        one = json.loads(await printed(fabric, "-p", project, "top", "--json"))
        every = json.loads(await printed(fabric, "top", "--json", "-A"))

    assert (code, nothing) == (2, "")
    assert "shuttle stats" in error
    [shot] = one["projects"]
    assert (shot["project"], shot["stats"]["work"]["ready"], shot["agents"][0]["handle"]) == (project, 1, "ann")
    assert shot["items"][0]["id"] == item.id
    assert shot["items"][0]["waitsFor"]
    assert every["total"] >= 1
    assert project in {each["project"] for each in every["projects"]}


async def test_counts_and_projects_are_printed(fabric: Fabric, project: str) -> None:
    async with fabric.connect("ann", project=project, capabilities=["python"]) as ann:
        await ann.broadcast_work_offer("card", required_capability="weaving")

        text = await printed(fabric, "-p", project, "stats")
        [counted] = json.loads(await printed(fabric, "-p", project, "stats", "--json"))["projects"]
        every = (await printed(fabric, "-p", project, "stats", "-A")).splitlines()
        known = json.loads(await printed(fabric, "-p", project, "projects", "--json"))
        table = (await printed(fabric, "-p", project, "projects", "-A")).splitlines()

    assert "agents        1 o" in text  # online, or offline on a machine that is slow
    assert "1 ready" in text
    assert (counted["project"], counted["loaded"], counted["work"]["ready"]) == (project, True, 1)
    assert [line.split()[2] for line in every if line.startswith(f"{project} ")] == ["1"]
    assert {"projectId": counted["projectId"], "project": project} in known["projects"]
    assert known["total"] == len(known["projects"])
    assert [line.split()[1:] for line in table if line.startswith("*")] == [[project, counted["projectId"]]]


async def test_agents_and_work_are_shown_with_why_it_waits_narrowed_and_scrolled(
    fabric: Fabric, project: str, tmp_path: Path
) -> None:
    async with (
        fabric.connect("ann", project=project, agent_type="codex", capabilities=["python"]) as ann,
        top(fabric, project, tmp_path, "--interval", "0.3") as played,
    ):
        await ann.broadcast_work_offer(HOSTILE, required_capability="carding")
        mine = await ann.broadcast_work_offer("spin the wool", required_capability="python")
        for number in range(30):
            await ann.broadcast_work_offer(f"weave length {number}", required_capability="weaving")
        await ann.claim_work()
        await ann.report_progress(mine.id, percent=40, message="half a bobbin")

        await played.shows("1 online", "31 ready, 1 claimed", "[1 Agents 1]", "ann", "codex")
        played.type("2")
        await played.shows("[2 Work 32]", mine.id, "40 % half a bobbin", "No agent can take", "1-12 of 32")
        assert (len(played.screen.lines), played.screen.wrapped) == (24, 0)
        assert "─" * 80 in played.screen.lines  # to the last column

        played.type("\x1b[F")
        await played.shows("21-32 of 32", "registered", "'carding'", "[2J", "]0;evil")
        played.type("\x1b[H")
        await played.shows("1-12 of 32", "description: spin the wool")

        played.type("/length 7")
        await played.shows("/length 7_  1-1 of 1")
        played.type("\x1b")
        await played.shows("1-12 of 32")
        played.type("/capability=carding")
        await played.shows("1-1 of 1", "id: ")
        played.type("\x1bs")
        await played.shows("1-1 of 1, only claimed")

        played.type("\x1b")
        played.resize(200, 50)
        await played.until(lambda screen: (len(screen.lines), screen.wrapped) == (50, 0), "all of the screen is used")
        await played.shows("1-32 of 32", "weave length 29")
        played.type("?")
        await played.shows("Ctrl-Z")
        played.type("xq")
        await played.until(lambda screen: not screen.alternate, "top has ended")


@pytest.mark.parametrize(
    ("way", "code"),
    [("q", 0), ("\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["q", "Ctrl-C", "SIGTERM", "SIGHUP"],
)
async def test_the_terminal_is_given_back_on_every_way_out(
    fabric: Fabric, project: str, tmp_path: Path, way: str | signal.Signals, code: int
) -> None:
    async with terminal(tmp_path, LOOMINAL_HOME=str(fabric.home)) as played:
        before = played.modes
        played.type(" ".join([*SHUTTLE, "-p", project, "top"]) + " & echo; fg\r")
        await played.until(lambda screen: screen.alternate and "answers in" in screen.lines[0], "top is there")
        assert played.modes != before
        if isinstance(way, str):
            played.type(way)
        else:
            found = PROCESS.search("\n".join(played.screen.main))
            assert found
            os.kill(int(found[1]), way)

        await the_shell_is_back(played, before)
        played.type("echo left with $?\r")
        await played.shows(f"left with {code}")


async def test_ctrl_z_gives_the_terminal_back_and_fg_draws_again(fabric: Fabric, project: str, tmp_path: Path) -> None:
    async with terminal(tmp_path, LOOMINAL_HOME=str(fabric.home)) as played:
        before = played.modes
        played.type(" ".join([*SHUTTLE, "-p", project, "top", "--no-color"]) + "\r")
        await played.until(lambda screen: screen.alternate and "answers in" in screen.lines[0], "top is there")

        played.type("\x1a")
        await the_shell_is_back(played, before)
        await played.shows("Stopped")
        played.type("fg\r")
        await played.until(lambda screen: screen.alternate and "answers in" in screen.lines[0], "top is back")
        played.type("q")
        await the_shell_is_back(played, before)
        assert "7" in played.screen.styles  # reversed, which is no colour
        assert not any(re.fullmatch("[349][0-7]", style) for style in played.screen.styles)


async def test_it_asks_as_often_as_it_is_told_and_when_a_key_is_pressed(
    fabric: Fabric, project: str, tmp_path: Path
) -> None:
    async with (
        fabric.connect("ann", project=project, capabilities=["python"]) as ann,
        top(fabric, project, tmp_path, "--interval", "3600") as seldom,
        top(fabric, project, tmp_path, "--interval", "0.2") as often,
    ):
        await seldom.shows("1 online")
        await ann.broadcast_work_offer("card", required_capability="weaving")

        await often.shows("1 ready")
        assert not any("1 ready" in line for line in seldom.screen.lines)
        seldom.type("2")
        await seldom.shows("1 ready", "card")
        assert "32" in seldom.screen.styles  # green


async def test_a_fabric_that_is_gone_is_said_and_seen_again_when_it_is_back(
    fabric: Fabric, project: str, tmp_path: Path
) -> None:
    async with top(fabric, project, tmp_path, "--interval", "0.3") as played:
        fabric.kill_broker()
        await played.shows("no answer for", "still trying", "broker")
        fabric.start_broker()
        await played.until(lambda screen: "answers in" in screen.lines[0], "it answers again")
        played.type("q")
        await played.until(lambda screen: not screen.alternate, "top has ended")


async def test_who_does_not_answer_and_who_does_not_read_keep_nobody_from_leaving(
    fabric: Fabric, project: str, tmp_path: Path
) -> None:
    async with terminal(tmp_path, 200, 50, LOOMINAL_HOME=str(fabric.home)) as played:
        before = played.modes
        played.type(" ".join([*SHUTTLE, "-p", project, "top"]) + "& echo; fg\r")
        await played.until(lambda screen: screen.alternate and "answers in" in screen.lines[0], "top is there")
        process = PROCESS.search("\n".join(played.screen.main))
        assert process
        fabric.freeze(fabric.broker)
        try:
            played.stop_reading()
            for columns in range(150, 200):  # each is drawn anew, which is more than a terminal keeps
                played.resize(columns, 50)
                os.kill(int(process[1]), signal.SIGWINCH)
                await asyncio.sleep(0.01)
            os.kill(int(process[1]), signal.SIGTERM)
            async with asyncio.timeout(20):
                while played.modes != before:  # noqa: ASYNC110 - another process changes them
                    await asyncio.sleep(0.05)
        finally:
            fabric.thaw(fabric.broker)


async def test_an_exception_gives_the_terminal_back(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(
        "from loominal.shuttle.top.screen import Screen\n"
        "with Screen.open(colours=True) as screen:\n"
        "    screen.enter()\n"
        "    raise ZeroDivisionError\n"
    )
    async with terminal(tmp_path) as played:
        before = played.modes
        played.type(f"{sys.executable} fails.py\r")

        await played.shows("ZeroDivisionError")
        await the_shell_is_back(played, before)


async def test_all_projects_are_shown_together(fabric: Fabric, project: str, tmp_path: Path) -> None:
    async with (
        fabric.connect("ann", project=project, capabilities=["python"]) as ann,
        fabric.connect("bea", project=f"{project}-b", capabilities=["go"]) as bea,
    ):
        await ann.broadcast_work_offer("card", required_capability="weaving")
        await bea.broadcast_work_offer("spin", required_capability="weaving")
        async with top(fabric, project, tmp_path, "-A", columns=200, lines=50) as played:
            await played.shows("PROJECT", f"{project}  ", f"{project}-b", "ann", "bea")
            played.type("2")
            await played.shows("card", "spin")


@pytest.mark.parametrize("command", [("stats",), ("projects",), ("top", "--json")])
def test_without_a_fabric_they_end_with_5(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [*SHUTTLE, *command], env=os.environ | {"LOOMINAL_HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (5, "")
    assert "loominal up" in ended.stderr


async def test_an_interval_that_is_none_is_a_mistake(fabric: Fabric) -> None:
    code, _, error = await shuttle(fabric, "top", "--interval", "0", "--json")

    assert (code, "--interval" in error) == (2, True)
