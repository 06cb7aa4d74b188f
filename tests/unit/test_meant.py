"""What an unknown name may mean: by its words first, then by its letters, and nothing if it is like none."""

from __future__ import annotations

import pytest

from loominal.local.main import COMMANDS as LOCAL
from loominal.model.names import meant, nearest
from loominal.shuttle.main import COMMANDS as SHUTTLE
from loominal.warp.tools import TOOLS


@pytest.mark.parametrize(
    ("said", "tool"),
    [
        ("list_agents", "discover_agents"),
        ("get_messages", "read_messages"),
        ("getMessages", "read_messages"),
        ("list_tasks", "list_work"),
        ("get_task", "get_work"),
        ("create_task", "broadcast_work_offer"),
        ("take_task", "claim_work"),
        ("finish_job", "complete_work"),
        ("post_message", "send_message"),
        ("read_inbox", "read_direct_messages"),
        ("send_mesage", "send_message"),
        ("regster_agent", "register_agent"),
        ("CLAIM-WORK", "claim_work"),
    ],
)
def test_a_tool_is_found_by_what_it_does_and_by_its_letters(said: str, tool: str) -> None:
    assert nearest(said, TOOLS) == tool


@pytest.mark.parametrize(("said", "command"), [("wrok", "work"), ("tasks", "work"), ("agent", "agents")])
def test_a_command_of_shuttle_is_found(said: str, command: str) -> None:
    assert meant(said, SHUTTLE, "commands") == f"did you mean {command!r}?"


def test_a_name_like_none_is_answered_with_all() -> None:
    assert nearest("xyzzy", LOCAL) == nearest("", LOCAL) == nearest("xyzzy", []) == ""
    assert meant("xyzzy", ("a", "b"), "tools") == "the tools are: a, b"
