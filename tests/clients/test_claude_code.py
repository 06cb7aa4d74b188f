"""Real Claude Code with real warps: its tools, its hooks in a terminal, what wakes it, and the channel push."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loominal.fabric.client.agent import Agent
from tests.clients.drive import ONE_MAIL, drive
from tests.clients.scripted_model import HOLD, ScriptedModel, call, say
from tests.clients.terminal import Terminal, terminal
from tests.clients.user import User, need
from tests.integration.conftest import eventually

KEY = "sk-ant-of-nobody-0123456789abcdef"
CHANNELS = "tengu_harbor"  # the switch by which the vendor gives channels to an account; cached in the state file
SECONDS = 150.0
TEXT = "greetings of bob's"
MORE_MAIL = "2 unread direct messages"


def environment(model: ScriptedModel) -> dict[str, str]:
    """Return what leads Claude Code to our model, and lets the first turn wait for servers."""
    return {
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": KEY,
        "DISABLE_AUTOUPDATER": "1",
        "MCP_CONNECTION_NONBLOCKING": "0",
    }


def know(user: User, **flags: bool) -> None:
    """Write the state of somebody who has used Claude Code in this project before."""
    state = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {str(user.folder): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
        "cachedGrowthBookFeatures": flags,
        "cachedFeatureFlags": flags,
    }
    (user.home / ".claude.json").write_text(json.dumps(state))


def push(user: User) -> None:
    """Let the server be started with --channel, as a user would write it down."""
    path = user.home / ".claude.json"
    state = json.loads(path.read_text())
    state["mcpServers"]["loominal"]["args"] = ["--channel"]
    path.write_text(json.dumps(state))


async def logged(path: Path, text: str) -> None:
    """Return when a line of Claude Code's own log has `text`."""
    await eventually(lambda: path.exists() and text in path.read_text(errors="replace"), SECONDS)


async def prompt(shown: Terminal, text: str) -> None:
    """Type a prompt; a client takes what comes at once for pasted text, and the end of line with it."""
    shown.type(text)
    await shown.until(text)
    shown.type("\r")


async def test_claude_code_works_with_a_peer_and_is_told_what_went_wrong(
    user: User, model: ScriptedModel, bob: Agent
) -> None:
    need("claude")
    user.connect("claude-code")

    async with user.running("claude", "-p", "go", **environment(model)) as client:
        await drive(client, model, bob)
        await client.end()

    assert "Call join once, first." in model.seen
    assert ONE_MAIL in model.seen  # by its stop hook
    assert [each.handle for each in (await bob.discover_agents(agent_type="claude-code", include_offline=True)).agents]


async def test_claude_codes_hooks_tell_its_model_and_wake_it(user: User, model: ScriptedModel, bob: Agent) -> None:
    need("claude")
    know(user)
    user.connect("claude-code")
    log = user.home / "debug.log"
    async with terminal(user, ("claude", "--debug-file", str(log)), **environment(model)) as shown:
        await served(user)
        model.will(call("join", handle="ann"), say("joined"))
        await prompt(shown, "begin")
        await model.until(lambda: model.finished)
        assert "call join once" in model.seen  # by the prompt hook: the session's start came before the server's

        await logged(log, "hook wait] moved to the background")
        await logged(log, "hook stop] finished with status")
        model.will(say("woken"))
        await bob.send_direct_message("ann", TEXT)
        await model.until(lambda: ONE_MAIL in model.seen and model.finished)  # by the hook that waits

        await prompt(shown, "/clear")
        await logged(log, "SessionStart:clear")
        asked = len(model.requests)
        await bob.send_direct_message("ann", "once more")
        model.will(say("begun anew"))
        await prompt(shown, "again")
        await model.until(lambda: model.finished and len(model.requests) > asked)

    anew = json.dumps(model.requests[asked:])
    assert "SessionStart" in anew
    assert ONE_MAIL in anew  # what the hook of the session's new start said
    assert MORE_MAIL in anew  # what the prompt's said


async def served(user: User) -> None:
    """Return when a warp serves hooks in the user's project."""
    home = Path(user.environ["LOOMINAL_HOME"])
    await eventually(lambda: any(home.glob(f"agents/{user.project}/*/*/socket")), SECONDS)


@pytest.mark.parametrize("switched_on", [True, False], ids=["switched-on", "not-switched-on"])
async def test_claude_codes_channel_takes_a_push_and_the_message_stays_unread(
    user: User, model: ScriptedModel, bob: Agent, *, switched_on: bool
) -> None:
    """Without the switch, which a login brings, it says so and takes nothing; nothing is lost then either."""
    need("claude")
    know(user, **{CHANNELS: switched_on})
    user.connect("claude-code", "--no-hooks")
    push(user)
    log = user.home / "debug.log"
    command = ("claude", "--debug-file", str(log), "--dangerously-load-development-channels", "server:loominal")
    async with terminal(user, command, **environment(model)) as shown:
        if switched_on:
            await shown.until("I am using this for local development")
            shown.type("\r")
        await logged(log, "Channel notifications registered" if switched_on else "Channel notifications skipped")
        model.will(call("join", handle="ann"), say("joined"))
        await prompt(shown, "begin")
        await model.until(lambda: model.finished)

        model.will(HOLD, call("read_direct_messages"), say("read"))
        await bob.send_direct_message("ann", TEXT)
        if not switched_on:
            await prompt(shown, "look")
        await model.until(lambda: model.holds)
        assert (f'mail="1" cancelled="0" stalled="0">\n{ONE_MAIL}' in model.seen) is switched_on
        assert TEXT not in model.seen
        model.release()
        await model.until(lambda: TEXT in model.seen and model.finished)
