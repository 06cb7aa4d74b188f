"""What a runner makes of the lines that clients print, and of lines that they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from loominal.fabric.operations.work import WorkView
from loominal.runner.clients import CLIENTS
from loominal.runner.clients.interface import Delivery, Reader, Task
from loominal.runner.output import KEPT_BYTES, LINE_BYTES, Lines, Tail

HOSTILE = '"; touch x; $(touch x) \n-- --dangerously-skip-permissions {id} %s'
ITEM = WorkView(id="w_1", description=HOSTILE, attempt=1, context_data={"a": HOSTILE})


def read(client: str, *lines: object) -> tuple[Reader, list[str]]:
    """Return a reader that has read these lines, and the progress it told."""
    reader, told = CLIENTS[client].reader(), []
    for line in lines:
        progress = reader.read(json.dumps(line).encode())
        told += [progress.message] if progress is not None else []
    return reader, told


def test_claude_codes_stream_is_read_to_its_cost() -> None:
    usage = {"input_tokens": 9, "cache_read_input_tokens": 100, "output_tokens": 5}
    tool = {"type": "tool_use", "name": "Bash", "input": {"timeout": 3, "command": "make"}}
    reader, told = read(
        "claude-code",
        {"type": "system", "subtype": "init"},
        {"type": "assistant", "message": {"id": "m1", "content": [{"type": "text", "text": "hm"}], "usage": usage}},
        {"type": "assistant", "message": {"id": "m1", "content": [tool], "usage": usage}},
        {"type": "user", "message": {"content": "text"}},
    )
    assert told == ["hm", "Bash: make"]
    assert reader.usage == {"turns": 1, "inputTokens": 109, "cachedInputTokens": 100, "outputTokens": 5}

    end = {"type": "result", "subtype": "success", "is_error": False, "result": "did it", "total_cost_usd": 0.5}
    reader.read(json.dumps(end | {"num_turns": 2, "usage": usage}).encode())
    assert reader.delivery == Delivery(summary="did it")
    assert reader.usage["costUsd"] == 0.5
    reader.read(b'{"type":"result","subtype":"error_max_turns","is_error":true}')
    assert reader.delivery == Delivery(error="error_max_turns")


@pytest.mark.parametrize(
    ("client", "lines", "delivery", "told"),
    [
        (
            "codex",
            [
                {"type": "item.started", "item": {"type": "command_execution", "command": "ls"}},
                {"type": "item.completed", "item": {"type": "agent_message", "text": "did it"}},
                {"type": "turn.completed", "usage": {"input_tokens": 3, "output_tokens": 4}},
            ],
            Delivery(summary="did it"),
            ["command: ls", "did it"],
        ),
        ("codex", [{"type": "turn.failed", "error": {"message": "quota"}}], Delivery(error="quota"), []),
        (
            "copilot-cli",
            [
                {"type": "assistant.message", "data": {"content": "did it", "outputTokens": 4, "toolRequests": []}},
                {"type": "result", "exitCode": 0},
            ],
            Delivery(summary="did it"),
            ["did it"],
        ),
        (
            "copilot-cli",
            [{"type": "session.error", "data": {"message": "quota"}}, {"type": "result", "exitCode": 1}],
            Delivery(error="quota"),
            [],
        ),
        (
            "gemini",
            [
                {"type": "message", "role": "assistant", "content": "first", "delta": True},
                {"type": "tool_use", "tool_name": "write", "parameters": {"path": "x"}},
                {"type": "message", "role": "assistant", "content": "did ", "delta": True},
                {"type": "message", "role": "assistant", "content": "it", "delta": True},
                {"type": "result", "status": "success", "stats": {"input_tokens": 3, "output_tokens": 4}},
            ],
            Delivery(summary="did it"),
            ["first", "write: x", "did", "did it"],
        ),
        ("gemini", [{"type": "result", "status": "error", "error": {"message": "quota"}}], Delivery(error="quota"), []),
        ("exec", [{"progress": 3, "message": "a"}, {"summary": "did it"}], Delivery(summary="did it"), ["a"]),
    ],
)
def test_a_clients_lines_come_to_a_delivery(
    client: str, lines: list[object], delivery: Delivery, told: list[str]
) -> None:
    reader, said = read(client, *lines)

    assert (reader.delivery, said) == (delivery, told)


@pytest.mark.parametrize("line", [b"no JSON", b"[1]", b"{}", b'{"type": 3}', b'{"progress": 101}', b'{"result": 3}'])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_line_that_is_none_of_a_clients_is_malformed_or_says_nothing(client: str, line: bytes) -> None:
    reader = CLIENTS[client].reader()
    with suppress(msgspec.DecodeError):
        assert reader.read(line) is None
    assert reader.delivery is None


@pytest.mark.parametrize("client", CLIENTS)
def test_what_an_item_says_reaches_a_client_as_it_is_and_never_as_an_option(client: str, tmp_path: Path) -> None:
    start = CLIENTS[client].start(Task(item=ITEM, folder=tmp_path, attach=tmp_path / "socket"))

    assert not any("touch" in argument for argument in start.arguments)
    given = start.stdin.decode()
    assert (json.loads(given)["description"] if client == "exec" else given).count(HOSTILE) == 1
    assert client == "exec" or json.dumps(HOSTILE) in given


def test_lines_are_whole_however_they_come_and_none_is_longer_than_allowed() -> None:
    taken: list[bytes] = []
    lines = Lines(taken.append)
    for data in (b"on", b"e\ntwo\n\nth", b"x" * LINE_BYTES, b"x\nfour", b"\nlast"):
        lines.feed(data)
    lines.end()

    assert (taken, lines.too_long) == ([b"one", b"two", b"four", b"last"], 1)


@pytest.mark.parametrize("feed", [lambda tail: tail.feed(b"x" * 10**6), lambda tail: [tail.feed(b"x" * 999)] * 999])
def test_a_tail_keeps_the_end(feed: Callable[[Tail], object]) -> None:
    tail = Tail()
    feed(tail)
    tail.feed(b"the end")

    assert len(tail.text()) <= KEPT_BYTES
    assert tail.text().endswith("xthe end")
