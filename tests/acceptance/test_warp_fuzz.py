"""Whatever a client sends: each line is answered by the rules or passed over, and every tool refuses in our words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # the MCP client brings it, without types
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.client import Client, client, environment
from loominal.warp.settings import LIMIT_BYTES
from loominal.warp.tools import TOOLS, listing
from tests.acceptance.test_warp_protocol import COMMAND, Json, modern, request, talk
from tests.acceptance.warps import warp
from tests.integration.fabric import Fabric
from tests.patience import SOON

CODES = (
    "invalid_argument not_registered handle_taken not_found unknown_channel not_capable boundary_refused not_owner "
    "lease_lost illegal_move duplicate too_large inbox_full quota_exceeded bad_cursor forbidden busy"
)  # of the contract, without those of a fabric that is away, of another release, or of bugs
PONG: Json = {"jsonrpc": "2.0", "result": {}}


def ping(number: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","method":"ping","id":' + number + b"}"


HOSTILE: dict[bytes, tuple[Json, int]] = {
    # a line: the id and the code of its refusal, 0 for a result
    ping(b"18446744073709551616"): (2**64, 0),
    ping(b"-9223372036854775809"): (-(2**63) - 1, 0),
    ping(b"-0"): (0, 0),
    ping(b'""'): ("", 0),
    ping(b'"' + 100_000 * b"x" + b'"'): (100_000 * "x", 0),
    ping(b'"\\u0000"'): ("\0", 0),
    ping(b'"\\ud83d\\ude00"'): ("\N{GRINNING FACE}", 0),
    ping(b'"half \\ud83d"'): ("half \ufffd", 0),
    ping(b'"\\\\ud83d \\uDE00"'): ("\\ud83d \ufffd", 0),
    ping(b'"crlf"') + b"\r": ("crlf", 0),
    b"\xef\xbb\xbf" + ping(b'"mark"'): ("mark", 0),
    b'{"id":1,"jsonrpc":"1.0","method":"x","id":"twice","jsonrpc":"2.0","method":"ping"}': ("twice", 0),
    ping(b"1e3"): (None, -32600),
    ping(b"1.0"): (None, -32600),
    ping(b"[1]"): (None, -32600),
    ping(b'{"a":1}'): (None, -32600),
    ping(b"false"): (None, -32600),
    ping(b"1e999"): (None, -32700),
    ping(b"NaN"): (None, -32700),
    ping(b"01"): (None, -32700),
    ping(b'"\\UD83D"'): (None, -32700),
    ping(b'"\\ud83"'): (None, -32700),
    ping(b'"a\tb"'): (None, -32700),
    ping(b'"cut \xc3"'): (None, -32700),
    ping(b'"cut \xe2\x82'): (None, -32700),
    ping(b'"\xed\xa0\xbd"'): (None, -32700),
    ping(b"\x00"): (None, -32700),
    b"\x00": (None, -32700),
    b"\xff\xfe" + "{}".encode("utf-16-le"): (None, -32700),
    b"Content-Length: 40\r": (None, -32700),
    b"'{}'": (None, -32700),
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + 100_000 * b"[" + 100_000 * b"]" + b"}}": (None, -32700),
    100_000 * b'{"a":': (None, -32700),
    b'"' + (100 << 20) * b"x": (None, -32600),
}


def test_hostile_lines_are_answered_by_the_rules_and_so_is_what_follows_each() -> None:
    lines = [line for number, hostile in enumerate(HOSTILE) for line in (hostile, request("ping", f"after {number}"))]
    lines += [b" \t", b"\x0b\x0c\r", b""]  # nothing is asked, so nothing is said

    answers = talk(*lines)

    refused = [(each["id"], each["error"]["code"]) for each in answers if "error" in each]
    assert refused == [told for told in HOSTILE.values() if told[1]]
    answered = [each["id"] for each in answers if "result" in each]
    assert {each for each in answered if not str(each).startswith("after ")} == {
        number for number, code in HOSTILE.values() if not code
    }
    assert {f"after {number}" for number in range(len(HOSTILE))} <= set(answered)
    assert len(answers) == 2 * len(HOSTILE)


def test_batches_of_either_era_are_answered_each_by_its_own_rules() -> None:
    hello = request("initialize", "hello", protocolVersion="2025-03-26")
    batch = [modern("ping", "new"), request("ping", "old"), modern("tools/list", "far", version="2031-01-01"), [], "x"]

    before, _, *answers = talk(batch, hello, batch, request("ping", "single"), batch)

    assert before["error"]["code"] == -32600
    assert {"id": "single", **PONG} in answers
    batches = [each for each in answers if isinstance(each, list)]
    assert len(batches) == 2
    for answered in batches:
        codes = {each["id"]: each.get("error", {}).get("code", 0) for each in answered if each["id"]}
        assert codes == {"new": 0, "old": 0, "far": -32022}
        assert [each["error"]["code"] for each in answered if not each["id"]] == [-32600, -32600]


def test_what_is_not_running_can_be_cancelled_by_any_name() -> None:
    names = [1, "1", 1.5, None, True, [], {}, 2**70, -1, "", 100_000 * "x", "\0", {"requestId": 1}]
    said: list[Json] = [*({"requestId": name, "reason": name} for name in names), None, [], 5, {}]
    cancels = [{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params} for params in said]
    assert talk(*cancels, request("ping", "after")) == [{"id": "after", **PONG}]


def test_thousands_of_calls_at_once_are_all_answered() -> None:
    calls = [request("tools/call" if number % 2 else "ping", number, name="join") for number in range(4000)]

    answers = talk(*calls)

    assert sorted(each["id"] for each in answers) == list(range(4000))
    errors = {each["result"]["structuredContent"]["error"]["code"] for each in answers if each["id"] % 2}
    assert errors == {"broker_unavailable"}


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_client_that_closes_in_the_middle_of_a_line_gets_what_it_asked_before(cut: int) -> None:
    whole = json.dumps(request("ping", 1)).encode() + b"\n" + json.dumps(request("tools/list", 2)).encode()
    environ = environment(Path("/nonexistent"), "shop")
    done = subprocess.run(COMMAND, input=whole[:-cut], capture_output=True, env=environ, timeout=60, check=True)

    first, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert first == {"id": 1, **PONG}
    assert [each.get("error", {}).get("code") for each in others] in ([-32700], [])


async def test_what_is_sent_after_it_was_told_to_end_harms_nothing(tmp_path: Path) -> None:
    async with warp(tmp_path, LOOMINAL_AUTOSTART="0") as started:
        started.process.terminate()
        for number in range(200):
            started.say(request("tools/list", number))

        assert await started.ended() == 0  # and `_read` has found JSON alone


def test_a_client_that_stops_to_read_and_leaves_while_much_is_written_ends_it() -> None:
    environ = environment(Path("/nonexistent"), "shop")
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = b"".join(json.dumps(request("tools/list", number)).encode() + b"\n" for number in range(100))
        process.stdin.write(lines)
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 10)  # it is in the middle of an answer
        process.stdout.close()

        assert process.wait(SOON) == 0


STEADY = settings(derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
SCHEMAS: dict[str, Json] = {tool["name"]: tool for tool in json.loads(listing())}
STRANGE = (
    "null 0 -1 1e9 2h -5m 2031-01-01T00:00:00Z 9999-12-31T23:59:59+14:00 m_d1 w_1 w_0000000000000000 ann general "
    "python personal corporate online inbox ready * > a.b _ - [ {} [[]] ../../etc %s%n x:y"
)
WORDS = st.sampled_from(["", " ", "\0", "\u202e", 65 * "x", 40 * "é", 2000 * "x", *STRANGE.split()])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def fitting(schema: Json) -> st.SearchStrategy[Json]:
    """Return values as a schema says they are, nearly."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            low, high = schema.get("minimum", -10), schema.get("maximum", 2000)
            return st.integers(int(low) - 1, int(high) + 1) | st.floats(low - 1, high + 1)
        case "array":
            return st.lists(fitting(schema["items"]), max_size=3)
        case "object":
            known = {name: fitting(each) for name, each in schema.get("properties", {}).items()}
            return st.fixed_dictionaries({}, optional=known) if known else st.dictionaries(WORDS, VALUES, max_size=3)
    return WORDS | st.text(max_size=20)


def arguments(name: str) -> st.SearchStrategy[Json]:
    """Return arguments of a tool: each right, wrong, or not there; and now and then one that it does not have."""
    known: dict[str, st.SearchStrategy[Json]] = {}
    for argument, schema in SCHEMAS[name]["inputSchema"]["properties"].items():
        if argument == "waitSeconds":  # to wait is not what is shown here
            known[argument] = st.sampled_from([0, 0.0, "0s", "", -1, 51, "1e999", "51m", [], None, True])
        else:
            right = fitting(schema)
            known[argument] = right | right | right | VALUES | WORDS
    required = {argument: known.pop(argument) for argument in SCHEMAS[name]["inputSchema"].get("required", [])}
    if name == "wait_for_events":  # which waits for 50 s if it is not told otherwise
        required["waitSeconds"] = st.just(1) | st.sampled_from([0, 51, "x", "51m", []])
        known.pop("waitSeconds")
        return st.fixed_dictionaries(required, optional=known)
    return st.fixed_dictionaries(required, optional=known) | st.fixed_dictionaries(
        {}, optional=required | known | {"zzz": VALUES}
    )


@pytest.fixture(scope="module")
def ann(fabric: Fabric) -> Iterator[Client]:
    with client(environment(fabric.home, "fuzz")) as started:
        yield started


@pytest.mark.parametrize("name", TOOLS)
def test_whatever_a_tool_is_given_it_answers_as_promised_or_refuses_with_a_code(ann: Client, name: str) -> None:
    @settings(STEADY, max_examples=1 if name == "wait_for_events" else 8)
    @given(st.lists(arguments(name), min_size=8, max_size=8))
    def attack(given: list[Json]) -> None:
        ann.tool("join", handle="ann", capabilities=["python"])  # also if it has just deregistered
        for asked, answer in zip(given, ann.calls([(name, each) for each in given]), strict=True):
            check(name, asked, answer)

    attack()


@settings(STEADY, max_examples=20)
@given(
    given=st.lists(
        st.tuples(st.sampled_from(sorted(set(TOOLS) - {"wait_for_events"})), VALUES), min_size=10, max_size=10
    )
)
def test_arguments_that_are_anything_are_refused_in_words(ann: Client, given: list[tuple[str, Json]]) -> None:
    for (name, asked), answer in zip(given, ann.calls(given), strict=True):
        if isinstance(asked, dict | None):
            check(name, asked, answer)
        else:
            assert answer["error"]["code"] == -32602


def check(name: str, asked: Json, answer: dict[str, Any]) -> None:
    """Hold an answer of a tool against what is promised of all."""
    assert "result" in answer, (asked, answer)
    result = answer["result"]
    [text] = result["content"]
    assert text["type"] == "text"
    assert text["text"]
    structured = result["structuredContent"]
    if result["isError"]:
        error = structured["error"]
        assert set(error) == {"code", "message", "hint", "retryable"}
        assert error["code"] in CODES.split(), (asked, error)
        assert error["message"]
    else:
        jsonschema.validate(structured, SCHEMAS[name]["outputSchema"])
    size = len(text["text"].encode()) + len(json.dumps(structured, ensure_ascii=False, separators=(",", ":")).encode())
    assert size <= LIMIT_BYTES
