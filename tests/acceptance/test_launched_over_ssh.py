"""The whole chain over ssh: work, a launch, an agent on another machine that does it and goes when nothing is left."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.invitation import Token
from loominal.fabric.operations.spin_ups import SpinUpView
from tests.acceptance.runners import COMMAND, item_when, offer
from tests.command_conformance import processes
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.mechanism_conformance import Arguments
from tests.patience import SOON
from tests.sshd import Sshd

SHOWN = slice(20, 60)  # of an enrolment: what no other text has
KEEPS = 'IFS= read -r it; (umask 77; printf %s "$it" >"$0"); printf "%s\\n" "$it" | "$@"'  # for us to know what it was


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Another machine, with a home of its own."""
    sshd = Sshd(tmp_path_factory.mktemp("sshd"))
    sshd.start()
    yield sshd
    sshd.stop()


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory, scale: float, sshd: Sshd) -> Iterator[Fabric]:
    """A fabric whose weft may use one key, for ssh alone."""
    running = Fabric(tmp_path_factory.mktemp("fabric"), scale=scale)
    (running.home / "weft.toml").write_text(
        f'[allow]\nmechanisms = ["ssh"]\nidentityFiles = [{json.dumps(str(sshd.key))}]\n'
    )
    (running.home / "weft.toml").chmod(0o600)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
async def boss(fabric: Fabric, project: str) -> AsyncIterator[Agent]:
    """Who offers work and sets targets."""
    async with fabric.connect("boss", project=project, agent_type="boss", operator=True) as boss:
        yield boss


async def closed(boss: Agent) -> SpinUpView:
    """Return the one launch, with its output, once it is over."""

    async def over() -> bool:
        return all(each.ended_at for each in (await boss.list_spin_ups()).spin_ups)

    await eventually(over, SOON)
    [launch] = (await boss.list_spin_ups()).spin_ups
    return await boss.get_spin_up(launch.id)


async def test_work_brings_up_an_agent_over_ssh_which_does_it_and_goes(
    fabric: Fabric, boss: Agent, sshd: Sshd, tmp_path: Path
) -> None:
    kept = tmp_path / "enrolment"
    runner = (sys.executable, "-m", "loominal", "agent", "run", "--client", "exec", "--capability", "do")
    await boss.add_target(
        name="far",
        agent_type="exec",
        capabilities=["do"],
        boundaries=["personal"],
        mechanism="ssh",
        config={
            "host": "127.0.0.1",
            "port": sshd.port,
            "user": sshd.user,
            "knownHostsFile": str(sshd.known_hosts),
            "command": ["/bin/sh", "-c", KEEPS, str(kept), *runner, "--", *COMMAND],
            "cwd": str(sshd.home),
        },
        idle_seconds=0.5,
    )

    with Arguments() as arguments:
        work = await offer(boss, "print(json.dumps({'result': {'home': os.environ['HOME'], 'at': os.getcwd()}}))")
        item = await item_when(boss, work, lambda item: item.status == "done")
        launch = await closed(boss)

    enrolment = kept.read_text()
    assert Token.enrolment(enrolment).agent == launch.agent
    assert (item.result["home"], item.result["at"]) == (str(sshd.home), str(sshd.home))
    assert (launch.status, launch.work_id, launch.detail) == ("stopped", work, "nothing was left to do")
    assert launch.started_at
    assert launch.registered_at
    assert processes(launch.id) == []
    assert any(b"loominal start" in each for each in arguments.seen)  # it did look while that ran
    assert arguments.that_have(enrolment[SHOWN]) == []
    logs = [fabric.weft_log, fabric.broker_settings.log, *(each for each in sshd.home.rglob("*") if each.is_file())]
    told = [path.read_text(errors="replace") for path in logs] + [sshd.log(), launch.output, launch.detail]
    assert sum("Accepted publickey" in each for each in told) == 1
    assert not [each for each in told if enrolment[SHOWN] in each]
