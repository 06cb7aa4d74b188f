"""Real clients that a runner starts without a person: what comes of items, also if runs are killed or called off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkDetail
from loominal.runner.desk import KEPT
from tests.clients.scripted_model import HOLD, ScriptedModel, call, say
from tests.clients.test_claude_code import environment
from tests.clients.test_others import codex, copilot, gemini
from tests.clients.user import User, need
from tests.integration.conftest import eventually

SECONDS = 150.0


def claude(user: User, model: ScriptedModel) -> list[str]:
    """Return how Claude Code is let ask our model."""
    user.environ |= environment(model)
    return ["claude"]


def prepare(user: User, model: ScriptedModel, name: str, ask: Callable[[User, ScriptedModel], list[str]]) -> list[str]:
    """Return the client's program with the options that lead it to our model, and no others."""
    for file, text in ((".codex/config.toml", ""), (".gemini/settings.json", "{}")):
        path = user.home / file
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(text)
    program, *_ = ask(user, model)
    return [program, *(["-m", "gemini-2.5-flash"] if name == "gemini" else [])]


def run(name: str, command: list[str], *options: str) -> list[str]:
    """Return the command line of a runner that does one item."""
    return ["loominal", "agent", "run", "--client", name, "--capability", "go", *options, "--", *command]


async def ended(bob: Agent, work: str) -> WorkDetail:
    """Return an item when it has ended."""
    item = await bob.get_work(work)

    async def over() -> bool:
        nonlocal item
        item = await bob.get_work(work, wait_seconds=20)
        return item.ended_at is not None

    await eventually(over, SECONDS)
    return item


def processes(name: str) -> list[int]:
    """Return the processes whose environment says that they work on the item."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"LOOMINAL_WORK_ID={name}".encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not-connected"])
@pytest.mark.parametrize(
    ("name", "ask"),
    [("claude-code", claude), ("codex", codex), ("copilot-cli", copilot), ("gemini", gemini)],
    ids=["claude", "codex", "copilot", "gemini"],
)
async def test_a_client_does_an_item_as_the_runners_agent_and_its_last_words_are_the_result(
    user: User,
    model: ScriptedModel,
    bob: Agent,
    name: str,
    ask: Callable[[User, ScriptedModel], list[str]],
    *,
    connected: bool,
) -> None:
    if name == "gemini" and not connected and Path(user.environ["LOOMINAL_HOME"]).is_relative_to(gettempdir()):
        pytest.skip("Gemini CLI takes no settings from below a folder that others may write")
    need({"claude-code": "claude", "copilot-cli": "copilot"}.get(name, name))
    if connected:
        user.connect(name)
    command = prepare(user, model, name, ask)
    before = {path: path.read_bytes() for path in user.home.rglob("*.toml")}
    offer = await bob.broadcast_work_offer("Sweep the shop", capabilities=["go"], context_data={"rooms": 3})
    model.will(call("report_progress", workId=offer.id, percent=40, message="swept one"), HOLD, say("all swept"))
    async with user.running(*run(name, command, "--max-items", "1")) as client:
        await model.until(lambda: model.holds)
        assert (at := (await bob.get_work(offer.id)).progress), client.said
        assert at.percent == 40
        model.release()
        item = await ended(bob, offer.id)
        assert item.status == "done", (item.errors, client.said)
        await client.end()

    assert (item.summary, item.attempt) == ("all swept", 1)
    assert item.result["usage"].get("outputTokens") or name == "copilot-cli", item.result
    assert "Sweep the shop" in model.seen
    assert '"rooms": 3' in model.seen
    assert {path: path.read_bytes() for path in before} == before
    [agent] = (await bob.discover_agents(agent_type=name, include_offline=True)).agents
    assert item.history[1].by == agent.handle


@pytest.mark.parametrize(
    ("name", "ask"),
    [("claude-code", claude), ("codex", codex), ("copilot-cli", copilot)],
    ids=["claude", "codex", "copilot"],
)
async def test_a_model_that_completes_its_item_itself_has_done_so_and_all_that_it_has_used_is_told(
    user: User, model: ScriptedModel, bob: Agent, name: str, ask: Callable[[User, ScriptedModel], list[str]]
) -> None:
    need({"claude-code": "claude", "copilot-cli": "copilot"}.get(name, name))
    offer = await bob.broadcast_work_offer("Sweep the shop", capabilities=["go"])
    model.will(call("complete_work", workId=offer.id, summary="swept", result={"rooms": 3}), say("I have told it"))
    async with user.running(*run(name, prepare(user, model, name, ask), "--max-items", "1")) as client:
        said = await client.end()

    item = await bob.get_work(offer.id)
    assert (item.status, item.summary, item.result["rooms"]) == ("done", "swept", 3), said
    assert KEPT in model.seen
    usage = item.result["usage"]
    assert {"claude-code": "costUsd", "codex": "inputTokens", "copilot-cli": "turns"}[name] in usage


async def test_a_client_that_is_killed_fails_the_attempt_and_a_second_run_does_the_item(
    user: User, model: ScriptedModel, bob: Agent
) -> None:
    need("claude")
    offer = await bob.broadcast_work_offer("Sweep the shop", capabilities=["go"])
    model.will(HOLD, say("never heard"), say("all swept"))
    async with user.running(*run("claude-code", claude(user, model), "--max-items", "2")) as client:
        await model.until(lambda: model.holds)
        for pid in processes(offer.id):
            user.run("kill", "-9", str(pid))
        await eventually(lambda: not processes(offer.id), SECONDS)
        model.release()
        item = await ended(bob, offer.id)
        await client.end()

    assert (item.status, item.attempt, len(item.errors)) == ("done", 2, 1), client.said
    assert "signal 9" in item.errors[0].message


async def test_a_cancelled_item_leaves_nothing_of_its_client(user: User, model: ScriptedModel, bob: Agent) -> None:
    need("claude")
    offer = await bob.broadcast_work_offer("Sweep the shop", capabilities=["go"])
    model.will(HOLD)
    async with user.running(*run("claude-code", claude(user, model), "--max-items", "1")) as client:
        await model.until(lambda: model.holds)
        assert processes(offer.id)
        await bob.cancel_work(offer.id)
        await client.end()
        model.release()

    assert processes(offer.id) == []
    assert (await bob.get_work(offer.id)).status == "cancelled"
