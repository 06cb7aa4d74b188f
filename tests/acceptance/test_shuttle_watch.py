"""`shuttle watch`: items followed to their end, on a terminal, in a pipe, as events, while the fabric is gone."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from loominal.fabric.client.agent import Agent
from tests.acceptance.shells import Shell, Typing
from tests.integration.fabric import Fabric
from tests.screen import Screen

SECONDS = 45.0
COLUMNS, LINES = 80, 24


class OnFabric(Shell):
    """A shell on a fabric whose processes the test may kill."""

    def __init__(self, fabric: Fabric, directory: Path) -> None:
        super().__init__(directory)
        self._fabric = fabric

    @property
    def home(self) -> Path:
        return self._fabric.home


@pytest.fixture
def shell(fabric: Fabric, tmp_path: Path) -> Shell:
    return OnFabric(fabric, tmp_path)


class Running:
    """A command that runs beside the test; what it writes is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = b""
        self.err = b""

    @property
    def lines(self) -> list[str]:
        return self.out.decode(errors="replace").splitlines()

    @property
    def said(self) -> str:
        return self.err.decode(errors="replace")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds()` does."""
        try:
            async with asyncio.timeout(SECONDS):
                while not holds():
                    assert self.process.returncode is None or holds(), (self.out[-2000:], self.err[-2000:])
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError((self.out[-2000:], self.err[-2000:])) from None

    async def shows(self, text: str) -> None:
        """Return when `text` was written."""
        await self.until(lambda: text.encode() in self.out)

    async def says(self, text: str) -> None:
        """Return when `text` was said on stderr."""
        await self.until(lambda: text.encode() in self.err)

    async def ended(self) -> int:
        """Return the exit code."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


def _typed(typed: Typing, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environ = os.environ | {"LOOMINAL_HOME": str(typed.shell.home), "LOOMINAL_PROJECT_ID": typed.project}
    environ |= {"TERM": "xterm-256color"}
    return [sys.executable, "-m", "loominal.shuttle.main", *arguments], environ


@asynccontextmanager
async def piped(typed: Typing, *arguments: str) -> AsyncIterator[Running]:
    """Yield `shuttle` with its output in pipes."""
    command, environ = _typed(typed, *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Running(process)
    assert process.stdout
    assert process.stderr

    async def read_out(stream: asyncio.StreamReader) -> None:
        while data := await stream.read(1 << 16):
            running.out += data

    async def read_err(stream: asyncio.StreamReader) -> None:
        while data := await stream.read(1 << 16):
            running.err += data

    async with asyncio.TaskGroup() as group:
        group.create_task(read_out(process.stdout))
        group.create_task(read_err(process.stderr))
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class OnTerminal(Running):
    """A command on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, ours: int) -> None:
        super().__init__(process)
        self._ours = ours

    @property
    def screen(self) -> Screen:
        """What has been written, as it stands on the screen."""
        screen = Screen(COLUMNS, LINES)
        screen.write(self.out.decode(errors="ignore"))
        return screen

    def read(self) -> None:
        with suppress(OSError):  # it has ended
            self.out += os.read(self._ours, 1 << 16)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)


@asynccontextmanager
async def on_terminal(typed: Typing, *arguments: str) -> AsyncIterator[OnTerminal]:
    """Yield `shuttle` on a terminal, whose modes are as they were in the end."""
    command, environ = _typed(typed, *arguments)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    before = termios.tcgetattr(theirs)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONTROLLED, *command, env=environ, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    running = OnTerminal(process, ours)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, running.read)
    try:
        yield running
        assert termios.tcgetattr(theirs) == before
        assert not running.screen.hidden
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


CONTROLLED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


@asynccontextmanager
async def crew(typed: Typing) -> AsyncIterator[tuple[Agent, Agent]]:
    """Yield who offers and who knits."""
    async with typed.agent("boss") as boss, typed.agent("ada", capabilities=["knit"], max_concurrent=20) as ada:
        yield boss, ada


async def offered(boss: Agent, count: int) -> list[str]:
    room = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        async with room:
            offer = await boss.broadcast_work_offer(f"row {number}", capabilities=["knit"], notify="none")
            return offer.id

    return await asyncio.gather(*(one(number) for number in range(count)))


async def claimed(ada: Agent, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(ada.holds) < count:
            await ada.claim_work(wait_seconds=5, limit=10)


def events(running: Running) -> list[Any]:  # Any: JSON
    return [json.loads(line) for line in running.lines]


async def test_in_a_pipe_each_change_has_a_line_and_a_dead_item_fails_the_command(typed: Typing) -> None:
    async with crew(typed) as (boss, ada):
        good, bad = items = await offered(boss, 2)
        async with piped(typed, "watch", *items) as watch, piped(typed, "watch", "-q", *items) as quiet:
            await watch.until(lambda: len(watch.lines) == 2)
            await claimed(ada, 2)
            await watch.shows(f"{bad}  claimed")
            await watch.shows(f"{good}  claimed")
            await ada.report_progress(good, percent=40, message="half a row")
            await ada.complete_work(good, "a scarf\nin red")
            await watch.shows(f"{good}  done       a scarf in red\n")
            await ada.fail_work(bad, "no wool", retryable=False)

            assert [await watch.ended(), await quiet.ended()] == [1, 1]

    lines = [line.split(maxsplit=2)[:2] for line in watch.lines]
    assert [status for item, status in lines if item == bad] == ["ready", "claimed", "dead"]
    assert watch.lines[-1] == f"{bad}  dead       not_retryable: no wool"
    assert quiet.lines == [f"{good}  done       a scarf in red", f"{bad}  dead       not_retryable: no wool"]
    assert watch.said == quiet.said == ""


async def test_as_json_events_come_a_line_each_and_end_with_the_work(typed: Typing) -> None:
    async with crew(typed) as (boss, ada):
        [item] = await offered(boss, 1)
        async with piped(typed, "watch", "--json", item) as watch:
            await watch.shows("work:submitted")
            await claimed(ada, 1)
            await watch.shows("work:claimed")
            await ada.report_progress(item, percent=40, message="half a row")
            await watch.shows("work:progress")
            await ada.complete_work(item, "a scarf", result={"rows": 80})

            assert await watch.ended() == 0

    told = events(watch)
    assert [event["type"] for event in told] == [
        f"work:{each}" for each in ("submitted", "claimed", "progress", "completed")
    ]
    assert {(event["projectId"], event["data"]["id"]) for event in told} == {(typed.project, item)}
    assert told[2]["data"]["progress"]["message"] == "half a row"
    assert (told[3]["data"]["summary"], told[3]["data"]["result"]) == ("a scarf", {"rows": 80})
    assert all(event["at"].endswith("Z") for event in told)


async def test_what_has_ended_is_told_at_once_and_what_is_not_there_refused_before_anything(
    typed: Typing, tmp_path: Path
) -> None:
    async with crew(typed) as (boss, _):
        item = (await boss.broadcast_work_offer("row", task_id="my-row", capabilities=["knit"], notify="none")).id
        missing, late, alone = await asyncio.gather(
            typed("watch", item, "nothing"),
            typed("watch", item, "--timeout", "0s"),
            typed("watch", item, LOOMINAL_HOME=str(tmp_path)),
        )
        await boss.cancel_work(item)
        ended = await typed("watch", "--json", item, "my-row", "--timeout", "0s")
    usages: list[tuple[str, ...]] = [(), (item, "--timeout", "soon"), (item, "--all-projects")]
    wrong = await asyncio.gather(*(typed("watch", *arguments) for arguments in usages))

    assert (missing.returncode, missing.stdout) == (3, "")
    assert "'nothing'" in missing.stderr
    assert "`shuttle work list`" in missing.stderr
    assert (late.returncode, late.stderr) == (1, "shuttle: 1 of 1 have not ended within 0 s\n")
    assert (alone.returncode, alone.stdout) == (5, "")
    assert ended.stderr == ""
    assert (ended.returncode, [json.loads(line)["type"] for line in ended.stdout.splitlines()]) == (
        1,
        ["work:cancelled"],
    )
    assert [each.returncode for each in wrong] == [2, 2, 2]


async def test_on_a_terminal_bars_are_drawn_in_place_and_end_by_themselves(typed: Typing) -> None:
    async with crew(typed) as (boss, ada):
        items = await offered(boss, 3)
        async with (
            on_terminal(typed, "watch", *items) as watch,
            on_terminal(typed, "watch", "--no-color", items[0]) as plain,
        ):
            await watch.until(lambda: len(watch.screen.shown) == 3)
            await claimed(ada, 3)
            for item in items:
                await ada.report_progress(item, percent=50, message="half\x1b[2J a row " * 10)
            await watch.until(lambda: all("████░░░░  50 %  ada half" in line for line in watch.screen.shown))
            await plain.shows("50 %")
            drawn = watch.screen
            for item in items:
                await ada.complete_work(item, "a scarf " * 20)

            assert [await watch.ended(), await plain.ended()] == [0, 0]
            await watch.shows("OUTCOME")
            await plain.shows("OUTCOME")
            screen = watch.screen

    assert (drawn.wrapped, drawn.strange, len(drawn.shown)) == (0, [], 3)
    assert (screen.wrapped, screen.strange) == (0, [])
    assert [line.split()[:3] for line in screen.shown[1:]] == [[item, "done", "a"] for item in items]
    assert b"\x1b[33m" in watch.out
    assert b"\x1b[33m" not in plain.out


async def test_an_interrupted_watch_says_that_the_work_goes_on_and_leaves_the_terminal_as_it_was(typed: Typing) -> None:
    async with crew(typed) as (boss, _):
        [item] = await offered(boss, 1)
        async with on_terminal(typed, "watch", item) as watch, piped(typed, "watch", item) as other:
            await watch.shows("ready")
            await other.shows("ready")
            watch.type(b"\x03")
            other.process.send_signal(signal.SIGINT)

            assert [await watch.ended(), await other.ended()] == [130, 130]
            await watch.shows("shows it again")
        assert (await boss.get_work(item)).status == "ready"

    picture, said = watch.screen.shown
    assert picture.startswith(f"{item}  ready")
    assert said == f"the work goes on; `shuttle watch {item}` shows it again"[:COLUMNS]
    assert other.said.rstrip() == f"the work goes on; `shuttle watch {item}` shows it again"


async def test_two_hundred_items_are_counted_on_a_terminal_and_all_told_in_a_pipe(typed: Typing) -> None:
    async with crew(typed) as (boss, ada):
        items = await offered(boss, 200)
        async with on_terminal(typed, "watch", *items) as watch, piped(typed, "watch", "--json", *items) as told:
            await watch.shows("0/200 done · 200 ready")
            await told.until(lambda: len(told.lines) == 200)
            await claimed(ada, 10)
            await watch.until(lambda: any("10 claimed" in line for line in watch.screen.shown))
            summary, *running = watch.screen.shown
            for _ in items:
                await claimed(ada, 1)
                await ada.complete_work(ada.holds[0], "a scarf")

            assert [await watch.ended(), await told.ended()] == [0, 0]
            await watch.shows("200/200 done")

    assert "190 ready" in summary
    assert {line.split()[0] for line in running} <= set(items)
    assert len(running) == 10
    assert (watch.screen.wrapped, watch.screen.strange) == (0, [])
    assert watch.screen.shown == ["200/200 done"]
    ends = [event["data"]["id"] for event in events(told) if event["type"] == "work:completed"]
    assert (len(ends), set(ends)) == (200, set(items))


async def test_a_fabric_that_is_gone_is_waited_for_until_the_time_is_over(typed: Typing, fabric: Fabric) -> None:
    async with crew(typed) as (boss, ada):
        [item] = await offered(boss, 1)
        async with piped(typed, "watch", item) as patient:
            await patient.shows("ready")
            async with piped(typed, "watch", item, "--timeout", "7s") as hasty:
                await hasty.shows("ready")
                fabric.freeze(fabric.weft)
                await patient.says("the fabric does not answer")
                assert await hasty.ended() == 5
            fabric.thaw(fabric.weft)
            await patient.says("the fabric answers again")
            await claimed(ada, 1)
            await ada.complete_work(item, "a scarf")

            assert await patient.ended() == 0
            await patient.shows(f"{item}  done       a scarf\n")

    assert patient.said.count("does not answer") == 1
    assert [line.partition(":")[0] for line in hasty.said.splitlines() if not line.startswith(" ")][-1] == "shuttle"
