"""Texts of configuration changed in place: what is put in, what is taken out, and that all else stays as it was."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.local.connect.edit import Add, Op, Put, Unfit, applied, reverted
from loominal.local.connect.text import GRAMMARS, Format

SERVER = Put(keys=("mcpServers", "loominal"), value={"command": "/bin/warp", "args": []})
RULES = Add(keys=("permissions", "allow"), values=("a", "b"))
OPS: tuple[Op, ...] = (SERVER, RULES)
TABLE = Put(keys=("mcp_servers", "loominal"), value={"command": "/bin/warp", "args": []})
TOOLS = Put(keys=("mcp_servers", "loominal", "tools"), value={"join": {"approval_mode": "approve"}})
PASSED = Add(keys=("mcp_servers", "loominal", "env_vars"), values=("HOME_A", "HOME_B"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)

JSON_TEXTS = [
    "",
    "{}",
    "{}\n",
    "{ }",
    "{\n}\n",
    '{"a":1}',
    '{"a": [1, 2], "mcpServers": {}}',
    '{\n    "mcpServers": {\n        "x": {"command": "y"}\n    }\n}\n',
    '{\n\t"permissions": {\n\t\t"allow": [\n\t\t\t"z"\n\t\t]\n\t}\n}',
    '{\r\n  "mcpServers": {\r\n    "x": 1\r\n  }\r\n}\r\n',
    '{"permissions": {"allow": ["z", "y"], "deny": []}, "mcpServers": {"x": {}}}',
]
COMMENTED = [
    '{\n  // servers\n  "mcpServers": {\n    "x": 1, // last, said twice\n  },\n  /* end */\n}\n',
    '{\n  "mcpServers": {\n    "x": 1 // one, and "no" comma\n    // after\n  }\n}\n',
    "{\n  // nothing yet\n}\n",
    '// top\n{"mcpServers": {/* none */}, "permissions": {"allow": ["z",],},}\n// bottom\n',
    '{\n  "permissions": {\n    "allow": [ // rules\n      "z", // why\n      /* and */ "y"\n    ]\n  }\n}',
]
TOML_TEXTS = [
    "",
    'model = "m"',
    '# top\nmodel = "m" # why\n\n[mcp_servers.x]\ncommand = "y"\nargs = [\n  "a", # one\n  "[b]",\n]\n',
    '[a]\nt = """\n[mcp_servers.loominal]\n"""\n\n[[b]]\nc = 1\n[[b]]\nc = 2\n# end\n',
    "[mcp_servers]\n\n[projects.\"/a.b\"]\ntrust_level = 'x'\n",
    "\r\n[a]\r\nb = 1\r\n",
]


@pytest.mark.parametrize("text", JSON_TEXTS)
@pytest.mark.parametrize("form", [Format.JSON, Format.JSONC])
def test_what_was_put_into_json_is_there_and_goes_again(text: str, form: Format) -> None:
    changed = applied(text, form, OPS)

    data = json.loads(changed)
    assert data["mcpServers"]["loominal"] == SERVER.value
    assert data["permissions"]["allow"][-2:] == ["a", "b"]
    assert applied(changed, form, OPS) == changed
    left = reverted(changed, form, OPS, text)
    assert json.loads(left) == json.loads(text or "{}")


@pytest.mark.parametrize("text", COMMENTED)
def test_comments_and_trailing_commas_stay(text: str) -> None:
    changed = applied(text, Format.JSONC, OPS)

    comments = [part for part in ("// servers", "// last, said twice", "/* end */", "// one, and", "// after",
                                  "// nothing yet", "// top", "/* none */", "// bottom", "// rules", "// why",
                                  "/* and */") if part in text]  # fmt: skip
    left = reverted(changed, Format.JSONC, OPS, text)
    assert all(comment in changed and comment in left for comment in comments)
    assert GRAMMARS[Format.JSONC].parse(left) == GRAMMARS[Format.JSONC].parse(text)


def test_a_new_member_is_written_as_its_neighbours_are() -> None:
    text = '{\n\t"mcpServers": {\n\t\t"x": 1 // one\n\t}\n}\n'

    assert applied(text, Format.JSONC, (SERVER,)) == (
        '{\n\t"mcpServers": {\n\t\t"x": 1, // one\n\t\t"loominal": {\n\t\t\t"command": "/bin/warp",\n'
        '\t\t\t"args": []\n\t\t}\n\t}\n}\n'
    )


def test_an_untidy_text_is_as_before_but_for_a_line_break() -> None:
    text = '{"z":1,   "mcpServers" : {"x":{"command":"y"} } ,\n"list":[1,\n2 ]}'

    left = reverted(applied(text, Format.JSON, OPS), Format.JSON, OPS, text)

    assert left.replace("\n}", "}") == text


@given(data=st.dictionaries(st.text(max_size=4), JSON, max_size=4), indent=st.sampled_from([None, 1, 2, 4]))
def test_any_json_keeps_its_values(data: dict[str, object], indent: int | None) -> None:
    text = json.dumps(data, indent=indent)

    changed = applied(text, Format.JSON, OPS)

    assert {key: value for key, value in json.loads(changed).items() if key in data} == data
    assert reverted(changed, Format.JSON, OPS, text) in (text, text.replace("{}", "{\n}"))


@given(st.text(alphabet='{}[]",:/*\\ \n1atrue', max_size=30))
def test_a_text_is_read_as_json_or_refused_as_json_is(text: str) -> None:
    try:
        expected = json.loads(text) if text.strip() else {}
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - any: what matters is that it is refused
            GRAMMARS[Format.JSON].parse(text)
    else:
        assert GRAMMARS[Format.JSON].parse(text) == expected


@pytest.mark.parametrize(
    "text", ['{"a": 1,}', "{// c\n}", "[1, 2", '{"a" 1}', "{} {}", "nope", '{"a": "\n"}', "[" * 9999]
)
def test_malformed_json_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        GRAMMARS[Format.JSON].parse(text)


@pytest.mark.parametrize("text", TOML_TEXTS)
def test_what_was_put_into_toml_is_there_and_goes_again_byte_for_byte(text: str) -> None:
    ops: tuple[Op, ...] = (TABLE, PASSED, TOOLS)
    changed = applied(text, Format.TOML, ops)

    server = tomllib.loads(changed)["mcp_servers"]["loominal"]
    assert server["command"] == "/bin/warp"
    assert server["env_vars"] == ["HOME_A", "HOME_B"]
    assert server["tools"] == TOOLS.value
    assert changed.startswith(text)
    assert applied(changed, Format.TOML, ops) == changed
    assert reverted(changed, Format.TOML, ops, text).rstrip() == text.rstrip()


def test_a_table_that_is_there_keeps_what_the_user_put_into_it() -> None:
    text = (
        '[mcp_servers.loominal]\ncommand = "npx" # old\nargs = ["-y"]\nenv_vars = ["MINE"]\nenv = { A = "b" }\n\n[z]\n'
    )
    ops: tuple[Op, ...] = (TABLE, PASSED, TOOLS)

    changed = applied(text, Format.TOML, ops)

    server = tomllib.loads(changed)["mcp_servers"]["loominal"]
    assert server["command"] == "/bin/warp"
    assert server["args"] == []
    assert server["env"] == {"A": "b"}
    assert server["env_vars"] == ["MINE", "HOME_A", "HOME_B"]
    assert tomllib.loads(reverted(changed, Format.TOML, ops, text)) == tomllib.loads(text)


@pytest.mark.parametrize("text", ["mcp_servers = {}\n", "mcp_servers = 1\n", "mcp_servers.loominal.command = 'x'\n"])
def test_toml_that_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Unfit or the parser's
        applied(text, Format.TOML, (TABLE, TOOLS))


@pytest.mark.parametrize(
    "text", ['{"mcpServers": []}', '{"mcpServers": null}', '{"permissions": {"allow": "all"}}', "[]"]
)
def test_something_else_in_our_place_is_refused(text: str) -> None:
    with pytest.raises(Unfit):
        applied(text, Format.JSON, OPS)


def test_a_server_that_starts_our_program_keeps_the_users_arguments() -> None:
    text = '{"mcpServers": {"loominal": {"command": "/bin/warp", "args": ["--channel"]}}}'
    kind = Put(keys=SERVER.keys, value=SERVER.value, unless_same="command")

    assert applied(text, Format.JSON, (kind,)) == text


def test_a_hook_of_another_program_path_gives_way_to_the_new_one() -> None:
    def hook(program: str) -> Add:
        value = {"hooks": [{"type": "command", "command": f"{program} hook stop"}]}
        return Add(keys=("hooks", "Stop"), values=(value,), replaces="hook stop")

    users = '{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}}'
    old = applied(users, Format.JSON, (hook("/old/warp"),))

    new = applied(old, Format.JSON, (hook("'/n e w/warp'"),))

    commands = [group["hooks"][0]["command"] for group in json.loads(new)["hooks"]["Stop"]]
    assert commands == ["say done", "'/n e w/warp' hook stop"]
    assert reverted(new, Format.JSON, (hook("/old/warp"), hook("'/n e w/warp'")), users) == users
