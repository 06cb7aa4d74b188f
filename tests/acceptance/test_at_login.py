"""`loominal up --at-login`, with a stand-in for systemctl that starts and ends what the unit says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loominal.local.processes import running

SYSTEMCTL = f"""#!{sys.executable}
import os, re, shlex, signal, subprocess, sys
from pathlib import Path
unit = Path(os.environ["HOME"], ".config/systemd/user/loominal.service")
pid = Path(os.environ["HOME"], "pid")
with open(os.environ["HOME"] + "/told", "a") as told:
    print(*sys.argv[1:], file=told)
text = unit.read_text() if unit.exists() else ""
words = lambda name: [shlex.split(each.replace("%%", "%")) for each in re.findall(rf"(?m)^{{name}}=(.*)$", text)]
if "enable" in sys.argv and not pid.exists():
    environ = dict(word.split("=", 1) for [word] in words("Environment"))
    environ["HOME"] = os.environ["HOME"]
    started = subprocess.Popen(words("ExecStart")[0], env=environ, cwd="/", stdin=-3, stdout=-3, stderr=-3,
                               start_new_session=True)
    pid.write_text(str(started.pid))
if "disable" in sys.argv:
    os.kill(int(pid.read_text()), signal.SIGTERM)
"""


class Person:
    """A user with a home of its own, and with a systemctl or without one."""

    def __init__(self, place: Path, *, systemd: bool) -> None:
        self.place, self.fabric = place, place / "state"
        (place / "bin").mkdir()
        if systemd:
            (place / "bin" / "systemctl").write_text(SYSTEMCTL)
            (place / "bin" / "systemctl").chmod(0o755)

    @property
    def unit(self) -> Path:
        return self.place / ".config" / "systemd" / "user" / "loominal.service"

    def run(self, *arguments: str, code: int = 0) -> str:
        environ = {name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "LANG")}
        environ |= {"HOME": str(self.place), "LOOMINAL_HOME": str(self.fabric), "PATH": str(self.place / "bin")}
        done = subprocess.run(
            [sys.executable, "-m", "loominal", *arguments],
            env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="launchd's agent is checked as a file: tests/unit")
def test_it_is_up_from_now_on_and_no_more_after_down(tmp_path: Path) -> None:
    person = Person(tmp_path, systemd=True)
    try:
        said = person.run("up", "--at-login")
        assert "it starts at each login" in said
        assert "enable-linger" in said
        assert len(running(person.fabric)) == 2
        assert "goes on until" in person.run("up", "--at-login")
    finally:
        said = person.run("down", "--at-login")
    assert "starts at login no more" in said
    assert not person.unit.exists()
    assert running(person.fabric) == []
    assert (tmp_path / "told").read_text().splitlines()[-2:] == [
        "--user disable --now loominal.service",
        "--user daemon-reload",
    ]
    assert "it starts at no login" in person.run("down", "--at-login")


@pytest.mark.skipif(sys.platform == "darwin", reason="launchd's agent is checked as a file: tests/unit")
def test_where_nothing_starts_services_it_says_so_and_shows_what_it_would_do(tmp_path: Path) -> None:
    person = Person(tmp_path, systemd=False)

    assert "there is no systemctl here" in person.run("up", "--at-login", code=3)
    assert "ExecStart=" in person.run("up", "--at-login", "--dry-run")
    assert "leave out --detach" in person.run("up", "--at-login", "--detach", code=2)
    assert not person.unit.exists()
