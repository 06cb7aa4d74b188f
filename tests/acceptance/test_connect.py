"""`loominal connect` as a user runs it, in throw-away homes; and what doctor says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXISTING = '{\n  "numStartups": 3,\n  "mcpServers": {\n    "other": {"command": "x"}\n  }\n}'


class User:
    """A home of nobody's, a project in it, and the commands that run there."""

    def __init__(self, home: Path) -> None:
        self.home, self.project = home, home / "shop"
        self.project.mkdir()
        self.state = home / ".claude.json"

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "loominal", *arguments],
            env={**os.environ, "HOME": str(self.home), "PATH": os.defpath, **environ},
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def checks(self) -> dict[str, dict[str, object]]:
        """Return what doctor says, by the name of the check."""
        return {check["name"]: check for check in json.loads(self.run("doctor", "--json").stdout)["checks"]}


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def test_a_client_is_connected_by_the_path_of_our_program_and_undone_byte_for_byte(user: User) -> None:
    user.state.write_text(EXISTING)

    done = user.run("connect", "claude-code")

    assert done.returncode == 0, done.stderr
    assert str(user.state) in done.stdout
    assert "restart Claude Code" in done.stdout
    server = json.loads(user.state.read_text())["mcpServers"]["loominal"]
    asked = subprocess.run(
        [server["command"], *server["args"], "--version"], capture_output=True, text=True, check=True
    )
    assert asked.stdout.startswith("warp, version")
    assert "already connected" in user.run("connect", "claude-code").stdout
    assert user.run("connect", "claude-code", "--undo").returncode == 0
    assert user.state.read_text() == EXISTING
    assert "nothing to undo" in user.run("connect", "claude-code", "--undo").stdout


def test_a_project_starts_warp_by_its_name(user: User) -> None:
    assert user.run("connect", "claude-code", "--scope", "project").returncode == 0

    server = json.loads((user.project / ".mcp.json").read_text())["mcpServers"]["loominal"]
    assert (server["command"], server["args"]) == ("warp", [])
    assert not user.state.exists()
    assert user.run("connect", "claude-code", "--scope", "project", "--undo").returncode == 0
    assert list(user.project.iterdir()) == []


def test_the_hooks_that_are_written_run(user: User) -> None:
    assert user.run("connect", "claude-code").returncode == 0

    hooks = json.loads((user.home / ".claude" / "settings.json").read_text())["hooks"]
    commands = [hook["command"] for groups in hooks.values() for group in groups for hook in group["hooks"]]
    assert [command.rpartition(" ")[2] for command in commands] == ["session-start", "prompt", "stop", "wait"]
    for command in commands:
        done = subprocess.run(command, shell=True, input='{"session_id": "s"}', capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_dry_run_prints_a_diff_and_changes_nothing(user: User) -> None:
    user.state.write_text(EXISTING)

    done = user.run("connect", "claude-code", "--allow", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert '+    "loominal": {' in done.stdout
    assert '+      "mcp__loominal__join",' in done.stdout
    assert user.state.read_text() == EXISTING
    assert sorted(path.name for path in user.home.iterdir()) == [".claude.json", "shop"]


def test_all_means_those_that_are_found_and_one_that_fails_stops_no_other(user: User) -> None:
    user.state.write_text("{broken")
    (user.home / ".codex").mkdir()
    (user.home / ".cursor").mkdir()

    done = user.run("connect", "--all")

    assert done.returncode == 1
    assert "malformed" in done.stderr
    assert user.state.read_text() == "{broken"
    assert "loominal" in (user.home / ".codex" / "config.toml").read_text()
    assert "loominal" in (user.home / ".cursor" / "mcp.json").read_text()
    assert not (user.home / ".gemini").exists()


def test_without_a_client_they_are_listed(user: User) -> None:
    (user.home / ".codex").mkdir()
    user.run("connect", "codex")
    (user.home / ".gemini").mkdir()

    lines = dict(line.split(maxsplit=1) for line in user.run("connect").stdout.splitlines())

    assert lines["codex"].startswith("connected: user")
    assert lines["gemini"] == "found"
    assert lines["vscode"] == "not found"


@pytest.mark.parametrize("arguments", [["nonesuch"], ["codex", "--all"], ["--all"], ["codex", "--scope", "galaxy"]])
def test_what_cannot_be_meant_is_a_usage_error(user: User, arguments: list[str]) -> None:
    done = user.run("connect", *arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_said(user: User) -> None:
    (user.home / ".codex").write_text("in the way")

    done = user.run("connect", "codex")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(user.home / ".codex") in done.stderr


def test_doctor_says_how_clients_stand(user: User) -> None:
    assert "claude-code" not in user.checks()
    unread = user.home / ".claude" / "mcp.json"
    unread.parent.mkdir()
    unread.write_text('{"mcpServers": {"loominal": {"command": "warp"}}}')

    misled = user.checks()["claude-code"]
    connected = user.run("connect", "claude-code")
    well = user.checks()["claude-code"]
    user.state.write_text(user.state.read_text().replace("/warp", "/gone").replace("/python", "/gone"))
    lost = user.checks()["claude-code"]

    assert (misled["ok"], str(unread) in str(misled["detail"])) == (False, True)
    assert str(unread) in connected.stdout
    assert well["ok"]
    assert (lost["ok"], "no program" in str(lost["detail"])) == (False, True)
    assert user.run("connect", "claude-code").returncode == 0
    assert user.checks()["claude-code"]["ok"]


def test_help_has_an_example(user: User) -> None:
    assert "Example: loominal" in user.run("connect", "--help").stdout
