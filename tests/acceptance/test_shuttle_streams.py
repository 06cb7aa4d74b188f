"""What `shuttle` does where its surroundings are at fault: streams, encodings, directory, variables, settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.shells import SECONDS, Shell

ARROW = "dye → dry"
SHUTTLE = f"{sys.executable} -m loominal.shuttle.main"
DEVICE = Path("/dev/zero")  # a text without end


def in_sh(shell: Shell, script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in which `$SHUTTLE` is the command."""
    return subprocess.run(
        ["sh", "-c", script],
        env=shell.environ | {"SHUTTLE": SHUTTLE} | environment,
        cwd=shell.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_full_disk_is_a_line_and_one(shell: Shell) -> None:
    for command in ("stats", "work list --json", "submit text -q", "--help"):
        done = in_sh(shell, f"$SHUTTLE {command} >/dev/full")
        assert (done.returncode, done.stderr) == (1, b"shuttle: No space left on device\n"), command


def test_streams_that_are_closed_are_empty(shell: Shell) -> None:
    assert in_sh(shell, "$SHUTTLE stats >&-").returncode == 0
    assert in_sh(shell, "$SHUTTLE work show nothing >&- 2>&-").returncode == 3
    for command in ("submit -", "tell nobody -", "agents revoke nobody"):
        done = in_sh(shell, f"$SHUTTLE {command} <&-")
        assert (done.returncode, b"Error: " in done.stderr) == (2, True), (command, done.stderr)


def test_a_terminal_that_lacks_a_character_shows_another_and_json_is_whole(shell: Shell) -> None:
    item = shell.shuttle("submit", ARROW, "--quiet").stdout.strip()

    shown = in_sh(shell, f"$SHUTTLE work show {item}", PYTHONIOENCODING="latin-1")
    document = in_sh(shell, f"$SHUTTLE work show {item} --json", PYTHONIOENCODING="latin-1")

    assert b"dye ? dry" in shown.stdout
    assert json.loads(document.stdout)["description"] == ARROW


def test_what_is_no_text_is_refused_wherever_it_is_written(shell: Shell) -> None:
    (shell.directory / "none.txt").write_bytes(b"a\xff")
    stray = "$(printf 'a\\377')"
    for command in (
        f'submit "{stray}"', "submit - < none.txt", "submit --file none.txt", "tell ada - < none.txt",
        f'submit text --context "{stray}"', f'agents show "{stray}"', f'work list --capability "{stray}"',
    ):  # fmt: skip
        done = in_sh(shell, f"$SHUTTLE {command}")
        assert (done.returncode, b"Traceback" in done.stderr) == (2, False), (command, done.stderr)


@pytest.mark.parametrize("command", ["submit --jsonl", "submit --file", "targets add --from", "policy set --from"])
def test_a_file_without_end_is_not_read_to_it(shell: Shell, command: str) -> None:
    done = in_sh(shell, f"ulimit -v 2000000; $SHUTTLE {command} {DEVICE}")

    assert (done.returncode, b"bytes" in done.stderr) == (2, True), done.stderr


def test_a_directory_that_is_gone_is_said_unless_the_project_is_named(shell: Shell) -> None:
    gone = 'mkdir gone && cd gone && rmdir "$PWD" && $SHUTTLE'

    for command in ("stats", "config list"):
        done = in_sh(shell, f"{gone} {command}")
        assert (done.returncode, b"the present directory is gone" in done.stderr) == (2, True), done.stderr
    assert in_sh(shell, f"{gone} submit x --project elsewhere").returncode == 0


def test_a_level_of_the_log_that_is_none_is_said(shell: Shell) -> None:
    wrong, unset = shell.shuttle("stats", LOG_LEVEL="chatty"), shell.shuttle("stats", LOG_LEVEL="")

    assert (wrong.returncode, "LOG_LEVEL" in wrong.stderr) == (2, True)
    assert unset.returncode == 0


def test_an_interval_that_is_no_number_is_a_usage_error(shell: Shell) -> None:
    done = shell.shuttle("top", "--json", "--interval", "nan")

    assert (done.returncode, "--interval" in done.stderr) == (2, True)
