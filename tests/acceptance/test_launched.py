"""An agent that was launched: its one-time enrolment, what it grants, and who else may use it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import loominal
from loominal.broker.nkeys import KeyPair, Kind
from loominal.fabric.client.agent import Agent
from loominal.fabric.invitation import Token
from loominal.fabric.operations.channels import ListChannels
from loominal.model.errors import Busy, Forbidden, InvalidArgument, LoominalError, NotFound
from tests.acceptance.warps import warp
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

USAGE = 2


@pytest.fixture
async def chief(fabric: Fabric, project: str) -> AsyncIterator[Agent]:
    """The operator of a project of the test's own."""
    async with fabric.connect("chief", project=project, agent_type="boss", operator=True) as chief:
        yield chief


async def launched(fabric: Fabric, chief: Agent, launch: str = "l_1", expires: str = "1h", **limits: Any) -> str:
    """Return the text of an enrolment, as whoever launches an agent makes it."""
    # Any: whatever `invite` takes
    key = KeyPair.generate(Kind.USER)
    made = await chief.invite(key.public, launch=launch, expires=expires, **limits)
    token = Token(
        urls=(fabric.url,), jwt=made.jwt, seed=key.seed, expires_at=made.expires_at,
        agent=made.agent, project=chief.project.id,
    )  # fmt: skip
    return token.to_text()


async def test_a_launched_warp_works_within_its_grant_from_a_home_of_its_own(
    fabric: Fabric, chief: Agent, tmp_path: Path
) -> None:
    text = await launched(fabric, chief, capabilities=["python"], boundaries=["personal"])
    for capability, boundary in (("rust", "personal"), ("python", "open-source"), ("python", "personal")):
        await chief.broadcast_work_offer(
            f"{capability} {boundary}", task_id=f"{capability} {boundary}", capabilities=[capability], boundary=boundary
        )

    async with warp(tmp_path, project="elsewhere", LOOMINAL_ENROLMENT=text) as agent:
        me = await agent.tool("get_my_handle")
        assert (me["guid"], me["projectId"]) == (Token.enrolment(text).agent, chief.project.id)
        for more, code in (
            ({"boundaries": ["corporate"]}, "boundary_refused"),
            ({"boundaries": ["open-source"]}, "boundary_refused"),
            ({"capabilities": ["rust"]}, "forbidden"),
        ):
            assert (await agent.tool("join", handle="new", **more))["error"]["code"] == code
        await agent.tool("join", handle="new", capabilities=["python"])
        [work] = (await agent.tool("claim_work", waitSeconds=SOON))["work"]
        assert work["taskId"] == "python personal"
        assert (await agent.tool("complete_work", workId=work["id"], summary="did"))["status"] == "done"
        assert (await agent.tool("claim_work"))["work"] == []
        assert [each.name for each in (await chief.list_machines()).machines] == ["test-machine"]


async def test_its_enrolment_is_good_for_one_process_and_again_for_that_one(
    fabric: Fabric, chief: Agent, tmp_path: Path
) -> None:
    text = await launched(fabric, chief)
    async with loominal.connect(home=tmp_path / "a", enrolment=text) as agent:
        guid = agent.guid
        with pytest.raises(Busy, match="runs already"):
            async with loominal.connect(home=tmp_path / "a", enrolment=text):
                pass
        with pytest.raises(Forbidden, match="another process has used"):
            async with loominal.connect(home=tmp_path / "b", enrolment=text):
                pass
    async with loominal.connect(home=tmp_path / "a", enrolment=text) as again:
        assert again.guid == guid


async def test_a_late_one_and_one_that_is_none_are_refused_each_with_its_reason(
    fabric: Fabric, chief: Agent, tmp_path: Path
) -> None:
    late = await launched(fabric, chief, expires="1s")
    past = Token.enrolment(late).expires_at + timedelta(seconds=1)  # it is told in whole seconds
    await eventually(lambda: datetime.now(UTC) > past)
    with pytest.raises(NotFound, match="this enrolment ended"):
        async with loominal.connect(home=tmp_path, enrolment=late):
            pass

    with pytest.raises(InvalidArgument, match="LOOMINAL_ENROLMENT: this is no enrolment"):
        async with loominal.connect(home=tmp_path, enrolment="garbage"):
            pass
    with pytest.raises(InvalidArgument, match="launched into project"):
        async with loominal.connect(home=tmp_path, enrolment=late, project="other"):
            pass
    environment = os.environ | {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_ENROLMENT": late[:-20]}
    ended = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loominal.warp.main",
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    _, said = await asyncio.wait_for(ended.communicate(), SOON)
    assert (ended.returncode, b"this is no whole enrolment" in said) == (USAGE, True), said


@pytest.mark.parametrize("form", ["text", "file", "stdin"])
async def test_it_is_taken_out_of_the_environment_before_any_child_starts(
    fabric: Fabric, chief: Agent, tmp_path: Path, form: str
) -> None:
    text = await launched(fabric, chief)
    file = tmp_path / "enrolment"
    file.write_text(f"{text}\n")
    program = (
        "import asyncio, loominal, os, subprocess, sys\n"
        "async def main():\n"
        "    async with loominal.connect() as agent:\n"
        "        print(agent.guid, agent.project.id)\n"
        "        print('LOOMINAL_ENROLMENT' in os.environ, subprocess.check_output('env').count(b'ENROLM'))\n"
        "    print(sys.stdin.read())\n"
        "asyncio.run(main())\n"
    )
    given = {"text": text, "file": f"@{file}", "stdin": "-"}[form]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env=os.environ | {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_ENROLMENT": given},
        input=f"{text}\nthe rest" if form == "stdin" else "the rest",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [Token.enrolment(text).agent, chief.project.id, "False", "0", "the", "rest"], done


async def test_a_launch_whose_agent_is_not_as_its_target_says_tells_which_came_and_what_to_change(
    chief: Agent, tmp_path: Path
) -> None:
    started = (sys.executable, "-m", "loominal", "agent", "run", "--client", "exec", "--capability", "py")
    # Any: whatever a target takes
    of_target: dict[str, Any] = {"agent_type": "exec", "capabilities": ["py"], "boundaries": ["personal"]}
    differs: dict[str, tuple[dict[str, Any], tuple[str, ...], str, str]] = {
        "agentType": ({"agent_type": "claude-code"}, (), "'claude-code'", "'exec'"),
        "capabilities": ({"capabilities": ["go"]}, (), "'go'", "'py'"),
        "boundaries": ({}, ("--boundary", "open-source"), "'personal'", "'open-source'"),
    }
    launches = {}
    for field, (fields, options, *_) in differs.items():
        config = {"command": [*started, *options, "--", "true"], "cwd": str(tmp_path)}
        await chief.add_target(name=field.lower(), mechanism="local", config=config, **{**of_target, **fields})
        launches[field] = (await chief.spin_up(field.lower())).id

    async def all_over() -> bool:
        return all(each.ended_at for each in (await chief.list_spin_ups()).spin_ups)

    await eventually(all_over, SOON)
    for field, (_, _, wanted, came) in differs.items():
        launch = await chief.get_spin_up(launches[field])
        said = f"target {field.lower()} has {field} {wanted}, and the agent that it has started registers with {came}"
        assert launch.status == "failed", launch
        assert f"not let in: {said} (change the target's {field}, or what its command starts); " in launch.detail
        assert "exit code 4" in launch.detail
        assert said in launch.output


async def test_a_launched_agent_that_is_cut_off_stays_so(fabric: Fabric, chief: Agent, tmp_path: Path) -> None:
    text = await launched(fabric, chief)
    async with loominal.connect(home=tmp_path, enrolment=text) as agent:
        assert (await chief.revoke_machine(agent.machine)).agents == 1

        with pytest.raises(LoominalError):
            await agent.call("list_channels", ListChannels(), timeout_seconds=3)
    with pytest.raises(LoominalError):
        async with loominal.connect(home=tmp_path, enrolment=text, timeout_seconds=2):
            pass


async def test_what_lets_a_machine_in_lets_no_agent_in_and_the_other_way_round(fabric: Fabric, chief: Agent) -> None:
    text = await launched(fabric, chief)
    with pytest.raises(InvalidArgument, match="LOOMINAL_ENROLMENT takes it"):
        Token.from_text(text)
    key = KeyPair.generate(Kind.USER)
    for name in ("*", "a.b", ">", " "):
        with pytest.raises(InvalidArgument):
            await chief.invite(key.public, launch=name)
    with pytest.raises(InvalidArgument, match="one project"):
        await chief.invite(key.public, launch="l_2", projects=["a", "b"])
    with pytest.raises(InvalidArgument, match="no operator"):
        await chief.invite(key.public, launch="l_2", role="operator")
