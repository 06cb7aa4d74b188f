"""Warp's side of MCP, message by message: both eras, what is malformed, and that nothing else reaches stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.warps import MODERN, PREFIX, warp
from tests.patience import SOON

COMMAND = [sys.executable, "-m", "loominal.warp.main"]
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
Json = Any  # Any: JSON


def talk(*lines: Json, home: Path = Path("/nonexistent"), **environ: str) -> list[Json]:
    """Send lines to a warp without a fabric, close its stdin, and return what it wrote."""
    sent = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    environment = os.environ | {"LOOMINAL_HOME": str(home), "LOOMINAL_AUTOSTART": "0"} | environ
    done = subprocess.run(COMMAND, input=sent, capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(method: str, number: Json = 1, /, **params: Json) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def modern(method: str, number: Json = 1, /, *, version: str = MODERN, **params: Json) -> Json:
    meta = {f"{PREFIX}protocolVersion": version, f"{PREFIX}clientCapabilities": {}}
    return request(method, number, _meta=meta, **params)


@pytest.mark.parametrize(("asked", "agreed"), [*((each, each) for each in HANDSHAKES), ("2030-01-01", "2025-11-25")])
def test_a_handshake_agrees_on_the_clients_version_else_on_the_newest(asked: str, agreed: str) -> None:
    [answer] = talk(request("initialize", protocolVersion=asked, clientInfo={"name": "x", "version": "1"}))

    result = answer["result"]
    assert result["protocolVersion"] == agreed
    assert result["serverInfo"]["name"] == "loominal"
    assert result["capabilities"]["tools"] == {"listChanged": False}
    assert result["capabilities"]["resources"]["subscribe"] is True
    assert 200 < len(result["instructions"]) <= 1200


def test_a_modern_client_discovers_and_each_result_is_complete() -> None:
    methods = ("server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list")
    answers = {each["id"]: each["result"] for each in talk(*(modern(method, method) for method in methods))}

    assert answers["server/discover"]["supportedVersions"] == [MODERN]
    for method in methods:
        assert answers[method]["resultType"] == "complete"
        assert answers[method]["cacheScope"] == "private"
        assert isinstance(answers[method]["ttlMs"], int)
        assert answers[method]["_meta"][f"{PREFIX}serverInfo"]["name"] == "loominal"
    assert len(answers["tools/list"]["tools"]) == 26


def test_a_version_of_the_future_is_refused_with_those_that_we_speak() -> None:
    [answer] = talk(modern("server/discover", version="2031-01-01"))

    assert answer["error"]["code"] == -32022
    assert answer["error"]["data"]["requested"] == "2031-01-01"
    assert set(answer["error"]["data"]["supported"]) == {MODERN, *HANDSHAKES}


def test_the_same_process_serves_both_eras_and_requests_before_a_handshake() -> None:
    answers = talk(
        request("tools/list", "early"), modern("ping", "new"), request("initialize", "hello"), request("ping", "old")
    )

    assert {each["id"] for each in answers if "result" in each} == {"early", "new", "hello", "old"}


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (b"{nonsense", None, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "\xff"}}', None, -32700),
        (b"[" * 100_000, None, -32700),
        (b"{}", None, -32600),
        (b"1", None, -32600),
        (b'{"id": 1, "method": "ping"}', 1, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', 1, -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', None, -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None, -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', None, -32600),
        (b'{"jsonrpc": "2.0", "id": "a", "method": "ping", "params": []}', "a", -32602),
        (b'{"jsonrpc": "2.0", "id": "a", "method": "no/such"}', "a", -32601),
        (b'{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "jion"}}', 2, -32602),
        (b'{"jsonrpc": "2.0", "id": 2, "method": "prompts/get", "params": {"name": "x"}}', 2, -32602),
        (b'{"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {"uri": "x:y"}}', 2, -32002),
        (b'{"jsonrpc": "2.0", "id": 2, "method": "subscriptions/listen", "params": {}}', 2, -32602),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', None, -32600),
        (b'"' + b"x" * (9 << 20) + b'"', None, -32600),
    ],
)
def test_what_is_no_request_is_refused_by_the_rules_and_the_next_one_is_answered(
    line: bytes, number: Json, code: int
) -> None:
    answers = talk(line, request("ping", "after"))

    [refused] = [each for each in answers if each["id"] != "after"]
    assert (refused["id"], refused["error"]["code"]) == (number, code)
    assert {"jsonrpc": "2.0", "id": "after", "result": {}} in answers


def test_notifications_and_answers_to_nothing_get_no_answer() -> None:
    said = [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "no/such", "params": [1]},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "none"}},
        {"jsonrpc": "2.0", "id": 7, "result": {}},
        b"",
        b"  \r",
    ]
    assert talk(*said) == []


def test_the_one_version_that_has_batches_gets_them_answered_as_one() -> None:
    batch = [request("ping", 1), {"jsonrpc": "2.0", "method": "notifications/initialized"}, 5, request("no/such", 2)]
    hello, *others = talk(request("initialize", 0, protocolVersion="2025-03-26"), batch, [])

    assert hello["id"] == 0
    [answers] = [each for each in others if isinstance(each, list)]
    [empty] = [each for each in others if not isinstance(each, list)]
    assert sorted((each["id"] or 0, each.get("error", {}).get("code", 0)) for each in answers) == [
        (0, -32600),
        (1, 0),
        (2, -32601),
    ]
    assert empty["error"]["code"] == -32600


def test_every_prompt_can_be_had() -> None:
    listed, *got = talk(
        request("prompts/list", 0),
        request("prompts/get", 1, name="start"),
        request("prompts/get", 2, name="handoff", arguments={"task": "the parser"}),
    )

    assert [each["name"] for each in listed["result"]["prompts"]] == ["start", "handoff"]
    texts = [each["result"]["messages"][0]["content"]["text"] for each in got]
    assert "join" in texts[0]
    assert "the parser" in texts[1]


def test_a_tool_that_cannot_answers_with_an_error_that_says_what_next() -> None:
    [answer] = talk(request("tools/call", name="join", arguments={"hanlde": "x"}))

    assert answer["result"]["isError"] is True
    assert answer["result"]["structuredContent"]["error"]["code"] == "invalid_argument"
    assert "did you mean 'handle'" in answer["result"]["content"][0]["text"]


def test_tools_are_listed_before_anything_of_nats_is_loaded_and_nothing_heavy_ever_is(tmp_path: Path) -> None:
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (request("initialize"), request("tools/list", 2)))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:]],
        input=lines,
        capture_output=True,
        env=os.environ | {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_AUTOSTART": "0"},
        timeout=60,
        check=True,
    )

    loaded = {line.rpartition(b"|")[2].strip().split(b".")[0] for line in done.stderr.splitlines()}
    assert b"msgspec" in loaded
    assert loaded.isdisjoint(
        {b"nats", b"cryptography", b"mcp", b"pydantic", b"click", b"rich", b"litestar", b"uvicorn"}
    )
    assert len(done.stdout.splitlines()) == 2


def test_bad_settings_stop_it_with_all_of_them_named() -> None:
    environment = os.environ | {
        "LOOMINAL_AGENT_ID": "x",
        "LOOMINAL_HANDLE": "No Handle",
        "LOOMINAL_HOME": "/nonexistent",
    }
    done = subprocess.run(COMMAND, capture_output=True, env=environment, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "agent id" in done.stderr
    assert "handle" in done.stderr


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
METHODS = st.sampled_from(
    ["initialize", "ping", "tools/list", "tools/call", "resources/read", "resources/subscribe", "prompts/get", "x"]
)
PARAMS = JSON_VALUES | st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["join", "claim_work", "x"]), "arguments": JSON_VALUES, "_meta": JSON_VALUES}
)
MESSAGES = st.fixed_dictionaries(
    {}, optional={"jsonrpc": st.just("2.0"), "id": JSON_VALUES, "method": METHODS, "params": PARAMS}
)
LINES = st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode())
FUZZ = st.lists(LINES | MESSAGES.map(lambda value: json.dumps(value).encode()), min_size=20, max_size=60)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(FUZZ)
def test_whatever_comes_in_only_protocol_goes_out_and_it_ends(lines: list[bytes]) -> None:
    answers = talk(*lines, request("ping", "the last"))

    for answer in answers:
        for each in answer if isinstance(answer, list) else [answer]:
            assert each["jsonrpc"] == "2.0"
            assert ("method" in each) or (("result" in each) != ("error" in each))
    assert any(each == {"jsonrpc": "2.0", "id": "the last", "result": {}} for each in answers)


async def test_a_line_that_comes_in_pieces_is_one(tmp_path: Path) -> None:
    async with warp(tmp_path, LOOMINAL_AUTOSTART="0") as started:
        line = json.dumps(request("ping", "pieces", pad="é" * 100_000)).encode()
        assert started.process.stdin is not None
        for at in range(0, len(line), 30_001):
            started.process.stdin.write(line[at : at + 30_001])
            await started.process.stdin.drain()
        started.say(b"")

        assert (await started.answer("pieces"))["result"] == {}


async def test_a_client_that_does_not_read_blocks_nothing_but_itself(tmp_path: Path) -> None:
    async with warp(tmp_path, LOOMINAL_AUTOSTART="0") as started:
        numbers = [started.ask("tools/list") for _ in range(200)]

        for number in numbers:
            assert len((await started.answer(number))["result"]["tools"]) == 26


def test_it_serves_plain_files_and_ends_where_there_is_no_stdin(tmp_path: Path) -> None:
    environment = os.environ | {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_AUTOSTART": "0"}
    (tmp_path / "in").write_text(json.dumps(request("ping")) + "\n")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as sink:
        subprocess.run(COMMAND, stdin=source, stdout=sink, env=environment, timeout=30, check=True)
    assert json.loads((tmp_path / "out").read_text())["result"] == {}

    subprocess.run(COMMAND, stdin=subprocess.DEVNULL, env=environment, timeout=30, check=True)
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND]
    assert subprocess.run(closed, env=environment, timeout=30, check=False).returncode == 0


def test_a_client_that_is_gone_ends_it(tmp_path: Path) -> None:
    environment = os.environ | {"LOOMINAL_HOME": str(tmp_path), "LOOMINAL_AUTOSTART": "0"}
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(json.dumps(request("tools/list")).encode() + b"\n")
        process.stdin.flush()

        assert process.wait(SOON) == 0
