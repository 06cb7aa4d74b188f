"""Each client's files: fresh, with something in them, malformed; written, written again, undone, changed in between."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from loominal.fabric.operations import OPERATIONS
from loominal.local.connect.clients import CLIENTS
from loominal.local.connect.edit import looked_up
from loominal.local.connect.findings import findings
from loominal.local.connect.interface import ALLOWED_TOOLS, Client, FileEdit, Place, Scope, Wish
from loominal.local.connect.plan import connecting, undoing
from loominal.local.connect.text import GRAMMARS, Format
from loominal.model.errors import LoominalError

FILES = {
    ("claude-code", Scope.USER): {".claude.json", ".claude/settings.json"},
    ("claude-code", Scope.PROJECT): {"shop/.mcp.json", "shop/.claude/settings.json"},
    ("codex", Scope.USER): {".codex/config.toml", ".codex/hooks.json"},
    ("codex", Scope.PROJECT): {"shop/.codex/config.toml", "shop/.codex/hooks.json"},
    ("gemini", Scope.USER): {".gemini/settings.json", ".gemini/policies/loominal.toml"},
    ("gemini", Scope.PROJECT): {"shop/.gemini/settings.json"},
    ("copilot-cli", Scope.USER): {".copilot/mcp-config.json", ".copilot/hooks/loominal.json"},
    ("copilot-cli", Scope.PROJECT): {"shop/.github/mcp.json", "shop/.github/hooks/loominal.json"},
    ("cursor", Scope.USER): {".cursor/mcp.json", ".cursor/hooks.json", ".cursor/permissions.json"},
    ("cursor", Scope.PROJECT): {"shop/.cursor/mcp.json", "shop/.cursor/hooks.json", "shop/.cursor/cli.json"},
    ("vscode", Scope.USER): {".config/Code/User/mcp.json"},
    ("vscode", Scope.PROJECT): {"shop/.vscode/mcp.json"},
    ("opencode", Scope.USER): {".config/opencode/opencode.json"},
    ("opencode", Scope.PROJECT): {"shop/opencode.json"},
}
USERS = {
    Format.JSON: '{\n    "theme": "dark",\n    "mcpServers": {\n        "other": {"command": "x"}\n    }\n}',
    Format.JSONC: '{\n\t// mine\n\t"theme": "dark",\n\t"mcpServers": {\n\t\t"other": {},\n\t},\n}\n',
    Format.TOML: '# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "x" # why\n',
}
BY_BOTH = pytest.mark.parametrize("scope", list(Scope))
BY_CLIENT = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "shop").mkdir()
    return Place(home=tmp_path, project=tmp_path / "shop", environ={"PATH": "/nonexistent"})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "fabric"


def a_wish(scope: Scope = Scope.USER, program: str = "/opt/my tools/warp") -> Wish:
    return Wish(scope=scope, program=(program,), allow=True, hooks=True)


def contents(place: Place) -> dict[str, bytes]:
    """Return every file below the home but the fabric's own."""
    return {
        str(path.relative_to(place.home)): path.read_bytes()
        for path in sorted(place.home.rglob("*"))
        if path.is_file() and "fabric" not in path.parts
    }


def folders(place: Place) -> set[Path]:
    return {path for path in place.home.rglob("*") if path.is_dir() and "fabric" not in path.parts}


def says(edit: FileEdit) -> object:
    return GRAMMARS[edit.format].parse(edit.path.read_text())


def write_users_files(client: Client, place: Place, scope: Scope) -> None:
    for edit in client.edits(place, a_wish(scope)):
        edit.path.parent.mkdir(parents=True, exist_ok=True)
        edit.path.write_text(USERS[edit.format])


@BY_BOTH
@BY_CLIENT
def test_a_client_without_files_gets_them_and_loses_them(
    client: Client, scope: Scope, place: Place, home: Path
) -> None:
    before = folders(place)
    connecting(client, place, a_wish(scope), home).carry_out()

    assert set(contents(place)) == FILES[client.name, scope]
    server = client.edits(place, a_wish(scope))[0]
    entry = looked_up(says(server), server.ops[0].keys)
    assert isinstance(entry, dict)
    assert entry["command"] in ("/opt/my tools/warp", ["/opt/my tools/warp"])
    undoing(client, place, scope, home).carry_out()
    assert contents(place) == {}
    assert folders(place) == before
    assert list(home.rglob("*.json")) == []


@BY_BOTH
@BY_CLIENT
def test_a_clients_files_keep_what_is_in_them_and_get_it_back(
    client: Client, scope: Scope, place: Place, home: Path
) -> None:
    write_users_files(client, place, scope)
    before = contents(place)

    connecting(client, place, a_wish(scope), home).carry_out()

    for edit in client.edits(place, a_wish(scope)):
        data = says(edit)
        assert isinstance(data, dict)
        assert data.get("theme", data.get("model")) in ("dark", "m")
        assert "mine" not in USERS[edit.format] or "mine" in edit.path.read_text()
    after = contents(place)
    assert connecting(client, place, a_wish(scope), home).rewrites == []
    connecting(client, place, a_wish(scope), home).carry_out()
    assert contents(place) == after
    undoing(client, place, scope, home).carry_out()
    assert contents(place) == before


@BY_CLIENT
def test_a_malformed_file_stays_and_nothing_else_is_written(client: Client, place: Place, home: Path) -> None:
    server = client.edits(place, a_wish())[-1]
    server.path.parent.mkdir(parents=True, exist_ok=True)
    server.path.write_bytes(b'{"a": \xff broken')
    before = contents(place)

    with pytest.raises(LoominalError, match="malformed"):
        connecting(client, place, a_wish(), home)

    assert contents(place) == before
    server.path.write_text('{"a": [broken')
    with pytest.raises(LoominalError, match="malformed"):
        connecting(client, place, a_wish(), home)


@BY_CLIENT
def test_of_a_file_changed_since_only_our_parts_are_taken(client: Client, place: Place, home: Path) -> None:
    write_users_files(client, place, Scope.USER)
    connecting(client, place, a_wish(), home).carry_out()
    edits = client.edits(place, a_wish())
    for edit in edits:
        text = edit.path.read_text()
        edit.path.write_text(text.replace("dark", "light").replace('"m"', '"n"').replace("other", "another"))

    plan = undoing(client, place, Scope.USER, home)
    plan.carry_out()

    for edit in edits:
        text = edit.path.read_text()
        expected = USERS[edit.format].replace("dark", "light").replace('"m"', '"n"').replace("other", "another")
        assert GRAMMARS[edit.format].parse(text) == GRAMMARS[edit.format].parse(expected)
        assert "loominal" not in text
        assert "// mine" in text or edit.format is not Format.JSONC
    assert all("only our parts" in rewrite.remark for rewrite in plan.rewrites)


def test_after_a_second_connect_undo_still_goes_back_to_the_beginning(place: Place, home: Path) -> None:
    client = CLIENTS["claude-code"]
    write_users_files(client, place, Scope.USER)
    before = contents(place)
    plain = Wish(scope=Scope.USER, program=("/old/warp",))

    connecting(client, place, plain, home).carry_out()
    connecting(client, place, a_wish(), home).carry_out()

    assert "/old/warp" not in (place.home / ".claude.json").read_text()
    undoing(client, place, Scope.USER, home).carry_out()
    assert contents(place) == before


def test_a_change_between_two_connects_survives_undo(place: Place, home: Path) -> None:
    client, state = CLIENTS["claude-code"], place.home / ".claude.json"
    state.write_text('{"a": 1}')
    connecting(client, place, Wish(scope=Scope.USER, program=("/old/warp",)), home).carry_out()
    state.write_text(state.read_text().replace('"a": 1', '"a": 2'))
    connecting(client, place, a_wish(), home).carry_out()

    undoing(client, place, Scope.USER, home).carry_out()

    assert json.loads(state.read_text()) == {"a": 2}


def test_what_the_user_had_under_our_name_comes_back(place: Place, home: Path) -> None:
    client, state = CLIENTS["claude-code"], place.home / ".claude.json"
    state.write_text(
        '{"mcpServers": {"loominal": {"command": "npx", "args": ["-y"], "env": {"NATS_URL": "nats://h"}}}}'
    )
    connecting(client, place, a_wish(), home).carry_out()
    entry = json.loads(state.read_text())["mcpServers"]["loominal"]
    assert (entry["command"], entry["args"], entry["env"]) == ("/opt/my tools/warp", [], {"NATS_URL": "nats://h"})
    state.write_text(state.read_text() + "\n")

    undoing(client, place, Scope.USER, home).carry_out()

    assert json.loads(state.read_text())["mcpServers"]["loominal"]["command"] == "npx"


def test_undo_refuses_a_file_that_is_malformed_now(place: Place, home: Path) -> None:
    client, state = CLIENTS["claude-code"], place.home / ".claude.json"
    connecting(client, place, a_wish(), home).carry_out()
    state.write_text("{oops")

    with pytest.raises(LoominalError, match="malformed"):
        undoing(client, place, Scope.USER, home)

    assert state.read_text() == "{oops"


def test_links_are_followed_and_modes_kept(place: Place, home: Path) -> None:
    real = place.home / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o640)
    (place.home / ".claude.json").symlink_to("dotfiles/claude.json")

    connecting(CLIENTS["claude-code"], place, a_wish(), home).carry_out()

    assert (place.home / ".claude.json").is_symlink()
    assert "loominal" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    undoing(CLIENTS["claude-code"], place, Scope.USER, home).carry_out()
    assert real.read_text() == "{}"
    assert (place.home / ".claude.json").is_symlink()


def test_new_files_of_a_user_are_the_users_alone(place: Place, home: Path) -> None:
    connecting(CLIENTS["codex"], place, a_wish(), home).carry_out()

    assert (place.home / ".codex" / "config.toml").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.rglob("*"))


def test_a_file_that_another_program_just_changed_is_not_overwritten(place: Place, home: Path) -> None:
    state = place.home / ".claude.json"
    plan = connecting(CLIENTS["claude-code"], place, a_wish(), home)
    state.write_text('{"by": "claude"}')

    with pytest.raises(LoominalError, match="just been changed"):
        plan.carry_out()

    assert state.read_text() == '{"by": "claude"}'


def test_a_byte_order_mark_stays(place: Place, home: Path) -> None:
    state = place.home / ".claude.json"
    state.write_bytes(b'\xef\xbb\xbf{"a": 1}')

    connecting(CLIENTS["claude-code"], place, a_wish(), home).carry_out()

    assert json.loads(state.read_bytes().decode("utf-8-sig"))["a"] == 1
    assert state.read_bytes().startswith(b"\xef\xbb\xbf{")


def test_the_tools_that_undo_others_work_are_never_allowed_in_advance() -> None:
    tools = {name for name, operation in OPERATIONS.items() if operation.tool}

    assert tools - set(ALLOWED_TOOLS) == {"cancel_work", "discard_dead_letter_item", "deregister_agent"}


@BY_CLIENT
def test_rules_name_each_tool_in_full(client: Client, place: Place, home: Path) -> None:
    connecting(client, place, a_wish(), home).carry_out()

    text = b"".join(contents(place).values()).decode()
    names = {
        "claude-code": '"mcp__loominal__{}"', "codex": '{} = {{ approval_mode = "approve" }}',
        "gemini": '"{}"', "cursor": '"loominal:{}"', "opencode": '"loominal_{}": "allow"',
    }  # fmt: skip
    if client.name in names:
        assert all(names[client.name].format(tool) in text for tool in ALLOWED_TOOLS)
    else:
        assert any("permission rules" in note for note in client.notes(place, a_wish()))
    assert not any(tool in text for tool in ("cancel_work", "discard_dead_letter_item", "deregister_agent"))


def test_claude_codes_hooks_run_warp_with_its_path_quoted(place: Place, home: Path) -> None:
    connecting(CLIENTS["claude-code"], place, a_wish(), home).carry_out()

    hooks = json.loads((place.home / ".claude" / "settings.json").read_text())["hooks"]
    commands = {event: groups[0]["hooks"][0]["command"] for event, groups in hooks.items()}
    assert commands == {
        "SessionStart": "'/opt/my tools/warp' hook session-start",
        "UserPromptSubmit": "'/opt/my tools/warp' hook prompt",
        "Stop": "'/opt/my tools/warp' hook stop",
    }


def test_codex_hands_on_those_of_our_variables_that_are_set(place: Place, home: Path) -> None:
    environ = {"LOOMINAL_HOME": "/fabric", "NATS_URL": "", "EDITOR": "vi"}
    connecting(CLIENTS["codex"], msgspec.structs.replace(place, environ=environ), a_wish(), home).carry_out()

    server = tomllib.loads((place.home / ".codex" / "config.toml").read_text())["mcp_servers"]["loominal"]
    assert server["env_vars"] == ["LOOMINAL_HOME"]


def test_codex_tables_that_codex_has_written_anew_go_too(place: Place, home: Path) -> None:
    config = place.home / ".codex" / "config.toml"
    connecting(CLIENTS["codex"], place, a_wish(), home).carry_out()
    config.write_text(
        '[mcp_servers.loominal]\ncommand = "/opt/my tools/warp"\nargs = []\n\n[mcp_servers.loominal.tools.join]\n'
        'approval_mode = "approve"\n\n[mcp_servers.other]\ncommand = "/bin/true"\n'
    )

    undoing(CLIENTS["codex"], place, Scope.USER, home).carry_out()

    assert config.read_text() == '[mcp_servers.other]\ncommand = "/bin/true"\n'


@pytest.mark.parametrize(
    ("client", "variable", "path"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "CODEX_HOME", "config.toml"),
        ("gemini", "GEMINI_CLI_HOME", ".gemini/settings.json"),
        ("copilot-cli", "COPILOT_HOME", "mcp-config.json"),
        ("opencode", "XDG_CONFIG_HOME", "opencode/opencode.json"),
    ],
)
def test_variables_move_a_clients_files(client: str, variable: str, path: str, place: Place) -> None:
    moved = Place(home=place.home, project=place.project, environ={variable: str(place.home / "moved")})

    assert CLIENTS[client].edits(moved, a_wish())[0].path == place.home / "moved" / path


def test_an_opencode_file_with_comments_is_taken_if_it_is_there(place: Place, home: Path) -> None:
    commented = place.project / "opencode.jsonc"
    commented.write_text("{} // mine\n")

    connecting(CLIENTS["opencode"], place, a_wish(Scope.PROJECT), home).carry_out()

    assert set(contents(place)) == {"shop/opencode.jsonc"}
    assert "// mine" in commented.read_text()


def test_findings_say_which_program_would_start_and_what_is_wrong(place: Place, home: Path) -> None:
    client = CLIENTS["claude-code"]
    assert findings(client, place) == []
    program = place.home / "warp"
    connecting(client, place, a_wish(program=str(program)), home).carry_out()

    [missing] = findings(client, place)
    program.touch()
    program.chmod(0o755)
    [fine] = findings(client, place)
    (place.project / ".mcp.json").write_text("{")
    [broken, _] = findings(client, place)

    assert "no program" in missing.problem
    assert (fine.program, fine.problem) == (str(program), "")
    assert (broken.scope, "cannot be read" in broken.problem) == (Scope.PROJECT, True)


def test_a_client_is_found_by_its_program_or_its_folder(place: Place) -> None:
    assert not any(client.found(place) for client in CLIENTS.values())
    for folder in (".claude", ".codex", ".gemini", ".copilot", ".cursor", ".config/Code/User", ".config/opencode"):
        (place.home / folder).mkdir(parents=True)
    assert all(client.found(place) for client in CLIENTS.values())

    programs = place.home / "bin"
    programs.mkdir()
    for name in ("claude", "codex", "gemini", "copilot", "cursor-agent", "code", "opencode"):
        (programs / name).touch(mode=0o755)
    elsewhere = Place(home=place.home / "empty", project=place.project, environ={"PATH": os.fspath(programs)})
    assert all(client.found(elsewhere) for client in CLIENTS.values())
