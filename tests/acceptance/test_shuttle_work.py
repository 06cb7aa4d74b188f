"""`shuttle work` and `shuttle dlq`: what they list, explain, call off, retry and give up, as agents see it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkDetail
from loominal.model.work import Status, Usage
from tests.acceptance.shells import Typing
from tests.integration.conftest import eventually

SECONDS = 50.0


@pytest.fixture
async def ada(typed: Typing) -> AsyncIterator[Agent]:
    async with typed.agent("ada", capabilities=["wool", "dye"], max_concurrent=10) as agent:
        yield agent


async def dead_letters(ada: Agent, *needs: Sequence[str]) -> list[str]:
    """Return items that the agent has offered and failed for good, one for each of what is needed."""
    ids = [(await ada.broadcast_work_offer("hopeless", capabilities=each)).id for each in needs]
    for _ in ids:
        [work] = (await ada.claim_work(wait_seconds=SECONDS)).work
        await ada.fail_work(work.id, "no\nway\x1b[31m out", retryable=False)
    return ids


def notes(item: WorkDetail) -> list[str]:
    return [each.note for each in item.history]


async def test_each_filter_of_the_list_leaves_out_what_it_says(typed: Typing, ada: Agent) -> None:
    mine = (await typed.json("submit", "mine", "-c", "wool"))["id"]
    held = (await ada.broadcast_work_offer("held", capabilities=["dye"], priority=9)).id
    [claim] = (await ada.claim_work(capability="dye", wait_seconds=SECONDS)).work
    away = (await ada.broadcast_work_offer("away", boundary="open-source", capabilities=["cobol"])).id

    async def listed(*flags: str) -> list[str]:
        return [each["id"] for each in (await typed.json("work", "list", *flags))["items"]]

    assert claim.id == held
    assert await listed() == [away, held, mine]
    assert await listed("--status", "claimed") == [held]
    assert await listed("--capability", "wool") == [mine]
    assert await listed("--boundary", "open-source") == [away]
    assert await listed("--agent", "ada") == [away, held]
    assert await listed("--mine") == [mine]
    assert await listed("--min-priority", "9") == [held]
    assert await listed("--limit", "2") == [away, held]


async def test_a_list_goes_on_over_pages_and_behind_a_cursor(typed: Typing, ada: Agent) -> None:
    ids = [(await ada.broadcast_work_offer(f"item {number}")).id for number in range(130)][::-1]

    first = await typed.json("work", "list", "--limit", "120")
    rest = await typed.json("work", "list", "--limit", "120", "--cursor", first["nextCursor"])
    short = await typed("work", "list", "--limit", "3")
    forged = await typed("work", "list", "--cursor", "x")

    assert [each["id"] for each in first["items"] + rest["items"]] == ids
    assert (first["total"], "nextCursor" in rest) == (130, False)
    assert len(short.stdout.splitlines()) == 1 + 3
    assert short.stderr == "3 of 130; --limit 130 shows all\n"
    assert forged.returncode == 2


async def test_what_a_failed_attempt_has_cost_stands_in_the_history(typed: Typing, ada: Agent) -> None:
    offered = await ada.broadcast_work_offer("hopeless", capabilities=["wool"])
    await ada.claim_work(wait_seconds=SECONDS)
    await ada.fail_work(offered.id, "no way", retryable=False, usage=Usage(cost_usd=0.25, turns=3))

    document, text = await typed.json("work", "show", offered.id), await typed("work", "show", offered.id)

    assert document["history"][-1]["usage"] == {"costUsd": 0.25, "turns": 3}
    assert 'no way {"costUsd":0.25,"turns":3}' in text.stdout


async def test_an_item_is_shown_by_either_of_its_names_with_every_line_of_its_text(typed: Typing, ada: Agent) -> None:
    text = "spin\n\n  the wool\x1b[31m\u202e"
    await ada.broadcast_work_offer(text, task_id="wheel", capabilities=["wool"], context_data={"grams": 5})
    [work] = (await ada.claim_work(wait_seconds=SECONDS)).work
    await ada.complete_work(
        work.id, "spun", result={"metres": 90}, artifacts=[{"kind": "url", "value": "https://example.org/yarn"}]
    )

    shown = (await typed("work", "show", "wheel")).stdout
    as_json = await typed.json("work", "show", work.id)
    moves = await typed.json("work", "history", "wheel")
    table = (await typed("work", "history", work.id)).stdout

    assert "\n  spin\n\n    the wool [31m\n" in shown
    for part in ('{"grams":5}', '{"metres":90}', "spun", "https://example.org/yarn", "ada"):
        assert part in shown
    assert (as_json["description"], as_json["status"]) == (text, "done")
    assert [each["move"] for each in moves["history"]][:3] == ["submit", "claim", "complete"]
    assert [line.split()[1] for line in table.splitlines()[1:4]] == ["submit", "claim", "complete"]


async def test_why_tells_of_each_agent_and_target_what_keeps_it_from_the_work(typed: Typing, ada: Agent) -> None:
    async with typed.operator() as looker:
        await looker.add_target(
            "shed",
            agent_type="codex",
            capabilities=["wool"],
            boundaries=["personal"],
            mechanism="local",
            config={"command": ["true"]},
        )
        await looker.disable_target("shed")
    item = (await ada.broadcast_work_offer("weave", task_id="cloth", capabilities=["loom"])).id
    told, as_json = (await typed("work", "why", "cloth")).stdout, await typed.json("work", "why", item)
    await ada.cancel_work(item)
    over = (await typed("work", "why", item)).stdout

    sentence, _, *rows = told.splitlines()
    assert sentence == "No agent can take it now, of 1 agent: 1 not registered for 'loom'."
    assert [row.split()[:3] for row in rows] == [["ada", "python", "no"], ["shed", "target", "no"]]
    assert ("capability" in rows[0], "disabled" in rows[1]) == (True, True)
    assert [each["rule"] for each in (*as_json["agents"], *as_json["targets"])] == ["capability", "disabled"]
    assert over == "It is cancelled: it waits for nothing.\n"


async def test_why_says_what_a_person_can_do_where_policy_keeps_everybody_from_it(typed: Typing, ada: Agent) -> None:
    item = (await ada.broadcast_work_offer("weave", capabilities=["wool"], boundary="open-source")).id
    await typed("policy", "set", "--boundary", "open-source", "--agent-type", "codex-of-nobody")
    kept = (await typed("work", "why", item)).stderr
    await typed("policy", "set", "--boundary", "open-source", "--agent-type", "")
    open_ = (await typed("work", "why", item)).stderr
    await ada.cancel_work(item)

    assert "`shuttle policy set --boundary open-source` changes it" in kept
    assert open_ == ""


async def test_several_items_are_called_off_and_one_that_cannot_be_keeps_nobody_from_the_others(
    typed: Typing, ada: Agent
) -> None:
    first, second = [(await ada.broadcast_work_offer(text, capabilities=["wool"])).id for text in ("one", "two")]
    [claim] = (await ada.claim_work(wait_seconds=SECONDS)).work
    done = await typed("work", "cancel", first, "w_unknown", second, "--reason", "moths", "--json")

    async def is_asked_to_stop() -> bool:
        return ada.cancel_requested(claim.id)

    await eventually(is_asked_to_stop, SECONDS)
    waiting = await ada.get_work(second if claim.id == first else first)
    again = await typed("work", "cancel", waiting.id)

    assert done.returncode == 3
    assert "w_unknown" in done.stderr
    assert f"{claim.id}: its holder is asked to stop" in done.stderr
    assert {each["workId"]: each["status"] for each in json.loads(done.stdout)["items"]} == {
        claim.id: "claimed",
        waiting.id: "cancelled",
    }
    assert (waiting.status, "moths" in notes(waiting)) == (Status.CANCELLED, True)
    assert again.returncode == 1


async def test_dead_letters_are_listed_with_what_killed_them(typed: Typing, ada: Agent) -> None:
    wool, dye = await dead_letters(ada, ["wool"], ["dye"])

    table = (await typed("dlq", "list")).stdout.splitlines()
    chosen = await typed.json("dlq", "list", "--capability", "wool")
    newest = await typed("dlq", "list", "--limit", "1")

    assert [row.split()[0] for row in table] == ["ID", dye, wool]
    assert all("not_retryable" in row and "way [31m out" in row and "no way" not in row for row in table[1:])
    assert [each["id"] for each in chosen["items"]] == [wool]
    assert (newest.stdout.splitlines()[1].split()[0], newest.stderr) == (dye, "1 of 2; --limit 2 shows all\n")


async def test_named_dead_letters_get_one_more_attempt_or_a_new_count(typed: Typing, ada: Agent) -> None:
    one, two, three = await dead_letters(ada, ["wool"], ["wool"], ["wool"])
    more = await typed("dlq", "retry", one, "w_unknown", two)
    await typed("dlq", "retry", three, "--reset-attempts")
    again = await typed("dlq", "retry", one)
    items = {each: await ada.get_work(each) for each in (one, two, three)}

    assert (more.returncode, again.returncode) == (3, 1)
    assert [items[each].status for each in (one, two, three)] == ["ready"] * 3
    assert [items[each].attempt for each in (one, two, three)] == [1, 1, 0]


async def test_all_dead_letters_of_a_capability_are_retried_after_a_dry_run(typed: Typing, ada: Agent) -> None:
    wool, dye = await dead_letters(ada, ["wool"], ["dye"])
    chosen = ("dlq", "retry", "--all", "--capability", "wool")

    dry = await typed.json(*chosen, "--dry-run")
    before = await ada.list_work(status=Status.DEAD)
    real = await typed.json(*chosen)

    assert [each["id"] for each in dry["items"]] == [wool]
    assert before.total == 2
    assert real["items"] == [{"id": wool, "status": "ready"}]
    assert (await ada.get_work(dye)).status is Status.DEAD


async def test_an_empty_list_says_of_which_project_it_is(typed: Typing) -> None:
    await typed("channels", "send", "general", "anybody?", "--project", "quiet-one")
    for words in (["work", "list"], ["dlq", "list"], ["targets", "list"]):
        empty = await typed(*words, "--project", "quiet-one")
        assert (empty.returncode, empty.stdout) == (0, "")
        assert empty.stderr.startswith("in quiet-one: no "), empty.stderr


async def test_a_list_of_a_mistyped_project_makes_none(typed: Typing) -> None:
    for words in (["work", "list"], ["agents", "list"], ["stats"]):
        refused = await typed(*words, "--project", "slip-of-the-pen")
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "there is no project 'slip-of-the-pen'\n  `shuttle projects` lists them" in refused.stderr
    assert "slip-of-the-pen" not in (await typed("projects", "--json")).stdout


async def test_discarding_all_needs_a_yes(typed: Typing, ada: Agent) -> None:
    wool, dye = await dead_letters(ada, ["wool"], ["dye"])

    unasked = await typed("dlq", "discard", "--all")
    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    dry = await typed.json("dlq", "discard", "--all", "--capability", "dye", "--dry-run")
    assert [each["id"] for each in dry["items"]] == [dye]
    assert (await ada.list_work(status=Status.DEAD)).total == 2
    some = await typed.json("dlq", "discard", "--all", "--capability", "dye", "--yes", "--reason", "faded")
    assert some["items"] == [{"id": dye, "status": "discarded"}]
    assert "faded" in notes(await ada.get_work(dye))
    assert (await typed("dlq", "discard", wool)).returncode == 0
    nothing = await typed("dlq", "discard", "--all", "--yes")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "no dead letters\n")


async def test_on_a_terminal_it_asks_before_it_discards_all(typed: Typing, ada: Agent) -> None:
    [letter] = await dead_letters(ada, ["wool"])

    no = await typed.answered("n", "dlq", "discard", "--all")
    kept = (await ada.get_work(letter)).status
    yes = await typed.answered("y", "dlq", "discard", "--all")

    assert (no.returncode, no.stdout, kept) == (1, b"", Status.DEAD)
    assert b"Discard 1 dead letter?" in no.stderr
    assert (yes.returncode, (await ada.get_work(letter)).status) == (0, Status.DISCARDED)


async def test_what_is_not_there_ends_with_three_and_what_to_look_at(typed: Typing) -> None:
    for command in ("work show", "work history", "work why", "work cancel", "dlq retry", "dlq discard"):
        done = await typed(*command.split(), "w_unknown")
        assert (done.returncode, done.stdout) == (3, ""), command
        assert "there is no work item 'w_unknown'" in done.stderr
        assert "`shuttle work list`" in done.stderr
