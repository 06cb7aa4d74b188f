"""`shuttle agents`: who is there, and ending or cutting off some; and what a machine for agents may not do with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.model.agent import AgentStatus
from loominal.model.errors import Forbidden
from tests.acceptance.shells import Shell, Typing
from tests.integration.conftest import eventually

SECONDS = 50.0
HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose fabric other machines can join."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    try:
        assert shell.run("loominal", "up", "--detach", "--listen", HOST).returncode == 0
        yield shell
    finally:
        shell.run("loominal", "down")


@pytest.fixture
async def ada(typed: Typing) -> AsyncIterator[Agent]:
    async with typed.agent("ada", agent_type="codex", capabilities=["wool"], max_concurrent=2) as agent:
        yield agent


async def test_each_filter_of_the_list_leaves_out_what_it_says(typed: Typing, ada: Agent) -> None:
    async with typed.agent("gone"):
        pass
    async with typed.agent("bob", agent_type="gemini", capabilities=["dye"], boundaries=["open-source"]) as bob:
        await bob.update_presence(status="busy")
        hostname = (await bob.get_agent_info("bob")).hostname

        for flags, expected in (
            ((), ["ada", "bob"]),
            (("--type", "gemini"), ["bob"]),
            (("--capability", "wool"), ["ada"]),
            (("--boundary", "open-source", "--capability", "dye"), ["bob"]),
            (("--status", "busy"), ["bob"]),
            (("--host", hostname), ["ada", "bob"]),
            (("--host", "nowhere"), []),
            (("--all",), ["ada", "bob", "gone"]),
            (("--status", "offline"), ["gone"]),
        ):

            async def are_listed(flags: tuple[str, ...] = flags, expected: list[str] = expected) -> bool:
                found = (await typed.json("agents", "list", *flags))["agents"]
                return [each["handle"] for each in found] == expected

            await eventually(are_listed, SECONDS)
        short = await typed("agents", "list", "--limit", "1")

    assert short.stdout.splitlines()[1].split()[:4] == ["ada", "codex", "online", "wool"]
    assert short.stderr == "1 of 2; --limit 2 shows all\n"


async def test_agents_of_every_project_are_listed_with_their_project(typed: Typing, ada: Agent) -> None:
    found = await typed.json("agents", "list", "--all-projects", "--type", "codex")

    assert (ada.guid, typed.project) in {(each["guid"], each["projectId"]) for each in found["agents"]}


async def test_an_agent_is_shown_by_either_of_its_names_with_what_it_holds(typed: Typing, ada: Agent) -> None:
    item = (await ada.broadcast_work_offer("spin", capabilities=["wool"])).id
    await ada.claim_work(wait_seconds=SECONDS)
    await ada.report_progress(item, percent=40, message="half\x1b[31m way")

    shown = (await typed("agents", "show", "ada")).stdout
    as_json = await typed.json("agents", "show", ada.guid)

    for part in (ada.guid, "codex", "wool", "1 of 2 free", item, "40 % half [31m way", "spin"):
        assert part in shown
    assert (as_json["handle"], as_json["currentWork"]) == ("ada", [item])


async def test_who_is_shut_down_is_told_why_and_until_when(typed: Typing, ada: Agent) -> None:
    told: list[str] = []
    ada.on_control(lambda control: told.append(control.note))
    asked_at = datetime.now(UTC)
    done = await typed("agents", "shutdown", "ada", "--grace", "2m", "--reason", "spring cleaning")

    assert (done.returncode, done.stdout.splitlines()[1].split()[:3]) == (0, ["ada", ada.guid, "draining"])

    await eventually(lambda: ada.draining and any("spring cleaning" in each for each in told), SECONDS)
    async with typed.operator() as looker:
        until = (await looker.shutdown_agent("ada")).until  # who asks again hears the time that was given first
        assert (await looker.get_agent_info("ada")).free == 0
    assert asked_at + timedelta(seconds=119) < until < datetime.now(UTC) + timedelta(seconds=121)


async def test_shutting_down_waits_until_all_are_gone(typed: Typing) -> None:
    async def leaves(handle: str) -> None:
        async with typed.agent(handle) as agent:
            await eventually(lambda: agent.draining or agent.ended is not None, SECONDS)

    async with typed.operator() as looker:
        leaving = [asyncio.create_task(leaves(handle)) for handle in ("one", "two")]

        async def are_there() -> bool:
            return (await looker.discover_agents()).total == 2

        await eventually(are_there, SECONDS)
        done = await typed("agents", "shutdown", "one", "two", "nobody", "--now", "--wait")
        await asyncio.gather(*leaving)
        statuses = [(await looker.get_agent_info(handle)).status for handle in ("one", "two")]

    assert (done.returncode, done.stdout.count("gone")) == (3, 2)
    assert "there is no agent 'nobody'" in done.stderr
    assert statuses == [AgentStatus.OFFLINE] * 2
    nobody = await typed("agents", "list")
    assert (nobody.stdout, "--all" in nobody.stderr) == ("", True)


async def test_who_is_revoked_is_cut_off_after_a_yes(typed: Typing, ada: Agent) -> None:
    unasked = await typed("agents", "revoke", "ada")
    no = await typed.answered("n", "agents", "revoke", "ada")
    here = (await ada.get_agent_info("ada")).status
    yes = await typed.json("agents", "revoke", ada.guid, "--yes")

    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    assert (no.returncode, here) == (1, AgentStatus.ONLINE)
    assert yes == {"agents": [{"guid": ada.guid}]}
    await eventually(lambda: isinstance(ada.ended, Forbidden), SECONDS)


async def test_on_a_machine_for_agents_only_what_an_operator_may_is_refused(
    typed: Typing, ada: Agent, tmp_path: Path
) -> None:
    item = (await ada.broadcast_work_offer("hopeless", capabilities=["wool"])).id
    [work] = (await ada.claim_work(wait_seconds=SECONDS)).work
    await ada.fail_work(work.id, "no way", retryable=False)
    [line] = typed.shell.run("loominal", "invite", "--role", "agent").stdout.splitlines()
    there = Shell(tmp_path)
    joined = there.run(*line.split())
    assert joined.returncode == 0, joined.stderr

    async def refused(*arguments: str) -> str:
        done = await Typing(there, typed.project)(*arguments)
        assert (done.returncode, done.stdout) == (4, ""), (arguments, done.stderr)
        return done.stderr

    await refused("agents", "shutdown", "ada")
    await refused("agents", "revoke", "ada", "--yes")
    await refused("dlq", "retry", item)
    await refused("watch", item)
    await refused("submit", "secret", "--boundary", "corporate")
    assert "`loominal invite --role operator`" in await refused("agents", "list")
    assert "no work items" not in await refused("work", "list", "--all-projects")  # nobody could look


async def test_on_a_machine_for_observers_one_looks_at_work_and_is_told_who_may_do_more(
    typed: Typing, ada: Agent, tmp_path: Path
) -> None:
    item = (await ada.broadcast_work_offer("spin", capabilities=["wool"])).id
    secret = (await ada.broadcast_work_offer("spin", capabilities=["wool"], boundary="corporate")).id
    invite = typed.shell.run("loominal", "invite", "--role", "observer", "--project", typed.project)
    there = Shell(tmp_path)
    joined = there.run(*invite.stdout.split())
    assert joined.returncode == 0, joined.stderr
    look = Typing(there, typed.project)

    shown, hidden, submitted = (
        await look("work", "show", item),
        await look("work", "show", secret),
        await look("submit", "x"),
    )
    listed = await look.json("work", "list")

    assert [each.returncode for each in (shown, hidden, submitted)] == [0, 3, 4]
    assert [each["id"] for each in listed["items"]] == [item]
    assert "`loominal invite --role operator`" in submitted.stderr


async def test_a_machine_that_is_cut_off_is_refused_also_in_the_middle_of_a_watch(
    typed: Typing, tmp_path: Path
) -> None:
    async with typed.agent("ada") as ada:
        item = (await ada.broadcast_work_offer("spin", capabilities=["wool"])).id
    there = Shell(tmp_path)
    invite = typed.shell.run("loominal", "invite", "--role", "operator")
    joined = there.run(*invite.stdout.split())
    name = joined.stdout.partition(" as machine ")[2].partition(",")[0]
    watch = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loominal.shuttle.main", "watch", item,
        env=there.environ | {"LOOMINAL_PROJECT_ID": typed.project}, cwd=there.directory,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            await watch.stdout.readuntil(item.encode())
            cut = await asyncio.to_thread(typed.shell.run, "loominal", "machines", "--revoke", name)
            (_, said), after = await asyncio.gather(watch.communicate(), Typing(there, typed.project)("stats"))
    finally:
        if watch.returncode is None:
            watch.kill()
            await watch.wait()

    assert (cut.returncode, watch.returncode, after.returncode) == (0, 4, 4), (cut.stderr, said, after.stderr)
    assert "`loominal invite`" in after.stderr
    assert "Traceback" not in said.decode() + after.stderr


async def test_what_is_not_there_ends_with_three(typed: Typing) -> None:
    for command in ("agents show", "agents shutdown", "agents revoke --yes"):
        done = await typed(*command.split(), "nobody")
        assert (done.returncode, done.stdout) == (3, ""), command
        assert "`shuttle agents list`" in done.stderr


def test_where_no_fabric_is_every_command_ends_with_five(typed: Typing) -> None:
    commands = (
        "submit text", "work list", "work show x", "work history x", "work why x", "work cancel x",
        "dlq list", "dlq retry x", "dlq discard x", "agents list", "agents show x", "agents shutdown x",
        "agents revoke x --yes",
    )  # fmt: skip

    def unreachable(command: str) -> subprocess.CompletedProcess[str]:
        project = f"{typed.project}-{abs(hash(command))}"  # where no other shuttle is this person meanwhile
        return typed.shell.shuttle(*command.split(), NATS_URL="nats://127.0.0.1:9", LOOMINAL_PROJECT_ID=project)

    with ThreadPoolExecutor(len(commands)) as pool:  # each waits for a while
        each_done = list(pool.map(unreachable, commands))
    for command, done in zip(commands, each_done, strict=True):
        assert (done.returncode, done.stdout) == (5, ""), (command, done.stderr)
        assert "nats://127.0.0.1:9" in done.stderr
