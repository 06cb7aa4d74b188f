"""What docs/ci.md gives to pipelines: its exit code is the work's end, and the shipped workflow runs the same."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from loominal.broker.server import free_port
from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import Claimed
from tests.acceptance.pages import DOCS, blocks
from tests.acceptance.shells import Shell, Typing
from tests.integration.conftest import eventually

SCRIPT = next(block for block in blocks((DOCS / "ci.md").read_text(), "sh") if block.startswith("set -eu"))
WORKFLOW = Path(__file__).parents[2] / "deploy" / "github" / "submit-work.yml"
SECONDS = 90.0  # for an item, on a loaded machine
pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="NOT SHOWN HERE: curl asks")


class Pipeline:
    """A step that runs the script."""

    def __init__(self, url: str, token: str) -> None:
        self.environ = {"LOOMINAL_URL": url, "LOOMINAL_TOKEN": token, "no_proxy": "*"}

    async def run(self, capability: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it with an item that needs `capability`, and whose texts look like the end that it is told by."""
        work = json.dumps({"taskId": f'"{capability}"', "description": '"status":"done"', "capability": capability})
        return await self.shell(SCRIPT.replace("--retry 5", "--retry 1"), **{"WORK": work, **environ})

    async def shell(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", script],
            env=os.environ | self.environ | environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
async def pipeline(shell: Shell, typed: Typing) -> Pipeline:
    url = json.loads(shell.run("loominal", "status", "--json").stdout)["api"]["url"]
    name = f"ci-{uuid4().hex[:8]}"
    made = shell.run("loominal.weft.main", "token", "create", name, "--project", typed.project)
    assert made.returncode == 0, made.stderr
    step = Pipeline(url, made.stdout.strip())

    async def is_known() -> bool:
        return '"status":401' not in (await step.run("cobol", WORK="{}")).stderr

    await eventually(is_known, SECONDS)  # a weft learns of a new bearer token a moment after it was made
    return step


async def test_the_step_ends_as_the_work_does(pipeline: Pipeline, typed: Typing) -> None:
    async with typed.agent("ann", capabilities=["done", "dead"]) as ann, typed.operator() as boss:
        steps = {name: asyncio.create_task(pipeline.run(name)) for name in ("done", "dead", "cancelled")}
        [item] = (await claimed(ann, "done")).work
        await ann.complete_work(item.id, summary="counted", result={"count": 3})
        [item] = (await claimed(ann, "dead")).work
        await ann.fail_work(item.id, error="no network", retryable=False)

        async def is_offered() -> bool:
            return bool((await boss.list_work(capability="cancelled")).items)

        await eventually(is_offered, SECONDS)
        assert (await typed("work", "cancel", '"cancelled"')).returncode == 0
        ended = {name: await step for name, step in steps.items()}

    assert {name: step.returncode for name, step in ended.items()} == {"done": 0, "dead": 1, "cancelled": 1}, ended
    assert '"result":{"count":3}' in ended["done"].stdout
    assert "no network" in ended["dead"].stderr
    assert " cancelled" in ended["cancelled"].stdout


async def claimed(agent: Agent, capability: str) -> Claimed:
    """Return what the agent has claimed, once there is something."""
    async with asyncio.timeout(SECONDS):
        while not (found := await agent.claim_work(capability=capability, wait_seconds=20)).work:
            pass
    return found


async def test_the_step_fails_without_the_fabric_and_when_it_is_refused(pipeline: Pipeline) -> None:
    away = await pipeline.run("any", LOOMINAL_URL=f"http://127.0.0.1:{free_port()}")
    unknown = await pipeline.run("any", LOOMINAL_TOKEN="lm_unknown")
    wrong = await pipeline.run("any", WORK='{"description": ""}')

    assert [step.returncode for step in (away, unknown, wrong)] == [1, 1, 1]
    assert "no answer" in away.stderr
    assert '"status":401' in unknown.stderr
    assert '"status":422' in wrong.stderr


@pytest.mark.skipif(not shutil.which("jq"), reason="NOT SHOWN HERE: jq makes the workflow's item")
async def test_the_workflow_runs_the_same_on_what_it_is_given(pipeline: Pipeline, typed: Typing) -> None:
    [submit, call_off] = yaml.safe_load(WORKFLOW.read_text())["jobs"]["work"]["steps"]
    before, same, after = submit["run"].partition(SCRIPT)
    given = {"TASK": "github-1-1", "DESCRIPTION": "$(exit 7) 'quoted\"", "CAPABILITY": "review", "COMMIT": "abc"}

    assert (same, after) == (SCRIPT, "")
    made = await pipeline.shell(before + 'ask() { :; }; printf "%s" "$WORK"', **given)
    offered = await pipeline.shell(before + SCRIPT.partition("id=$(")[0], **given)
    ended = await pipeline.shell(call_off["run"], **given)

    work = json.loads(made.stdout)
    assert (work["taskId"], work["description"], work["contextData"]) == (
        "github-1-1",
        given["DESCRIPTION"],
        {"commit": "abc"},
    )
    assert (offered.returncode, ended.returncode) == (0, 0), (offered, ended)
    async with typed.operator() as boss:
        assert (await boss.get_work("github-1-1")).status == "cancelled"
