"""What starts the fabric at login: units that a system's manager reads back as they were meant."""

from __future__ import annotations

import plistlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from loominal.local.at_login import service, shown
from loominal.model.errors import InvalidArgument


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin"} | more


def lines(text: str, name: str) -> list[str]:
    """Return the values of a setting, as systemd reads them: quotes taken off, `%%` and `$$` single."""
    words = [shlex.split(value) for value in re.findall(rf"(?m)^{name}=(.*)$", text)]
    return [" ".join(each).replace("%%", "%") for each in words]


def test_a_unit_of_systemd_names_this_program_and_this_fabric(tmp_path: Path) -> None:
    home = tmp_path / 'my 100% "state"'

    unit = service(environment(tmp_path, LOOMINAL_HOME=str(home), LOOMINAL_HANDLE="ann"), "linux")

    assert unit.file == tmp_path / ".config" / "systemd" / "user" / "loominal.service"
    assert lines(unit.text, "ExecStart") == [f"{sys.executable} -m loominal up"]
    assert lines(unit.text, "Environment") == [f"LOOMINAL_HOME={home}", "PATH=/usr/bin"]
    assert lines(unit.text, "Restart") == ["on-failure"]  # so that `loominal down` is the end of it


def test_its_place_follows_the_configuration_directory(tmp_path: Path) -> None:
    unit = service(environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "etc")), "linux")

    assert unit.file == tmp_path / "etc" / "systemd" / "user" / "loominal.service"


def test_an_agent_of_launchd_says_the_same(tmp_path: Path) -> None:
    agent = service(environment(tmp_path, LOOMINAL_HOME=str(tmp_path / "a & b")), "darwin")

    settings = plistlib.loads(agent.text.encode())
    assert agent.file == tmp_path / "Library" / "LaunchAgents" / "loominal.plist"
    assert settings["ProgramArguments"] == [sys.executable, "-m", "loominal", "up"]
    assert settings["EnvironmentVariables"]["LOOMINAL_HOME"] == str(tmp_path / "a & b")
    assert settings["KeepAlive"] == {"SuccessfulExit": False}
    assert str(agent.file) in shown(agent)


@pytest.mark.parametrize("name", ["NATS_URL", "LOOMINAL_MODE"])
def test_somebody_elses_broker_is_not_started_at_login(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="somebody else's broker"):
        service(environment(tmp_path, **{name: "external"}), "linux")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("path", ["/a\nExecStartPre=/bin/false", "/a\x01", "/a\udcff"])
def test_a_path_that_would_make_another_line_is_refused(tmp_path: Path, platform: str, path: str) -> None:
    for name in ("LOOMINAL_HOME", "PATH"):
        with pytest.raises(InvalidArgument, match="control characters"):
            service(environment(tmp_path, **{name: path}), platform)


def test_a_program_is_named_as_it_is_whatever_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", '/opt/my $HOME %h "x"/python')

    text = service(environment(tmp_path), "linux").text

    assert r'ExecStart="/opt/my $HOME %%h \"x\"/python" -m loominal up' in text  # no `$$` in the first word
