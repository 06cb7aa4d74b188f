"""`loominal agent run --worktree`: a branch for each item, kept if something was made on it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from tests.acceptance.runners import offer, runner
from tests.integration.fabric import Fabric

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
