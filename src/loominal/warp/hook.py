"""`warp hook …`, which a client runs at certain moments: asks the session's warp what waits, and prints what the
client takes. Must be small and quick, so it imports no asyncio, no msgspec and no NATS client. `main` comes here.

Hooks and what they print: code.claude.com/docs/en/hooks, which Codex and Gemini took over; cursor.com/docs, "Hooks";
docs.github.com, "Hooks reference".
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, TypeAlias

from loominal.fabric import slot_socket
from loominal.fabric.state_directory import home_directory

MOMENTS = ("session-start", "prompt", "stop", "wait")
EVENTS = {"session-start": "SessionStart", "prompt": "UserPromptSubmit", "stop": "Stop", "wait": "Stop"}
WOKEN = 2  # exit code: the client is to go on, and tell its model what was printed
INPUT_SECONDS = 1.0  # for what the client says on stdin
ANSWER_SECONDS = 4.0  # a hook that is late holds up the client's user

Json: TypeAlias = dict[str, Any]  # Any: JSON of the client's own


def run(moment: str) -> int:
    """Print what there is to say at `moment`, if anything, and return the exit code."""
    given = _given()
    text = ask(moment, given)
    if not text:
        return 0
    if moment == "wait":
        print(text)
        return WOKEN
    if said := output(moment, given, text):
        print(json.dumps(said))
    return 0


def ask(moment: str, given: Json) -> str:
    """Return what the session's warp wants its model to know, "" if nothing or if there is no warp.

    At `wait` it returns once there is something, or the warp has ended.
    """
    place = _place(given)
    connection = slot_socket.connected(place) if place else None
    if connection is None:
        return ""
    with connection:
        connection.settimeout(None if moment == "wait" else ANSWER_SECONDS)
        asked = {"moment": moment, "again": bool(given.get("stop_hook_active") or given.get("loop_count"))}
        try:
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"{}")
        except (OSError, ValueError):
            return ""
    return str(answer.get("text", ""))


def output(moment: str, given: Json, text: str) -> Json | None:
    """Return what the client takes, None if at this moment it takes nothing."""
    event = given.get("hook_event_name")
    if isinstance(event, str) and event[:1].islower():  # Cursor
        names = {"session-start": "additional_context", "stop": "followup_message"}
        return {names[moment]: text} if moment in names else None
    if moment == "stop":
        return {"decision": "block", "reason": text}
    if "sessionId" in given:  # Copilot CLI
        return {"additionalContext": text}
    return {"hookSpecificOutput": {"hookEventName": event or EVENTS[moment], "additionalContext": text}}


def _place(given: Json) -> Path | None:
    """Return the socket of the warp that serves the client which runs this hook."""
    if named := os.environ.get("LOOMINAL_ATTACH"):
        return Path(named)
    session = given.get("session_id") or given.get("sessionId") or given.get("conversation_id")
    return slot_socket.find(home_directory(os.environ), str(session or ""), slot_socket.ancestors())


def _given() -> Json:
    """Return what the client says on stdin, {} if that is nothing we know."""
    data, until = b"", time.monotonic() + INPUT_SECONDS
    try:
        while not os.isatty(0) and select.select([0], [], [], max(until - time.monotonic(), 0))[0]:
            part = os.read(0, 1 << 16)
            data += part
            if not part:
                break
        given = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def main(arguments: list[str]) -> int:
    """Run the hook that `arguments` name and return the exit code."""
    match arguments:
        case [moment] if moment in MOMENTS:
            return run(moment)
        case ["--help" | "-h"]:
            print(f"Usage: warp hook {'|'.join(MOMENTS)}\n\n  Run by an agent's client; `loominal connect` sets it up.")
            return 0
    print(f"warp: a hook is one of {', '.join(MOMENTS)}", file=sys.stderr)
    return 1  # not 2, by which a client would take what is printed for its model
