"""With nothing running, a warp's first need starts the local fabric: one for all, and it ends when nobody uses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.client.connect import connect
from loominal.fabric.runtime_file import machine_credential_path, read_runtime, write_runtime
from loominal.local.home import supervisor_pid
from loominal.local.processes import running
from tests.acceptance.warps import Warp, warp
from tests.integration.conftest import eventually
from tests.patience import SOON
from tests.ports import free_port

Json = Any  # Any: JSON


def loominal(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `loominal` in a home."""
    return subprocess.run(
        [sys.executable, "-m", "loominal", *arguments],
        env=os.environ | {"LOOMINAL_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty home; whatever runs in it ends with the test."""
    yield tmp_path / "home"
    assert loominal(tmp_path / "home", "down").returncode == 0


async def joined(user: Warp) -> Json:
    """Return what a join answers once it succeeds: a fabric that ends at this moment is started again."""
    answers: list[Json] = []

    async def succeeds() -> bool:
        answers.append(await user.tool("join"))
        return "agent" in answers[-1]

    await eventually(succeeds, SOON)
    return answers[-1]


def kinds(home: Path) -> list[str]:
    return [process.what for process in running(home)]


async def test_four_that_start_together_start_one_fabric(home: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        started = [await stack.enter_async_context(warp(home)) for _ in range(4)]
        joined = await asyncio.gather(*(each.tool("join") for each in started))

        assert len({each["agent"]["guid"] for each in joined}) == 4, joined
        assert kinds(home) == ["weft", "broker"]
        assert (home / "idle-exit").read_text() == "1800.0"


async def test_one_that_is_only_looked_at_connects_in_the_background(home: Path) -> None:
    async with warp(home):
        await eventually(lambda: read_runtime(home) is not None, SOON)


async def test_a_fabric_whose_processes_were_killed_is_started_again(home: Path) -> None:
    async with warp(home) as first:
        assert "agent" in await first.tool("join")
    supervisor = supervisor_pid(home)
    assert supervisor
    os.kill(supervisor, signal.SIGSTOP)  # so that it restarts nothing, and weft does not see it go
    for process in running(home):
        os.kill(process.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    await eventually(lambda: supervisor_pid(home) is None)

    async with warp(home) as second:
        assert "agent" in await second.tool("join")


async def test_what_is_to_end_by_itself_does_so_once_nobody_uses_it(home: Path) -> None:
    assert loominal(home, "up", "--detach", "--idle-exit", "3s").returncode == 0
    async with warp(home) as user:
        await joined(user)
        offer = await user.tool("broadcast_work_offer", description="x", requiredCapability="y")
        await asyncio.sleep(6)  # twice as long as it may be idle: it is the passing of time that must change nothing
        assert kinds(home) == ["weft", "broker"]
        await user.tool("cancel_work", workId=offer["id"])

    await eventually(lambda: kinds(home) == [] and read_runtime(home) is None, SOON)


async def test_a_fabric_with_open_work_stays_and_so_does_one_that_a_person_brought_up(home: Path) -> None:
    assert loominal(home, "up", "--detach", "--idle-exit", "1s").returncode == 0
    async with warp(home) as user:
        await joined(user)
        offer = await user.tool("broadcast_work_offer", description="x", requiredCapability="y")
    await asyncio.sleep(3)  # again it is time that must change nothing
    assert kinds(home) == ["weft", "broker"]

    assert loominal(home, "up", "--detach").returncode == 0
    await eventually(lambda: not (home / "idle-exit").exists(), SOON)
    async with warp(home) as user:
        await joined(user)
        await user.tool("cancel_work", workId=offer["id"])
    await asyncio.sleep(3)
    assert kinds(home) == ["weft", "broker"]


async def test_next_to_a_broker_that_was_named_nothing_is_started(home: Path, tmp_path: Path) -> None:
    settings = ServerSettings(directory=tmp_path / "foreign", port=free_port())
    settings.directory.mkdir()
    async with EmbeddedServer(settings) as server, warp(home, NATS_URL=server.url) as user:
        assert (await user.tool("join"))["error"]["code"] == "hub_unavailable"

    assert read_runtime(home) is None


async def test_a_fabric_that_cannot_start_says_why(home: Path) -> None:
    home.write_text("no directory")  # noqa: ASYNC240 - a small local file
    async with warp(home) as user:
        error = (await user.tool("join"))["error"]

    assert str(home) in error["message"]
    home.unlink()  # noqa: ASYNC240 - the same


async def test_an_idle_fabric_goes_on_for_who_found_it_at_the_last_moment(home: Path, tmp_path: Path) -> None:
    assert loominal(home, "up", "--detach", "--idle-exit", "1s").returncode == 0
    found, supervisor = read_runtime(home), supervisor_pid(home)
    assert found is not None
    late = tmp_path / "late"  # what a program has read that found the fabric
    late.mkdir(mode=0o700)
    write_runtime(late, found)
    shutil.copy(machine_credential_path(home), machine_credential_path(late))
    await eventually(lambda: read_runtime(home) is None, SOON)

    async with connect("ann", project="shop", home=late):
        await eventually(lambda: read_runtime(home) == found, SOON)
        assert (kinds(home), supervisor_pid(home)) == (["weft", "broker"], supervisor)

    await eventually(lambda: kinds(home) == [] and read_runtime(home) is None, SOON)
