"""The command line of the fleet as a newcomer types it."""

from __future__ import annotations

import json

from tests.acceptance.shells import Shell


def test_json_is_asked_for_before_or_after_the_command(shell: Shell) -> None:
    item = json.loads(shell.shuttle("submit", "anything", "--json").stdout)["id"]

    after, before = shell.shuttle("work", "show", item, "--json"), shell.shuttle("--json", "work", "show", item)

    assert json.loads(after.stdout) == json.loads(before.stdout)


def test_an_item_is_shown_with_what_it_is_and_came_to(shell: Shell) -> None:
    item = shell.shuttle("submit", "spin the wool", "--deadline", "0.2s", "--wait")
    assert item.returncode == 1

    shown = shell.shuttle("work", "show", item.stdout.strip()).stdout

    assert all(part in shown for part in ("spin the wool", "dead", "expired", "submit"))


def test_what_cannot_be_is_told_with_an_exit_code_and_what_to_do(shell: Shell) -> None:
    item = shell.shuttle("submit", "later").stdout.strip()
    empty, early = shell.shuttle("submit", ""), shell.shuttle("dlq", "discard", item)

    assert (empty.returncode, early.returncode) == (2, 1)
    assert "it is empty" in empty.stderr
    assert "`shuttle work cancel`" in early.stderr
    assert "`shuttle work list`" in shell.shuttle("work", "show", "nothing").stderr


def test_work_is_read_from_a_file_with_its_context_and_only_for_one_type_of_agent(shell: Shell) -> None:
    (shell.directory / "todo.md").write_text("dye the wool")
    offer = ("submit", "--file", "todo.md", "--agent-type", "codex", "--context", '{"colour": "red"}', "--json")
    item = json.loads(shell.shuttle(*offer).stdout)["id"]

    shown = json.loads(shell.shuttle("work", "show", item, "--json").stdout)
    neither, both = shell.shuttle("submit"), shell.shuttle("submit", "text", "--file", "todo.md")
    no_object = shell.shuttle("submit", "text", "--context", "[1]")

    assert (shown["description"], shown["contextData"]) == ("dye the wool", {"colour": "red"})
    assert [each.returncode for each in (neither, both, no_object)] == [2, 2, 2]
