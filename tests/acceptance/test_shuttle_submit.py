"""`shuttle submit`: every flag as agents see it, many items at once, and what is said of who can take them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import AgentVerdict, WorkDetail
from loominal.model.agent import AgentStatus
from loominal.model.routing import Exclusion
from loominal.model.work import Status
from tests.acceptance.shells import Typing
from tests.integration.conftest import eventually

SECONDS = 50.0


async def verdict(looker: Agent, item: str, handle: str) -> AgentVerdict:
    return next(each for each in (await looker.explain_work(item)).agents if each.handle == handle)


async def the_item(looker: Agent, text: str) -> WorkDetail:
    [item] = [each for each in (await looker.list_work()).items if each.description == text]
    return await looker.get_work(item.id)


async def test_what_flags_say_of_an_item_is_what_agents_see(typed: Typing) -> None:
    flags = (
        "-c", "wool", "--capability", "dye", "--boundary", "open-source", "--priority", "8", "--task-id", "vat-1",
        "--deadline", "2h", "--context", '{"colour": "red"}', "--max-attempts", "7", "--timeout", "30m",
    )  # fmt: skip
    async with typed.agent("ada", capabilities=["wool", "dye"]) as ada:
        done = await typed("submit", "dye the wool", *flags)
        [claim] = (await ada.claim_work(wait_seconds=SECONDS)).work
        item, now = await ada.get_work("vat-1"), datetime.now(UTC)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{claim.id}\n", "1 agent can take it\n")
    assert item.deadline
    assert item.timeout_at
    assert timedelta(minutes=110) < item.deadline - now <= timedelta(hours=2)
    assert timedelta(minutes=20) < item.timeout_at - now <= timedelta(minutes=30)
    assert (item.capabilities, item.boundary, item.priority) == (("dye", "wool"), "open-source", 8)
    assert (item.context_data, item.max_attempts) == ({"colour": "red"}, 7)


async def test_flags_choose_who_may_take_an_item(typed: Typing) -> None:
    async with (
        typed.agent("ada", agent_type="codex"),
        typed.agent("bob", agent_type="gemini"),
        typed.operator() as looker,
    ):
        for flags, rule in (
            (("--agent-type", "codex"), Exclusion.TYPE),
            (("--prefer", "codex"), Exclusion.HEAD_START),
            (("--assign-to", "ada"), Exclusion.ASSIGNED),
        ):
            item = await typed.json("submit", "choose", *flags)
            assert (await verdict(looker, item["id"], "bob")).rule is rule
            assert (await verdict(looker, item["id"], "ada")).rule is None
            assert item["agentTypes"] == []


async def test_an_item_waits_for_others_and_for_its_time(typed: Typing) -> None:
    first = await typed.json("submit", "first", "--not-before", "1h")
    then = await typed.json("submit", "then", "--depends-on", first["id"])
    unknown = await typed("submit", "never", "--depends-on", "w_unknown")
    async with typed.operator() as looker:
        scheduled, blocked = await looker.get_work(first["id"]), await looker.get_work(then["id"])

    assert scheduled.due_at
    assert timedelta(minutes=50) < scheduled.due_at - datetime.now(UTC) <= timedelta(hours=1)
    assert (scheduled.status, blocked.status, blocked.depends_on) == ("scheduled", "blocked", (first["id"],))
    assert (unknown.returncode, "w_unknown" in unknown.stderr) == (3, True)


async def test_the_same_task_id_is_the_same_item_unless_the_content_differs(typed: Typing) -> None:
    first = await typed("submit", "-", "--task-id", "once", stdin="from stdin")
    again = await typed("submit", "from stdin", "--task-id", "once")
    other = await typed("submit", "from stdin", "--task-id", "once", "--notify", "none")

    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 1)
    assert first.stdout == again.stdout
    assert "it was offered before" in again.stderr
    assert "other content" in other.stderr


async def test_who_offers_is_told_of_the_end_unless_they_do_not_want_to_be(typed: Typing) -> None:
    wanted = await typed.json("submit", "tell me")
    unwanted = await typed.json("submit", "tell me not", "--notify", "none")
    await typed("work", "cancel", unwanted["id"], wanted["id"])
    async with typed.operator() as looker:
        for item in (wanted, unwanted):
            assert (await looker.get_work(item["id"], wait_seconds=SECONDS)).status is Status.CANCELLED

    async def told() -> list[str]:
        return [json.dumps(each) for each in (await typed.json("inbox", "--all"))["messages"]]

    async def is_told() -> bool:
        return any(wanted["id"] in each for each in await told())

    await eventually(is_told, SECONDS)
    assert not any(unwanted["id"] in each for each in await told())


async def test_settings_are_what_flags_leave_unsaid(typed: Typing, tmp_path: Path) -> None:
    settings = tmp_path / "shuttle.toml"
    settings.write_text('default-boundary = "open-source"\ndefault-priority = 9\n')
    settings.chmod(0o600)
    await typed("--config", str(settings), "submit", "as set")
    await typed("--config", str(settings), "submit", "as said", "--boundary", "personal", "--priority", "2")
    async with typed.operator() as looker:
        as_set, as_said = await the_item(looker, "as set"), await the_item(looker, "as said")

    assert (as_set.boundary, as_set.priority) == ("open-source", 9)
    assert (as_said.boundary, as_said.priority) == ("personal", 2)


async def test_what_is_no_submission_is_refused_with_the_exit_code_of_the_reason(typed: Typing) -> None:
    for arguments, code in (
        (("text", "--deadline", "soon"), 2),
        (("text", "--boundary", "nowhere"), 4),
        (("text", "--assign-to", "nobody"), 3),
    ):
        done = await typed("submit", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr


async def test_when_nobody_can_take_it_it_says_where_those_are_who_could(typed: Typing) -> None:
    async with typed.agent("away", capabilities=["loom", "thread"]) as away:
        await away.register_agent("codex", capabilities=["loom", "thread"])
    elsewhere = Typing(typed.shell, f"{typed.project}-other")
    async with (
        typed.agent("narrow", capabilities=["loom", "thread"], boundaries=["open-source"]),
        typed.agent("unable", capabilities=["loom"]),
        elsewhere.agent("abroad", capabilities=["loom", "thread"], visibility="public"),
        typed.operator() as looker,
    ):
        await looker.add_target(
            "shed",
            agent_type="codex",
            capabilities=["loom", "thread"],
            boundaries=["personal"],
            mechanism="local",
            config={"command": ["true"]},
        )
        await looker.disable_target("shed")

        async def away_is_offline() -> bool:
            return (await looker.get_agent_info("away")).status is AgentStatus.OFFLINE

        await eventually(away_is_offline, SECONDS)
        told = (
            "No agent can take it now, of 2 agents",
            "able, but offline: away (seen ",
            "able, but not for 'personal': narrow (for open-source)",
            f"able, but in the project {elsewhere.project}: abroad",
            "no target starts one: shed is disabled",
        )

        async def is_told(*flags: str) -> bool:
            said = (await typed("submit", "weave", "-c", "loom", "-c", "thread", *flags)).stderr
            return all(each in said for each in told) and "unable" not in said

        await eventually(is_told, SECONDS)
        await eventually(lambda: is_told("--dry-run"), SECONDS)
        quiet = await typed("submit", "weave", "-c", "loom", "-c", "thread", "--quiet")
        unknown = await typed("submit", "weave", "-c", "a loom")

    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "`shuttle agents list --all-projects --capability 'a loom'` looks everywhere" in unknown.stderr


async def test_of_an_agent_that_has_no_room_it_says_just_that(typed: Typing) -> None:
    async with typed.agent("full", capabilities=["loom"]) as full:
        await full.broadcast_work_offer("first", capabilities=["loom"])
        await full.claim_work(wait_seconds=SECONDS)
        told = (await typed("submit", "second", "-c", "loom")).stderr

    assert told == "No agent can take it now, of 1 agent: 1 without room.\n"


async def test_it_says_that_an_agent_is_being_started(typed: Typing) -> None:
    async with typed.operator() as looker:
        await looker.add_target(
            "shed",
            agent_type="codex",
            capabilities=["loom"],
            boundaries=["personal"],
            mechanism="local",
            config={"command": ["true"]},
        )
    dry = await typed("submit", "weave", "-c", "loom", "--dry-run")
    real = await typed("submit", "weave", "-c", "loom")

    assert "an agent can be started for it on shed" in dry.stderr
    assert "An agent is being started for it." in real.stderr


async def test_the_lines_of_a_file_are_offered_in_their_order_and_once(typed: Typing) -> None:
    plan = (
        '{"description": "spin", "taskId": "spin"}\n\n{"description": "weave", "dependsOn": ["spin"], "priority": 2}\n'
    )
    first = await typed("submit", "--jsonl", "-", "--priority", "7", stdin=plan)
    again = await typed.json("submit", "--jsonl", "-", "--priority", "7", stdin=plan)
    async with typed.operator() as looker:
        listed = (await looker.list_work()).items

    ids = first.stdout.split()
    assert [each["id"] for each in again["items"]] == ids
    assert [each["duplicate"] for each in again["items"]] == [True, True]
    assert [(each.id, each.priority, each.status, each.depends_on) for each in reversed(listed)] == [
        (ids[0], 7, "ready", ()),
        (ids[1], 2, "blocked", (ids[0],)),
    ]


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ('{"description": "x", "priority": 99}', 2, "line 2: malformed arguments"),
        ('{"description": "x", "dependsOn": ["w_unknown"]}', 3, "line 2: there is no work item"),
        ('{"description": "x", "boundary": "nowhere"}', 4, "line 2: "),
    ],
)
async def test_nothing_is_offered_if_one_line_would_be_refused(typed: Typing, line: str, code: int, told: str) -> None:
    done = await typed("submit", "--jsonl", "-", stdin=f'{{"description": "good"}}\n{line}\n')
    async with typed.operator() as looker:
        total = (await looker.list_work()).total

    assert (done.returncode, done.stdout, total) == (code, "", 0)
    assert told in done.stderr


async def test_what_was_offered_before_a_line_that_failed_is_shown_and_said(typed: Typing) -> None:
    await typed("submit", "--jsonl", "-", stdin='{"description": "old", "taskId": "b"}')
    plan = '{"description": "a"}\n{"description": "new", "taskId": "b"}\n{"description": "c"}\n'
    plain, as_json = (
        await typed("submit", "--jsonl", "-", stdin=plan),
        await typed("submit", "--jsonl", "-", "--json", stdin=plan),
    )

    assert (plain.returncode, as_json.returncode) == (1, 1)
    assert [each["id"] for each in json.loads(as_json.stdout)["items"]] == plain.stdout.split()
    assert len(plain.stdout.split()) == 1
    assert "1 of 3 items are offered, but not line 2; the same command again goes on there" in plain.stderr


def test_who_interrupts_a_file_hears_how_far_it_came(typed: Typing) -> None:
    plan = typed.shell.directory / "long.jsonl"
    plan.write_text("".join(f'{{"description": "item {number}"}}\n' for number in range(2000)))
    with subprocess.Popen(
        [sys.executable, "-m", "loominal.shuttle.main", "submit", "--jsonl", plan.name],
        env=typed.shell.environ | {"LOOMINAL_PROJECT_ID": typed.project},
        cwd=typed.shell.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sending:
        assert sending.stdout
        assert sending.stderr
        first = sending.stdout.readline()
        sending.send_signal(signal.SIGINT)
        rest, told = sending.stdout.read(), sending.stderr.read()  # `communicate` loses what came with the first line

    assert (sending.returncode, first[:2]) == (130, "w_")
    assert f"{1 + len(rest.split())} of 2000 items are offered" in told
    assert "Traceback" not in told


async def test_many_lines_are_counted_while_they_are_sent(typed: Typing) -> None:
    plan = "".join(f'{{"description": "item {number}"}}\n' for number in range(120))
    done = await typed("submit", "--jsonl", "-", stdin=plan)

    assert len(set(done.stdout.split())) == 120
    assert done.stderr.splitlines()[:3] == [
        "50 of 120 are offered",
        "100 of 120 are offered",
        "120 items are offered",
    ]
    assert "120 items are ready and nobody can take them now" in done.stderr


async def test_a_dry_run_shows_what_would_be_offered_and_offers_nothing(typed: Typing) -> None:
    plan = '{"description": "spin", "taskId": "spin"}\n{"description": "weave", "dependsOn": ["spin"]}\n'
    async with typed.agent("ada") as ada:
        shown = (await typed("submit", "--jsonl", "-", "--dry-run", stdin=plan)).stdout
        planned = (await typed.json("submit", "--jsonl", "-", "--dry-run", stdin=plan))["items"]
        total = (await ada.list_work()).total

    assert total == 0
    assert [line.split()[1] for line in shown.splitlines()[1:]] == ["ready", "blocked"]
    assert [each["offer"]["description"] for each in planned] == ["spin", "weave"]
    assert [each["preview"]["eligible"] for each in planned] == [1, 1]


async def test_wait_stays_until_all_have_ended(typed: Typing) -> None:
    async def works(agent: Agent) -> None:
        [work] = (await agent.claim_work(wait_seconds=SECONDS)).work
        await agent.complete_work(work.id, f"done: {work.description}")

    async with typed.agent("ada", capabilities=["any"], max_concurrent=3) as ada:
        one, *_ = await asyncio.gather(typed("submit", "one", "--wait"), works(ada))
        plan = '{"description": "two"}\n{"description": "three", "capability": "unheard-of", "deadline": "1s"}\n'
        both, *_ = await asyncio.gather(typed("submit", "--jsonl", "-", "--wait", "--json", stdin=plan), works(ada))

    assert (one.returncode, one.stdout.split()[0][:2]) == (0, "w_")
    assert "done: one" in one.stderr
    assert both.returncode == 1
    assert [each["status"] for each in json.loads(both.stdout)["items"]] == ["done", "dead"]
