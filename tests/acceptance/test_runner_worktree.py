"""`loominal agent run --worktree`: a branch for each item, kept if something was made on it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from tests.acceptance.runners import alive, item_when, offer, runner
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

DONE = "print(json.dumps({'result': {'cwd': os.getcwd()}, 'summary': 'did'}))"
GIT = "git -c user.name=a -c user.email=a@example.org"


@pytest.fixture
async def boss(fabric: Fabric, project: str) -> AsyncIterator[Agent]:
    """Who offers work."""
    async with fabric.connect("boss", project=project, agent_type="boss") as boss:
        yield boss


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with one commit and a subdirectory."""
    place = tmp_path / "shop"
    (place / "api").mkdir(parents=True)
    (place / "api" / "code").write_text("one\n")
    run(place, f"git init -q && git add . && {GIT} commit -q -m first")
    return place


def run(place: Path, line: str) -> str:
    """Return what a line of shell prints."""
    return subprocess.run(
        ["sh", "-c", line], cwd=place, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


async def test_what_was_made_is_kept_on_a_branch_that_the_result_names_and_nothing_else_is_left(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, repository: Path
) -> None:
    commits = await offer(
        boss, f"open('code', 'w').write('two'); os.system('{GIT} commit -q -a -m two')\n{DONE}", task_id="commits"
    )
    dirty = await offer(boss, f"open('new', 'w').write('x')\n{DONE}")
    clean = await offer(boss, DONE)
    fails = await offer(
        boss, f"if item['attempt'] == 1: open('new', 'w').write('x'); sys.exit(3)\n{DONE}", max_attempts=2
    )
    async with runner(repository / "api", fabric.home, project, "--worktree", "--max-items", "5") as running:
        assert await running.end() == 0, running.said

    branches = run(repository, "git branch --format='%(refname:short)'").split()
    assert set(branches) - {"master", "main"} == {f"loominal/{work}" for work in (commits, dirty, fails)}
    assert run(repository, "git status --porcelain -- api") == ""
    assert run(repository, f"git show loominal/{commits}:api/code") == "two"
    assert len(run(repository, "git worktree list").splitlines()) == 4
    for work, note in ((commits, "in /"), (dirty, "with changes that are not committed")):
        item = await boss.get_work(work)
        [artifact] = item.artifacts
        assert (item.status, artifact.kind, artifact.value) == ("done", "branch", f"loominal/{work}")
        assert note in artifact.note
        assert item.result["cwd"].endswith(f"/{work}/api")
    assert (await boss.get_work(clean)).artifacts == ()
    again = await boss.get_work(fails)
    assert again.status == "done"
    assert f"left on the branch loominal/{fails}" in again.errors[0].message
    assert again.result["cwd"].endswith(f"/{fails}-2/api")


async def test_whatever_is_done_to_branch_and_worktree_nothing_made_is_lost_and_the_runner_goes_on(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, repository: Path
) -> None:
    run(tmp_path, f"mkdir part && cd part && git init -q && {GIT} commit -q --allow-empty -m first")
    run(repository, f"git -c protocol.file.allow=always submodule add -q {tmp_path}/part part && {GIT} commit -qm part")
    run(repository, "git config status.showUntrackedFiles no && git config diff.ignoreSubmodules all")
    fetch = "os.system('cd .. && git -c protocol.file.allow=always submodule update -q --init')\n"
    deeds = {
        "renamed": f"os.system('git branch -m fix/it && {GIT} commit -q --allow-empty -m two')\n{DONE}",
        "left": f"os.system('git checkout -q -b other && {GIT} commit -q --allow-empty -m two')\n{DONE}",
        "untracked": f"open('new', 'w').write('x')\n{DONE}",
        "submodule": f"{fetch}os.system('{GIT} -C ../part commit -q --allow-empty -m two')\n{DONE}",
        "fetched": f"{fetch}{DONE}",
        "removed": f"{DONE}\nimport shutil; shutil.rmtree(os.path.dirname(os.getcwd()))",
    }
    async with runner(repository / "api", fabric.home, project, "--worktree") as running:
        items = {name: await offer(boss, deed, max_attempts=1) for name, deed in deeds.items()}
        found = {name: await item_when(boss, work, lambda item: item.ended_at) for name, work in items.items()}
        assert running.process.returncode is None, running.said

    assert {name: item.status for name, item in found.items()} == dict.fromkeys(deeds, "done")
    branches = {name: [artifact.value for artifact in item.artifacts] for name, item in found.items()}
    kept = {name: [f"loominal/{items[name]}"] for name in ("untracked", "submodule")}
    assert branches == {"renamed": ["fix/it"], "left": ["other"], **kept, "fetched": [], "removed": []}


async def test_a_hook_that_fails_leaves_nothing_and_one_that_hangs_ends_with_a_killed_runner(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, repository: Path
) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n[ ! -e {tmp_path}/hang ] || {{ echo $$ >{tmp_path}/pid; exec sleep 600; }}\nexit 3\n")
    hook.chmod(0o755)
    pid = tmp_path / "pid"
    async with runner(repository, fabric.home, project, "--worktree") as running:
        failed = await item_when(boss, await offer(boss, DONE, max_attempts=1), lambda item: item.ended_at)
        await eventually(lambda: "loominal/" not in run(repository, "git branch"), SOON)
        (tmp_path / "hang").touch()
        await offer(boss, DONE)
        await eventually(lambda: pid.exists() and pid.read_text().endswith("\n"), SOON)
        running.process.kill()
        await running.process.wait()
        await eventually(lambda: not alive(int(pid.read_text())), SOON)

    assert (failed.status, "git worktree" in failed.errors[0].message) == ("dead", True)


async def test_a_branch_that_leaves_no_room_for_ours_is_said_at_the_start(
    fabric: Fabric, project: str, repository: Path
) -> None:
    await asyncio.to_thread(run, repository, "git branch loominal")
    async with runner(repository, fabric.home, project, "--worktree") as running:
        assert await running.end() == 2
    assert "there is a branch 'loominal'" in running.said
