"""`loominal agent run` with commands of one's own: what comes of items, and of runs that are called off or killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.invitation import Token
from loominal.fabric.operations.work import Claimed, ClaimWork
from loominal.model.work import Usage
from loominal.runner.desk import KEPT
from loominal.runner.whole import whole
from tests.acceptance.runners import alive, item_when, offer, runner
from tests.acceptance.test_launched import launched
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.patience import SOON

SLEEPS = "open('begun', 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"
DONE = "print(json.dumps({'result': {'ok': True}, 'summary': 'did'}))"


@pytest.fixture
async def boss(fabric: Fabric, project: str) -> AsyncIterator[Agent]:
    """Who offers work and operates the project."""
    async with fabric.connect("boss", project=project, agent_type="boss", operator=True) as boss:
        yield boss


async def begun(place: Path, times: int = 1) -> list[int]:
    """Return the processes that have begun in `place`, when there are so many."""
    file = place / "begun"
    await eventually(lambda: file.exists() and file.read_text().count("\n") >= times, SOON)
    return [int(line) for line in file.read_text().split()]


async def test_items_are_done_and_what_a_command_says_is_what_the_offerer_reads(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    works = await offer(
        boss,
        "print(json.dumps({'progress': 40, 'message': 'half'}), flush=True)\n"
        "print('this is no line of JSON')\n"
        "print(json.dumps({'result': {'attempt': item['attempt'], 'keys': sorted(item)}, 'summary': 'did it',"
        " 'artifacts': [{'kind': 'url', 'value': 'https://example.org/1'}]}))",
        task_id="t1",
    )
    exits = await offer(
        boss, "print('half a wor', end=''); sys.stderr.write('it is broken\\n'); sys.exit(7)", max_attempts=1
    )
    silent = await offer(boss, "print('I have nothing to say')", max_attempts=1)
    large = await offer(boss, "print(json.dumps({'result': {'x': 'x' * 300_000}}))", max_attempts=1)
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "4") as running:
        assert await running.end() == 0, running.said

    item = await boss.get_work(works)
    assert (item.status, item.summary, item.result["attempt"]) == ("done", "did it", 1)
    assert [artifact.value for artifact in item.artifacts] == ["https://example.org/1"]
    assert {"id", "taskId", "description", "boundary", "contextData"} <= set(item.result["keys"])
    assert item.result.get("leaseToken", 0) == 0
    for work, words in ((exits, ["exit code 7", "it is broken"]), (silent, ["without a result", "nothing to say"]),
                        (large, ["refused", "300"])):  # fmt: skip
        failed = await boss.get_work(work)
        assert failed.status == "dead"
        assert all(word in failed.errors[0].message for word in words), failed.errors
    assert "lines of its output that were passed over: 1" in running.said
    [agent] = (await boss.discover_agents(agent_type="exec", include_offline=True)).agents
    assert agent.capabilities == ("do",)


async def test_a_flood_and_a_line_without_end_are_bounded_and_progress_gets_through(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    flood = await offer(
        boss,
        "line = json.dumps({'progress': 10, 'message': 'x'}) + '\\n'\n"
        "[sys.stdout.write(line * 1000) for _ in range(200)]\n"
        "sys.stdout.write('y' * 30_000_000 + '\\n'); sys.stderr.write('z' * 5_000_000)\n"
        "import resource; peak = int([line.split()[1] for line in open(f'/proc/{os.getppid()}/status')"
        " if line.startswith('VmHWM')][0]) >> 10\n"
        "print(json.dumps({'result': {'peakMegabytes': peak}}))",
    )
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "1") as running:
        assert await running.end() == 0, running.said

    item = await boss.get_work(flood)
    assert item.status == "done", item.errors
    assert item.result["peakMegabytes"] < 120
    assert item.progress is None or item.progress.percent == 10


async def test_a_cancelled_item_ends_the_process_and_what_it_has_forked(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    forks = "subprocess.Popen(['sh', '-c', 'echo $$ >> begun; exec sleep 600'], start_new_session=True)\n" + SLEEPS
    work = await offer(boss, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + forks)
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "1") as running:
        pids = await begun(tmp_path / "a", 2)
        await boss.cancel_work(work)

        assert await running.end() == 0, running.said
    assert (await boss.get_work(work)).status == "cancelled"
    assert not [pid for pid in pids if alive(pid)]


async def test_a_frozen_command_times_out_and_is_killed_and_the_item_is_tried_again(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    freezes = "open('begun', 'a').write(f'{os.getpid()}\\n'); os.kill(os.getpid(), signal.SIGSTOP)"
    work = await offer(boss, f"if item['attempt'] == 1:\n    {freezes}\n{DONE}", timeout_seconds=10, max_attempts=2)
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "2") as running:
        [pid] = await begun(tmp_path / "a")
        item = await item_when(boss, work, lambda item: item.status == "done")

        assert (item.attempt, len(item.errors)) == (2, 1)
        await eventually(lambda: not alive(pid), SOON)
        assert await running.end() == 0, running.said


async def test_a_killed_runner_leaves_no_process_and_another_does_the_item(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    work = await offer(boss, f"if item['attempt'] == 1:\n    {SLEEPS}\n{DONE}")
    async with runner(tmp_path / "a", fabric.home, project) as first:
        [pid] = await begun(tmp_path / "a")
        first.signal(signal.SIGKILL)
        await eventually(lambda: not alive(pid), SOON)
    async with runner(tmp_path / "b", fabric.home, project, "--max-items", "1") as second:
        assert await second.end() == 0, second.said

    item = await boss.get_work(work)
    assert (item.status, item.attempt) == ("done", 2)


@pytest.mark.parametrize("how", ["signal", "shutdown"])
async def test_a_drained_runner_finishes_what_it_has_and_takes_nothing_more(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, how: str
) -> None:
    go = tmp_path / "go"
    waits = f"open('begun', 'a').write('1\\n')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)\n{DONE}"
    work = await offer(boss, waits)
    async with runner(tmp_path / "a", fabric.home, project) as running:
        await begun(tmp_path / "a")
        more = await offer(boss, DONE)
        if how == "signal":
            running.signal(signal.SIGTERM)
            await running.until_said("told to end")
        else:
            [agent] = (await boss.discover_agents(agent_type="exec")).agents
            await boss.shutdown_agent(agent.guid)
            await running.until_said("takes nothing more")
        go.touch()

        assert await running.end() == 0, running.said
    assert (await boss.get_work(work)).status == "done"
    assert (await boss.get_work(more)).status == "ready"


async def test_a_second_signal_ends_it_at_once_and_hands_the_item_back(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    work = await offer(boss, SLEEPS)
    async with runner(tmp_path / "a", fabric.home, project) as running:
        [pid] = await begun(tmp_path / "a")
        running.signal(signal.SIGTERM)
        await running.until_said("told to end")
        running.signal(signal.SIGTERM)

        assert await running.end() == 130, running.said
    assert not alive(pid)
    item = await item_when(boss, work, lambda item: item.status == "ready")
    assert item.errors == ()


async def test_a_runner_that_is_cut_off_works_on_for_nobody(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    work = await offer(boss, SLEEPS)
    async with runner(tmp_path / "a", fabric.home, project) as running:
        [pid] = await begun(tmp_path / "a")
        [agent] = (await boss.discover_agents(agent_type="exec")).agents
        await boss.revoke_agent(agent.guid)

        assert await running.end() == 4, running.said
    assert not alive(pid)
    assert "this agent was ended: it was cut off" in running.said
    item = await item_when(boss, work, lambda item: item.status == "ready")
    assert item.errors == ()


async def test_slots_work_side_by_side_and_a_runner_without_work_ends(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    meets = "open('begun', 'a').write('1\\n')\nwhile open('begun').read().count('1') < 3: time.sleep(0.05)\n" + DONE
    works = [await offer(boss, meets) for _ in range(3)]
    async with runner(tmp_path / "a", fabric.home, project, "--slots", "3", "--idle-exit", "0.5") as running:
        assert await running.end() == 0, running.said
    assert [(await boss.get_work(work)).status for work in works] == ["done"] * 3


async def test_a_command_that_is_its_agent_ends_its_own_item_and_no_other(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    attached = (
        "import asyncio, loominal\n"
        "async def main():\n"
        "    async with loominal.connect() as agent:\n"
        "        try:\n"
        "            await agent.complete_work('other', 'stolen')\n"
        "        except loominal.Forbidden as error:\n"
        "            await agent.complete_work(item['taskId'], 'did it myself', result={'refused': error.message})\n"
        "asyncio.run(main())\n"
        "assert not [name for name in os.environ if name.startswith(('NATS_', 'LOOMINAL_ENROL'))]\n"
    )
    work = await offer(boss, attached, task_id="mine")
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "1", NATS_USER="") as running:
        assert await running.end() == 0, running.said

    item = await boss.get_work(work)
    assert (item.status, item.summary) == ("done", "did it myself"), running.said
    assert work in item.result["refused"]


@pytest.mark.parametrize("ends", ["", "sys.exit(3)", "os.kill(os.getpid(), 9)"], ids=["ends", "fails", "is killed"])
async def test_what_a_client_itself_delivers_has_what_it_has_used_in_all(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, ends: str
) -> None:
    client = (
        "import asyncio, json, loominal, os, sys\n"
        "async def main():\n"
        "    async with loominal.connect() as agent:\n"
        "        work = os.environ['LOOMINAL_WORK_ID']\n"
        "        await agent.complete_work(work, 'not yet')\n"
        "        moved = await agent.complete_work(work, 'swept', result={'rooms': 3})\n"
        "        open('told', 'w').write(f'{moved.status} {moved.note} {(await agent.get_work(work)).status}')\n"
        "asyncio.run(main())\n"
        "tokens = {'input_tokens': 9, 'output_tokens': 5}\n"
        "end = {'type': 'result', 'result': 'I have told it', 'total_cost_usd': 0.5, 'num_turns': 2, 'usage': tokens}\n"
        f"print(json.dumps(end), flush=True)\n{ends}\n"
    )
    work = await offer(boss, "sweep", max_attempts=1)
    async with runner(
        tmp_path / "a", fabric.home, project, "--client", "claude-code", "--max-items", "1",
        command=(sys.executable, "-c", client),
    ) as running:  # fmt: skip
        assert await running.end() == 0, running.said

    item = await boss.get_work(work)
    assert (item.status, item.summary, item.result["rooms"]) == ("done", "swept", 3), (item.errors, running.said)
    assert item.result["usage"] == {"costUsd": 0.5, "turns": 2, "inputTokens": 9, "outputTokens": 5}
    assert (tmp_path / "a" / "told").read_text() == f"claimed {KEPT} claimed"


@pytest.mark.parametrize("end", ["fails", "fails it itself", "is cancelled"])
async def test_what_came_to_nothing_has_cost_what_it_has_cost(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path, end: str
) -> None:
    ends = {
        "fails": "sys.exit(3)",
        "fails it itself": "asyncio.run(main())",
        "is cancelled": "open('begun', 'a').write(f'{os.getpid()}\\n'); time.sleep(600)",
    }
    client = (
        "import asyncio, json, loominal, os, sys, time\n"
        "async def main():\n"
        "    work = os.environ['LOOMINAL_WORK_ID']\n"
        "    async with loominal.connect() as agent:\n"
        "        while not (await agent.get_work(work)).progress:\n"  # until its runner has read what it has said
        "            await asyncio.sleep(0.05)\n"
        "        await agent.fail_work(work, 'I cannot')\n"
        "message = {'id': 'm1', 'content': [{'type': 'text', 'text': 'hm'}]}\n"
        "message['usage'] = {'input_tokens': 9, 'output_tokens': 5}\n"
        "print(json.dumps({'type': 'assistant', 'message': message}), flush=True)\n"
        f"{ends[end]}\n"
    )
    work = await offer(boss, "sweep", max_attempts=1)
    async with runner(
        tmp_path / "a", fabric.home, project, "--client", "claude-code", "--max-items", "1",
        command=(sys.executable, "-c", client),
    ) as running:  # fmt: skip
        if end == "is cancelled":
            await begun(tmp_path / "a")
            await boss.cancel_work(work)
        assert await running.end() == 0, running.said

    item = await boss.get_work(work)
    assert item.status == ("cancelled" if end == "is cancelled" else "dead"), running.said
    [used] = [entry.usage for entry in item.history if entry.usage]
    assert used == Usage(turns=1, input_tokens=9, cached_input_tokens=0, output_tokens=5)


async def test_a_client_that_completes_its_item_and_then_fails_it_has_failed_it(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    unsure = (
        "import asyncio, loominal\n"
        "async def main():\n"
        "    async with loominal.connect() as agent:\n"
        "        await agent.complete_work(item['id'], 'did it')\n"
        "        await agent.fail_work(item['id'], 'I have not')\n"
        "        try:\n"
        "            await agent.complete_work(item['id'], 'or have I')\n"
        "        except loominal.LeaseLost:\n"
        "            print(json.dumps({'summary': 'unheard'}))\n"
        "asyncio.run(main())\n"
    )
    work = await offer(boss, unsure, max_attempts=1)
    async with runner(tmp_path / "a", fabric.home, project, "--max-items", "1") as running:
        assert await running.end() == 0, running.said

    item = await boss.get_work(work)
    assert (item.status, [each.message for each in item.errors]) == ("dead", ["I have not"]), running.said


async def test_what_cannot_be_run_is_said_at_the_start(fabric: Fabric, project: str, tmp_path: Path) -> None:
    async with runner(tmp_path / "a", fabric.home, project, command=("no-such-program",)) as running:
        assert await running.end() == 2
    assert "there is no program" in running.said
    async with runner(tmp_path / "b", fabric.home, project, "--worktree") as running:
        assert await running.end() == 2
    assert "--worktree" in running.said


async def test_a_launched_runner_works_within_its_grant_and_no_child_sees_its_enrolment(
    fabric: Fabric, project: str, boss: Agent, tmp_path: Path
) -> None:
    text = await launched(fabric, boss, capabilities=["do"], boundaries=["personal"])
    looks = "print(json.dumps({'result': {'seen': sorted(name for name in os.environ if 'ENROL' in name)}}))"
    work = await offer(boss, looks)
    async with runner(
        tmp_path / "a", tmp_path / "home", "elsewhere", "--max-items", "1", LOOMINAL_ENROLMENT=text
    ) as running:
        assert await running.end() == 0, running.said

    item = await boss.get_work(work)
    assert (item.status, item.result) == ("done", {"seen": []})
    assert text not in running.said
    [agent] = (await boss.discover_agents(agent_type="exec", include_offline=True)).agents
    assert agent.guid == Token.enrolment(text).agent


async def test_an_item_that_did_not_fit_into_its_claim_is_read_on(fabric: Fabric, project: str, boss: Agent) -> None:
    data = {"do": "ä\n" * 20_000, "more": [1, {"a": None}]}
    await boss.broadcast_work_offer("d" * 30_000, capabilities=["do"], context_data=data)
    async with fabric.connect("reader", project=project, capabilities=["do"]) as reader:
        claimed = await reader.call("claim_work", ClaimWork(wait_seconds=SOON), limit_bytes=9000)
        assert isinstance(claimed, Claimed)
        [cut] = claimed.work
        assert set(cut.truncated) == {"description", "contextData"}

        item = await whole(reader, cut)

    assert (item.description, item.context_data, item.lease_token) == ("d" * 30_000, data, 0)
