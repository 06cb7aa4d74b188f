"""What hooks print for each client, whose warp they ask, and what the reminders are made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from loominal.fabric import slot_socket
from loominal.fabric.client.holds import Holds
from loominal.fabric.operations.work import WorkView
from loominal.warp.attention import Waiting
from loominal.warp.hook import output

Json = Any  # Any: what clients say and take


@pytest.mark.parametrize(
    ("moment", "given", "taken"),
    [
        ("stop", {"hook_event_name": "Stop"}, {"decision": "block", "reason": "x"}),
        ("stop", {"sessionId": "s"}, {"decision": "block", "reason": "x"}),
        ("stop", {"hook_event_name": "stop", "conversation_id": "c"}, {"followup_message": "x"}),
        ("session-start", {"hook_event_name": "sessionStart"}, {"additional_context": "x"}),
        ("prompt", {"hook_event_name": "beforeSubmitPrompt"}, None),
        ("session-start", {"sessionId": "s"}, {"additionalContext": "x"}),
        (
            "prompt",
            {"hook_event_name": "BeforeAgent"},
            {"hookSpecificOutput": {"hookEventName": "BeforeAgent", "additionalContext": "x"}},
        ),
        ("prompt", {}, {"hookSpecificOutput": {"hookEventName": "UserPromptSubmit", "additionalContext": "x"}}),
    ],
)
def test_each_client_gets_what_it_takes(moment: str, given: Json, taken: Json) -> None:
    assert output(moment, given, "x") == taken


def test_what_waits_is_one_line_of_counts_and_ids() -> None:
    assert Waiting(joined=True, held=("w_1",)).line() == ""
    line = Waiting(joined=True, mail=2, mail_marks=("m_1",), cancelled=("w_1",), stalled=("w_2", "w_3")).line()
    assert line == (
        "Loominal: 2 unread direct messages (read_direct_messages); 1 work item of yours called off: stop and "
        "release_work (w_1); 2 work items of yours without progress for long: go on and report_progress, or end it "
        "(w_2, w_3)."
    )


def test_an_agent_s_end_is_told_before_all_else_and_once_for_each_state() -> None:
    soon = Waiting(joined=True, mail=1, mail_marks=("m_1",), ending="an operator ends this agent")
    assert soon.line() == ("Loominal: an operator ends this agent; 1 unread direct message (read_direct_messages).")
    over = Waiting(joined=True, ending="an operator has ended this agent")
    assert len(soon.marks | over.marks) == 3


def test_a_claim_stands_still_until_something_is_done_about_it() -> None:
    holds = Holds()
    holds.take([WorkView(id="w_1", lease_token=1), WorkView(id="w_2", lease_token=2)])
    for item in ("w_1", "w_2", "w_3"):
        holds.stall(item)
    assert list(holds.stalled) == ["w_1", "w_2"]

    holds.touch("w_1")
    holds.end("w_2")
    assert list(holds.stalled) == []


def test_a_hook_asks_the_warp_of_its_session_else_its_client_s_own(tmp_path: Path) -> None:
    places = {name: tmp_path / "agents" / "shop" / "c" / name for name in ("1", "2")}
    for place in places.values():
        place.mkdir(parents=True)
    with slot_socket.listening(places["1"], "s1"), slot_socket.listening(places["2"], "s2"):
        mine = [4, os.getppid()]
        assert slot_socket.find(tmp_path, "s1", []) == places["1"] / "socket"
        assert slot_socket.find(tmp_path, "s2", mine) == places["2"] / "socket"
        assert slot_socket.find(tmp_path, "s3", [4]) is None
        assert slot_socket.find(tmp_path, "", mine) is not None
    assert slot_socket.find(tmp_path, "s1", mine) is None
    assert list(tmp_path.glob("agents/*/*/*/*")) == []


def test_a_socket_in_a_long_path_is_reached_by_its_user(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("name" * 20)
    folder.mkdir(parents=True)
    with slot_socket.listening(folder, "s") as server:
        assert (folder / "socket").stat().st_mode & 0o777 == 0o600
        asking = slot_socket.connected(folder / "socket")
        assert asking is not None
        answering, _ = server.accept()
        with asking, answering:
            assert slot_socket.is_same_user(answering)
    assert slot_socket.connected(folder / "socket") is None


def test_the_processes_above_are_found() -> None:
    above = slot_socket.ancestors()

    assert above[0] == os.getppid()
    assert len(set(above)) == len(above)
