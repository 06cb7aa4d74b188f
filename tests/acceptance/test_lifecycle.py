"""The local life cycle as a user runs it: up, down, status, doctor, logs, project, grant; and what kills do."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import loominal
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.runtime_file import Runtime, read_runtime
from loominal.local.home import supervisor_pid
from loominal.local.processes import alive, running
from loominal.local.up import up
from loominal.model.errors import BrokerUnavailable
from tests.patience import SOON
from tests.ports import free_port


class Home:
    """A fabric's directory and the commands that run in it."""

    def __init__(self, path: Path, **environ: str) -> None:
        self.path = path
        self.environ = {**os.environ, "LOOMINAL_HOME": str(path), "LOOMINAL_TIMINGS_SCALE": "0.2", **environ}

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "loominal", *arguments],
            env={**self.environ, **environ},
            cwd=self.path.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def up(self) -> Runtime:
        """Start the fabric detached and return its runtime file."""
        done = self.run("up", "--detach")
        assert done.returncode == 0, done.stderr + self.logs()
        return self.runtime()

    def runtime(self) -> Runtime:
        runtime = read_runtime(self.path)
        assert runtime is not None
        return runtime

    def ready(self) -> bool:
        runtime = read_runtime(self.path)
        return runtime is not None and bool(runtime.api_url) and get(runtime.api_url, "/ready")[0] == 200

    def logs(self) -> str:
        return "".join(f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in self.path.glob("logs/*.log"))


# Any: what JSON holds
def get(url: str, path: str, bearer_token: str = "") -> tuple[int, Any]:
    """Return status and body of a GET; (0, None) if nobody answers."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SOON)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {bearer_token}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except OSError:
        return 0, None
    finally:
        connection.close()


def eventually(holds: Callable[[], bool], home: Home) -> None:
    """Return when `holds` does; fail with the logs after 30 s."""
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until, home.logs()
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own; whatever runs in it ends with the test."""
    made = Home(tmp_path / "home of 'ada'")
    yield made
    assert made.run("down").returncode == 0
    assert running(made.path) == []


async def an_agent_works(home: Home) -> str:
    """Connect an agent and return its handle."""
    async with loominal.connect(project="shop", agent_type="tester", home=home.path, timeout_seconds=SOON) as agent:
        return (await agent.get_my_handle()).handle


def test_a_fabric_comes_up_says_where_it_is_and_goes_down(home: Home) -> None:
    runtime = home.up()

    status = json.loads(home.run("status", "--json").stdout)
    assert set(status) == {"running", "mode", "durability", "home", "nats", "api", "projects"}
    assert (status["running"], status["mode"], status["home"]) == (True, "embedded", str(home.path))
    assert status["nats"]["url"] == runtime.url
    assert status["api"] == {"url": runtime.api_url, "tokenFile": runtime.token_file}
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert Path(runtime.token_file).stat().st_mode & 0o777 == 0o600

    again = home.run("up")
    assert (again.returncode, "already running" in again.stdout) == (0, True)
    assert home.runtime().weft_pid == runtime.weft_pid
    doctor = home.run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "weft" in home.run("logs").stdout

    assert home.run("down").returncode == 0
    pids = (runtime.nats_pid, runtime.weft_pid, runtime.supervisor_pid)
    eventually(lambda: not any(map(alive, pids)), home)
    assert home.run("down").returncode == 0
    assert home.run("status").returncode == 5
    assert json.loads(home.run("status", "--json").stdout)["running"] is False
    assert home.run("doctor").returncode == 1


async def test_a_stopped_fabric_has_kept_everything_when_it_is_up_again(home: Home) -> None:
    first = home.up()
    handle = await an_agent_works(home)
    home.run("down")

    second = home.up()

    assert second.url == first.url
    assert await an_agent_works(home) == handle
    assert json.loads(home.run("status", "--json").stdout)["projects"] == ["shop"]


@pytest.mark.parametrize("victim", ["weft", "broker", "supervisor"])
async def test_a_fabric_heals_after_a_kill(home: Home, victim: str) -> None:
    before = home.up()
    handle = await an_agent_works(home)
    pids = {"weft": before.weft_pid, "broker": before.nats_pid, "supervisor": before.supervisor_pid}

    os.kill(pids[victim], signal.SIGKILL)

    eventually(lambda: _pid(home, victim) not in (pids[victim], None, 0) and home.ready(), home)
    assert await an_agent_works(home) == handle
    assert len(running(home.path)) == 2


def _pid(home: Home, what: str) -> int | None:
    if what == "supervisor":
        return supervisor_pid(home.path)
    return next((process.pid for process in running(home.path) if process.what == what), None)


def test_what_a_killed_supervisor_left_is_ended_and_no_stranger_is(home: Home) -> None:
    left = home.up()
    os.kill(left.supervisor_pid, signal.SIGSTOP)  # so that it does not restart weft
    os.kill(left.weft_pid, signal.SIGKILL)
    os.kill(left.supervisor_pid, signal.SIGKILL)
    eventually(lambda: not alive(left.supervisor_pid), home)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        runtime_path = home.path / "fabric.json"
        runtime_path.write_text(runtime_path.read_text().replace(str(left.weft_pid), str(stranger.pid)))

        again = home.up()

        assert not alive(left.nats_pid)
        assert again.nats_pid != left.nats_pid
        home.run("down")
        assert stranger.poll() is None
        stranger.kill()


def test_two_ups_at_once_make_one_fabric(home: Home) -> None:
    command = [sys.executable, "-m", "loominal", "up", "--detach"]
    both = [subprocess.Popen(command, env=home.environ, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0], home.logs()

    assert [process.what for process in running(home.path)] == ["weft", "broker"]


def test_a_start_that_is_given_up_leaves_nothing_behind(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOMINAL_HOME", str(home.path))
    monkeypatch.setattr("loominal.local.up.READY_SECONDS", -2.0)  # of the 5 s beyond it 3 are left
    monkeypatch.setattr("loominal.local.up.not_ready", lambda _: ["it dawdles"])

    with pytest.raises(BrokerUnavailable, match="it dawdles; what was started is ended again") as given_up:
        up.main(["--detach"], standalone_mode=False)

    assert str(home.path / "logs") in given_up.value.hint
    assert (supervisor_pid(home.path), running(home.path)) == (None, [])
    assert home.run("status").returncode == 5
    home.up()


def test_ctrl_c_ends_weft_and_then_the_broker(home: Home) -> None:
    home.path.mkdir(parents=True)
    log = (home.path / "terminal").open("wb")
    with (
        log,
        subprocess.Popen([sys.executable, "-m", "loominal", "up"], env=home.environ, stdout=log, stderr=log) as up,
    ):
        eventually(home.ready, home)

        up.send_signal(signal.SIGINT)

        assert up.wait(SOON) == 0
    assert running(home.path) == []
    assert read_runtime(home.path) is None


def test_weft_asks_for_another_broker_by_a_signal(home: Home) -> None:
    before = home.up()

    os.kill(before.supervisor_pid, signal.SIGUSR1)

    eventually(lambda: home.runtime().nats_pid not in (0, before.nats_pid) and home.ready(), home)
    assert home.runtime().weft_pid == before.weft_pid


def test_weft_is_alive_but_not_ready_while_the_broker_is_gone(home: Home) -> None:
    runtime = home.up()
    os.kill(runtime.supervisor_pid, signal.SIGSTOP)
    os.kill(runtime.nats_pid, signal.SIGKILL)

    with contextlib.ExitStack() as stack:
        stack.callback(os.kill, runtime.supervisor_pid, signal.SIGCONT)
        eventually(lambda: get(runtime.api_url, "/ready")[0] == 503, home)
        assert "broker" in get(runtime.api_url, "/ready")[1]["reasons"][0]
        assert get(runtime.api_url, "/health")[0] == 200

    eventually(home.ready, home)


def test_the_api_wants_its_bearer_token(home: Home) -> None:
    runtime = home.up()
    bearer_token = Path(runtime.token_file).read_text().strip()

    status, problem = get(runtime.api_url, "/api/projects")

    assert (status, problem["code"]) == (401, "forbidden")
    status, listed = get(runtime.api_url, "/api/projects", bearer_token)
    assert (status, listed["projects"], listed["total"]) == (200, [], 0)


def test_children_see_nothing_of_the_starters_secrets(home: Home) -> None:
    home.environ |= {"GITHUB_TOKEN": "s3cret", "LOOMINAL_ENROLMENT": "s3cret"}

    runtime = home.up()

    for pid in (runtime.supervisor_pid, runtime.weft_pid, runtime.nats_pid):
        assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_weft_has_of_the_starters_secrets_what_its_file_lends(home: Home) -> None:
    home.path.mkdir(mode=0o700)
    file = home.path / "weft.toml"
    file.write_text('[allow]\nenv = ["LENT_KEY"]\nhosts = { FORGE_TOKEN = ["forge.example"] }\n')
    file.chmod(0o600)
    secrets = {"LENT_KEY": "lent", "FORGE_TOKEN": "sent", "OTHER_KEY": "kept"}

    done = home.run("up", "--detach", **secrets)

    assert done.returncode == 0, done.stderr
    environment = Path(f"/proc/{home.runtime().weft_pid}/environ").read_bytes().split(b"\0")
    assert {each for each in environment if each.endswith((b"=lent", b"=sent", b"=kept"))} == {
        b"LENT_KEY=lent",
        b"FORGE_TOKEN=sent",
    }


def test_a_port_that_was_asked_for_and_is_busy_is_an_error(home: Home) -> None:
    runtime = home.up()
    other = Home(home.path.parent / "other", API_PORT=str(urlsplit(runtime.api_url).port))

    done = other.run("up", "--detach")

    assert done.returncode == 5
    assert "API_PORT" in done.stderr
    assert running(other.path) == []


async def test_open_mode_says_what_it_is_and_serves(home: Home, tmp_path: Path) -> None:
    settings = ServerSettings(directory=tmp_path / "foreign", port=free_port())
    settings.directory.mkdir()
    async with EmbeddedServer(settings) as server:
        home.environ["NATS_URL"] = server.url.replace("//", "//ada:s3cret@")
        started = home.run("up", "--detach")
        assert started.returncode == 0, started.stderr + home.logs()

        status = home.run("status", "--json")
        assert json.loads(status.stdout)["mode"] == "open"
        assert "on trust" in started.stderr
        assert "s3cret" not in started.stdout + started.stderr + status.stdout + home.logs()
        async with loominal.connect(project="shop", agent_type="tester", home=home.path, timeout_seconds=SOON) as agent:
            assert (await agent.get_my_handle()).registered
            with pytest.raises(loominal.Forbidden):
                await agent.list_grants()
        assert home.run("down").returncode == 0


def test_an_address_that_cannot_be_one_is_refused_at_once(home: Home) -> None:
    home.environ["NATS_URL"] = "http://:nonsense@x"
    for options in ([], ["--detach"]):
        done = home.run("up", *options)
        assert done.returncode == 2, done.stderr
        assert "NATS_URL" in done.stderr
        assert "nonsense" not in done.stderr
    assert running(home.path) == []


async def test_a_weft_of_its_own_waits_for_the_broker_and_tidies_up(home: Home, tmp_path: Path) -> None:
    settings = ServerSettings(directory=tmp_path / "foreign", port=free_port())
    settings.directory.mkdir()
    environ = {**home.environ, "NATS_URL": settings.url}
    with (tmp_path / "weft.log").open("wb") as log:
        weft = subprocess.Popen([sys.executable, "-m", "loominal.weft.main"], env=environ, stdout=log, stderr=log)  # noqa: ASYNC220 - takes a millisecond
    with weft:
        eventually(lambda: read_runtime(home.path) is not None, home)
        api_url = home.runtime().api_url
        eventually(lambda: get(api_url, "/health")[0] == 200, home)
        assert get(api_url, "/ready")[0] == 503

        async with EmbeddedServer(settings):
            eventually(home.ready, home)
            assert await an_agent_works(home)

            weft.send_signal(signal.SIGTERM)
            assert weft.wait(SOON) == 0
    assert read_runtime(home.path) is None


def test_one_more_weft_beside_the_one_of_up_comes_and_goes_unnoticed(home: Home, tmp_path: Path) -> None:
    runtime = home.up()
    log = tmp_path / "weft.log"
    with log.open("wb") as output:
        weft = subprocess.Popen(
            [sys.executable, "-m", "loominal.weft.main"], env=home.environ, stdout=output, stderr=output
        )
    with weft:
        eventually(lambda: "serving http" in log.read_text(), home)
        assert home.runtime() == runtime
        weft.send_signal(signal.SIGTERM)
        assert weft.wait(SOON) == 0

    assert "`loominal up` runs one" in log.read_text()
    assert home.runtime() == runtime
    assert home.run("status").returncode == 0
    assert home.run("doctor").returncode == 0


def test_corporate_is_granted_only_when_it_is_confirmed(home: Home) -> None:
    home.up()

    refused = home.run("grant", "--boundary", "Corporate")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    granted = home.run("grant", "--boundary", "Corporate", "--yes")
    assert granted.returncode == 0, granted.stderr
    listed = home.run("grant")

    grant = granted.stdout.split()[0]
    assert grant in listed.stdout
    assert "all but corporate" in listed.stdout

    assert home.run("grant", "--revoke", grant).returncode == 0
    assert grant not in home.run("grant").stdout
    assert home.run("grant", "--revoke", grant).returncode == 3


def test_a_boundary_that_the_project_does_not_have_is_not_granted(home: Home) -> None:
    home.up()

    refused = home.run("grant", "--boundary", "corporat")

    assert refused.returncode == 4
    assert "corporate-adjacent" in refused.stderr


def test_a_directory_can_be_named(home: Home) -> None:
    named = home.run("project", "use", "shop")
    assert named.returncode == 0, named.stderr
    assert home.run("project").stdout.startswith("shop\n  because ")
    assert home.run("project", "use", "No Name").returncode == 2


@pytest.mark.parametrize("command", ["up", "down", "status", "doctor", "logs", "project", "grant"])
def test_every_command_says_how_to_use_it_with_an_example(home: Home, command: str) -> None:
    assert "Example: loominal" in home.run(command, "--help").stdout


def test_without_a_fabric_every_command_says_what_to_do(home: Home) -> None:
    for command, code in (("grant", 5), ("logs", 3), ("status", 5)):
        done = home.run(command)
        assert done.returncode == code, done.stderr
        assert "loominal up" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_relative_home_is_the_same_for_the_detached_fabric(home: Home) -> None:
    relative = {"LOOMINAL_HOME": home.path.name}
    done = home.run("up", "--detach", **relative)
    try:
        assert done.returncode == 0, done.stderr
        assert home.ready()
    finally:
        home.run("down", **relative)


@pytest.mark.parametrize("command", ["up", "down", "logs", "status", "doctor"])
def test_a_home_that_is_a_file_is_told_as_such(tmp_path: Path, command: str) -> None:
    path = tmp_path / "home"
    path.write_text("")

    done = Home(path).run(command)

    assert done.returncode in (1, 2)
    assert str(path) in done.stdout + done.stderr
    assert "a bug" not in done.stderr


def test_a_fabric_whose_directory_was_removed_can_be_ended(home: Home) -> None:
    supervisor = home.up().supervisor_pid
    shutil.rmtree(home.path)

    assert home.run("down").stdout == "stopped\n"

    eventually(lambda: not running(home.path) and not alive(supervisor), home)
