"""`shuttle config`: each key's effect at the other end, what goes before what, and a newcomer's first lines."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from loominal.broker.server import free_port
from loominal.fabric.runtime_file import machine_credential_path, read_runtime
from loominal.local.home import NATS_PORT, Config, is_free, keep_config
from tests.acceptance.shells import Shell
from tests.integration.conftest import NatsServer

FIRST_DAY = """
shuttle config set nats-url nats://localhost:4222
shuttle config set project-id my-project
shuttle submit "Implement user authentication" --boundary personal --capability typescript
"""  # as the first page of Loominal has them
TOLD = "Implement user authentication"
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose fabric listens where NATS does, unless somebody else has that port."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.home.mkdir(mode=0o700)
    keep_config(shell.home, Config(broker_port=NATS_PORT if is_free(NATS_PORT) else free_port()))
    try:
        assert shell.run("loominal", "up", "--detach").returncode == 0
        yield shell
    finally:
        shell.run("loominal", "down")


@pytest.fixture
def file(shell: Shell) -> Iterator[Path]:
    """The settings of the shell's person, gone after the test."""
    path = shell.home / "shuttle.toml"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Shell:
    """A shell on which no fabric runs."""
    return Shell(tmp_path)


def url_of(shell: Shell) -> str:
    runtime = read_runtime(shell.home)
    assert runtime is not None
    return runtime.url


def first_day(shell: Shell, url: str) -> list[Done]:
    """Type the lines; where the broker has another port than NATS's own, that."""
    port = url.rpartition(":")[2]
    lines = FIRST_DAY.replace("4222", port).strip().splitlines()
    return [shell.shuttle(*shlex.split(line)[1:]) for line in lines]


def shown(shell: Shell, done: Done, *flags: str) -> Any:  # Any: JSON
    return json.loads(shell.shuttle("work", "show", done.stdout.strip(), "--json", *flags).stdout)


def listed(shell: Shell, *flags: str, **environment: str) -> dict[str, tuple[object, str]]:
    """Return the value of each key, and where it comes from."""
    found = json.loads(shell.shuttle("config", "list", "--json", *flags, **environment).stdout)
    return {each["key"]: (each["value"], each["from"]) for each in found["settings"]}


def test_the_first_days_lines_work_with_the_local_fabric(shell: Shell, file: Path) -> None:
    done = first_day(shell, url_of(shell))

    assert [each.returncode for each in done] == [0, 0, 0], done
    item = shown(shell, done[-1], "--project", "my-project")
    assert (item["description"], item["boundary"], item["capabilities"]) == (TOLD, "personal", ["typescript"])
    assert oct(file.stat().st_mode)[-3:] == "600"


def test_the_first_days_lines_work_with_a_broker_of_somebody_elses(elsewhere: Shell, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", free_port())
    (tmp_path / "nats").mkdir()
    weft = Shell(tmp_path / "weft")
    weft.directory.mkdir()
    try:
        server.start()
        assert weft.run("loominal", "up", "--detach", NATS_URL=server.url).returncode == 0
        done = first_day(elsewhere, server.url)
        there = json.loads(weft.shuttle("work", "list", "--json", "--project", "my-project").stdout)
    finally:
        weft.run("loominal", "down", NATS_URL=server.url)
        server.kill()

    assert [each.returncode for each in done] == [0, 0, 0], done
    assert [each["description"] for each in there["items"]] == [TOLD]


def test_where_nothing_answers_it_is_said_what_to_do(shell: Shell, file: Path, elsewhere: Shell) -> None:
    nowhere = f"nats://localhost:{free_port()}"
    with_a_fabric, without = first_day(shell, nowhere)[-1], first_day(elsewhere, nowhere)[-1]
    unset, then = shell.shuttle("config", "unset", "nats-url"), shell.shuttle("submit", "now")

    assert (with_a_fabric.returncode, without.returncode) == (5, 5)
    assert all(part in with_a_fabric.stderr for part in (str(file), url_of(shell), "`shuttle config unset nats-url`"))
    assert "`shuttle config unset nats-url`" in without.stderr
    assert (unset.returncode, then.returncode) == (0, 0)


def test_a_credential_file_that_is_set_lets_in(shell: Shell, elsewhere: Shell) -> None:
    credential = machine_credential_path(shell.home)
    elsewhere.shuttle("config", "set", "natsUrl", url_of(shell))
    refused = elsewhere.shuttle("submit", "not yet")
    elsewhere.shuttle("config", "set", "natsCreds", str(credential))
    elsewhere.shuttle("config", "set", "projectId", project := f"p-{uuid4().hex[:8]}")
    submitted = elsewhere.shuttle("submit", "let in")

    assert refused.returncode != 0
    assert submitted.returncode == 0, submitted.stderr
    assert shown(shell, submitted, "--project", project)["description"] == "let in"


@pytest.mark.parametrize(
    ("key", "value", "field", "expected", "flag"),
    [
        ("default-boundary", "open-source", "boundary", "open-source", ("--boundary", "personal")),
        ("defaultPriority", "9", "priority", 9, ("--priority", "2")),
    ],
)
def test_a_default_holds_unless_a_flag_says_otherwise(
    shell: Shell, file: Path, key: str, value: str, field: str, expected: object, flag: tuple[str, str]
) -> None:
    assert shell.shuttle("config", "set", key, value).returncode == 0
    as_set, as_said = shell.shuttle("submit", "one"), shell.shuttle("submit", "two", *flag)

    assert shown(shell, as_set)[field] == expected
    assert str(shown(shell, as_said)[field]) == flag[1]


def test_json_can_be_what_is_printed_unasked(shell: Shell, file: Path) -> None:
    shell.shuttle("config", "set", "output", "json")

    assert "agents" in json.loads(shell.shuttle("agents", "list").stdout)


def test_a_flag_goes_before_the_environment_the_directory_the_file_and_the_default(shell: Shell, file: Path) -> None:
    def project(*flags: str, **environment: str) -> tuple[object, str]:
        return listed(shell, *flags, **environment)["project-id"]

    unset = project()
    shell.shuttle("config", "set", "project-id", "of-the-file")
    named = shell.directory / ".loominal.toml"
    assert project() == ("of-the-file", str(file))
    with contextlib.ExitStack() as stack:
        stack.callback(named.unlink)
        named.write_text('project = "of-the-directory"\n')
        assert project() == ("of-the-directory", ".loominal.toml")
        assert project(LOOMINAL_PROJECT_ID="of-the-environment") == ("of-the-environment", "LOOMINAL_PROJECT_ID")
        of_all = project("-p", "of-a-flag", LOOMINAL_PROJECT_ID="of-the-environment")
    assert of_all == ("of-a-flag", "--project")
    assert str(shell.directory) in unset[1]


def test_the_environments_broker_goes_before_the_files_and_no_password_is_shown(shell: Shell, file: Path) -> None:
    assert listed(shell)["nats-url"] == (url_of(shell), "the local fabric")
    shell.shuttle("config", "set", "nats-url", "nats://of-the-file:1")
    assert listed(shell)["nats-url"] == ("nats://of-the-file:1", str(file))
    found = listed(shell, NATS_URL="nats://ada:hidden@of-the-environment:1")
    assert found["nats-url"] == ("nats://of-the-environment:1", "NATS_URL")

    kept = file.read_text()
    refused = shell.shuttle("config", "set", "nats-url", "nats://ada:hidden@broker")
    assert (refused.returncode, file.read_text()) == (2, kept)
    assert "nats-creds" in refused.stderr
    assert "hidden" not in refused.stderr


def test_a_file_that_others_can_read_is_theirs_no_more(shell: Shell, file: Path) -> None:
    shell.shuttle("config", "set", "output", "table")
    file.chmod(0o644)
    said, again = shell.shuttle("config", "get", "output"), shell.shuttle("config", "get", "output")

    assert (said.stdout, oct(file.stat().st_mode)[-3:]) == ("table\n", "600")
    assert (str(file) in said.stderr, again.stderr) == (True, "")


def test_another_file_is_made_read_and_told_of(shell: Shell, tmp_path: Path) -> None:
    other = str(tmp_path / "new" / "other.toml")
    missing = shell.shuttle("--config", other, "config", "get", "output")
    path = shell.shuttle("config", "path", "--config", other)
    shell.shuttle("config", "set", "output", "json", "--config", other)

    assert (missing.returncode, path.stdout.strip()) == (3, other)
    assert listed(shell, "--config", other)["output"] == ("json", "--json")
    assert json.loads(shell.shuttle("--config", other, "config", "get", "output").stdout)["value"] == "json"
    assert shell.shuttle("config", "path").stdout.strip() == str(shell.home / "shuttle.toml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "red"), ("nats-url", "http://broker"), ("nats-creds", "/nowhere/at/all"), ("project-id", "No Name"),
        ("default-priority", "11"), ("default-boundary", "a\nb"), ("output", "xml"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_a_usage_error(shell: Shell, key: str, value: str) -> None:
    refused = shell.shuttle("config", "set", key, value)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert not (shell.home / "shuttle.toml").exists()


def test_a_value_that_is_wrong_by_now_is_told_of_and_mended_by_a_command(shell: Shell, file: Path) -> None:
    file.write_text('default-priority = "high"\noutput = "table"\n')
    file.chmod(0o600)
    refused = shell.shuttle("submit", "hello")
    mended, unset = shell.shuttle("config", "unset", "default-priority"), shell.shuttle("config", "get", "nats-creds")

    assert refused.returncode == 2
    assert "`shuttle config unset default-priority`" in refused.stderr
    assert (mended.returncode, unset.returncode) == (0, 3)
    assert file.read_text() == 'output = "table"\n'
