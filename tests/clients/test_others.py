"""Codex, Copilot CLI, Gemini CLI and opencode as `loominal connect` sets them up, with real warps and our model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from loominal.fabric.client.agent import Agent
from tests.clients.drive import ONE_MAIL, drive
from tests.clients.scripted_model import ScriptedModel
from tests.clients.user import OURS, User, need


def codex(user: User, model: ScriptedModel) -> list[str]:
    """Return how Codex is let ask our model; its hooks are trusted for this one time, as a user does by /hooks."""
    path = user.home / ".codex" / "config.toml"
    provider = f'{{name = "scripted", base_url = "{model.url}/v1", wire_api = "responses", env_key = "KEY"}}'
    first = f'model = "scripted"\nmodel_provider = "scripted"\nmodel_providers.scripted = {provider}\n'
    path.write_text(first + path.read_text())
    user.environ["KEY"] = "none"
    return ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", "go"]


def copilot(user: User, model: ScriptedModel) -> list[str]:
    """Return how Copilot CLI is let ask our model."""
    user.environ |= {
        "COPILOT_PROVIDER_BASE_URL": f"{model.url}/v1",
        "COPILOT_PROVIDER_TYPE": "openai",
        "COPILOT_PROVIDER_API_KEY": "none",
        "COPILOT_MODEL": "scripted",
        "COPILOT_OFFLINE": "true",
    }
    return ["copilot", "-p", "go", "--allow-tool=loominal"]


def gemini(user: User, model: ScriptedModel) -> list[str]:
    """Return how Gemini CLI is let ask our model."""
    folder = user.home / ".gemini"
    settings = json.loads((folder / "settings.json").read_text())
    settings |= {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}
    (folder / "settings.json").write_text(json.dumps(settings))
    trust(user)
    user.environ |= {"GEMINI_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": model.url}
    return ["gemini", "-m", "gemini-2.5-flash", "-p", "go"]


def trust(user: User) -> None:
    """Let Gemini CLI trust the user's folder, or it would start no server."""
    (user.home / ".gemini" / "trustedFolders.json").write_text(json.dumps({str(user.folder): "TRUST_FOLDER"}))


def opencode(user: User, model: ScriptedModel) -> list[str]:
    """Return how opencode is let ask our model."""
    path = user.home / ".config" / "opencode" / "opencode.json"
    options = {"baseURL": f"{model.url}/v1", "apiKey": "none"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"scripted": {"name": "scripted"}}}
    settings = json.loads(path.read_text()) | {"model": "scripted/scripted", "provider": {"scripted": provider}}
    path.write_text(json.dumps(settings))
    return ["opencode", "run", "go"]


@pytest.mark.parametrize(
    ("name", "prepare", "keeps_going"),
    [("codex", codex, True), ("copilot-cli", copilot, True), ("gemini", gemini, True), ("opencode", opencode, False)],
    ids=["codex", "copilot", "gemini", "opencode"],
)
async def test_a_client_works_with_a_peer_and_its_hooks_keep_it_going(
    user: User,
    model: ScriptedModel,
    bob: Agent,
    name: str,
    prepare: Callable[[User, ScriptedModel], list[str]],
    *,
    keeps_going: bool,
) -> None:
    """opencode has no hooks; what each is, its agent's type says."""
    need(name.removesuffix("-cli"))
    user.connect(name)

    async with user.running(*prepare(user, model)) as client:
        await drive(client, model, bob)
        await client.end()

    assert (ONE_MAIL in model.seen) is keeps_going
    [ann] = (await bob.discover_agents(agent_type=name, include_offline=True)).agents
    assert ann.handle == "ann"


@pytest.mark.parametrize(
    ("name", "command", "shown"),
    [
        ("claude-code", ("claude", "mcp", "list"), "Connected"),
        ("codex", ("codex", "mcp", "list"), "enabled"),
        ("copilot-cli", ("copilot", "mcp", "get", "loominal"), "Enabled"),
        ("gemini", ("gemini", "mcp", "list"), "Connected"),
        ("opencode", ("opencode", "mcp", "list"), "connected"),
    ],
    ids=["claude", "codex", "copilot", "gemini", "opencode"],
)
def test_a_client_lists_the_server_that_connect_wrote_and_after_undo_no_more(
    user: User, name: str, command: tuple[str, ...], shown: str
) -> None:
    """Claude Code, Gemini CLI and opencode start it for that, the others only read it."""
    need(command[0])
    user.connect(name)
    if name == "gemini":
        trust(user)

    said = user.run(*command)

    assert "loominal" in said
    assert shown in said
    assert "deprecated" not in said
    user.run("loominal", "connect", name, "--undo")
    assert str(OURS) not in user.run("sh", "-c", f"{' '.join(command)} || true")
