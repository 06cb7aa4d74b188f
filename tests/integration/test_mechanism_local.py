"""The mechanism `local`: agents are processes of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from loominal.model.errors import StartFailed, Unreachable
from loominal.model.launch import Condition
from loominal.model.mechanism import LocalConfig, Mechanism
from loominal.weft.mechanisms import MECHANISMS
from loominal.weft.mechanisms.local import Local
from loominal.weft.mechanisms.means import Means
from loominal.weft.weft_file import Allow
from tests.command_conformance import MindsProcesses, RunsCommands, agent, agents, processes
from tests.integration.conftest import eventually
from tests.mechanism_conformance import Got, an_order
from tests.patience import SOON

STARTER = """
import asyncio, os, sys
from pathlib import Path
import msgspec
from loominal.model.launch import Order
from loominal.model.mechanism import LocalConfig
from loominal.weft.mechanisms.local import Local
from loominal.weft.mechanisms.means import Means
from loominal.weft.weft_file import Allow

async def main(home, config, order):
    means = Means(allow=Allow(mechanisms=("local",)), home=Path(home), environ=os.environ)
    config, order = msgspec.json.decode(config, type=LocalConfig), msgspec.json.decode(order, type=Order)
    print(await Local(means).start(config, order))
    sys.stdout.flush()
    os.kill(os.getpid(), 9)

asyncio.run(main(*sys.argv[1:]))
"""


class LocalPlace:
    """This machine, with a home of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "work"
        self.folder.mkdir()
        self.launches = directory / "home" / "launches"
        secrets = {"SECRET": "s", "NATS_PASS": "s", "API_TOKEN": "s", "LOOMINAL_HOME": "/", "UNLENT": "s"}
        self.means = Means(
            allow=Allow(mechanisms=(Mechanism.LOCAL,), env=("LENT",)),
            home=directory / "home",
            environ={**os.environ, **secrets, "LENT": "of weft"},
        )

    def driver(self) -> Local:
        return Local(self.means)

    def running(self, *command: str, cwd: str = "", **env: str) -> LocalConfig:
        return LocalConfig(command=command, cwd=cwd, env=env)

    def config(self) -> LocalConfig:
        return self.running(*agent(self.folder))

    def broken(self) -> tuple[LocalConfig, str]:
        return self.running("no-such-agent"), "there is no program 'no-such-agent'"

    def forbidden(self) -> tuple[Local, LocalConfig]:
        return Local(Means(allow=Allow(), home=self.means.home, environ=os.environ)), self.config()

    def started(self, launch: str) -> list[Got]:
        return agents(self.folder, launch)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LocalPlace]:
    """Yield a place, and leave nothing running there."""
    place = LocalPlace(tmp_path)
    yield place
    launches = [path.name for path in place.launches.glob("*")] if place.launches.exists() else []
    for pid in (pid for launch in launches for pid in processes(launch)):
        os.kill(pid, signal.SIGKILL)


class TestLocal(RunsCommands, MindsProcesses):
    """All that is asked of a mechanism that runs commands."""

    async def test_it_outlives_whoever_started_it_and_is_found_by_others(self, place: LocalPlace) -> None:
        order = an_order()
        arguments = [str(place.means.home), *map(_json, (place.config(), order))]

        starter = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STARTER, *arguments, stdout=subprocess.PIPE
        )
        said, _ = await starter.communicate()

        assert starter.returncode == -signal.SIGKILL
        await eventually(lambda: bool(place.started(order.launch)), SOON)
        seen = await place.driver().look(place.config(), order.launch, "")
        assert (seen.condition, seen.reference) == (Condition.RUNNING, said.decode().strip())

    async def test_a_target_of_another_machine_is_left_to_its_own_weft(self, place: LocalPlace) -> None:
        config = LocalConfig(command=agent(place.folder), host="elsewhere")

        with pytest.raises(StartFailed, match="for the machine elsewhere"):
            await place.driver().start(config, an_order())
        with pytest.raises(StartFailed, match="for the machine elsewhere"):
            await place.driver().check(config)
        with pytest.raises(Unreachable, match="only a weft on elsewhere"):
            await place.driver().look(config, "l_1", "")
        with pytest.raises(Unreachable, match="only a weft on elsewhere"):
            await place.driver().stop(config, "l_1", "", grace_seconds=1)

    async def test_this_machine_may_be_named(self, place: LocalPlace) -> None:
        config = LocalConfig(command=("sleep", "600"), host=place.means.host.upper())

        assert await place.driver().check(config) == f"'sleep' can be started on {place.means.host}"

    async def test_a_home_that_cannot_be_written_is_told(self, place: LocalPlace) -> None:
        place.means.home.write_text("a file")

        with pytest.raises(StartFailed, match="folder for launches cannot be written"):
            await place.driver().start(place.config(), an_order())
        with pytest.raises(StartFailed, match="folder for launches cannot be written"):
            await place.driver().check(place.config())


def test_it_is_in_the_table() -> None:
    assert MECHANISMS[Mechanism.LOCAL] is Local


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
