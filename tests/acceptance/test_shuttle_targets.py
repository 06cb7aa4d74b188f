"""Targets and spin-ups from a terminal: what each flag says is what another program sees."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.targets import TargetView
from loominal.fabric.runtime_file import machine_credential_path
from loominal.model.launch import LaunchStatus
from loominal.shuttle.targets.documents import present
from tests.acceptance.shells import Shell, Typing
from tests.acceptance.typed import Typed
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import stranger
from tests.integration.weft_at_steps import processes

WORKER = Path(__file__).parents[1] / "integration" / "spun_up.py"
FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130
COMMON = [
    "--agent-type", "codex", "--capability", "go", "--capability", "Rust", "--boundary", "personal", "--boundary",
    "open-source", "--description", "a box", "--tag", "x", "--tag", "y", "--max-concurrent", "3", "--cooldown", "1m",
    "--idle", "90", "--boot-timeout", "2h", "--health-check", "--health-interval", "10m", "--health-timeout", "5",
]  # fmt: skip
IS_COMMON = {
    "agentType": "codex", "capabilities": ["go", "rust"], "boundaries": ["personal", "open-source"],
    "description": "a box", "tags": ["x", "y"], "maxConcurrent": 3, "cooldownSeconds": 60, "idleSeconds": 90,
    "bootTimeoutSeconds": 7200, "healthCheck": {"enabled": True, "intervalSeconds": 600, "timeoutSeconds": 5},
}  # fmt: skip
SSH = ["--host", "box", "--user", "ci", "--port", "2222", "--identity-file", "/k/id", "--known-hosts-file", "/k/known"]
PODS = ["--namespace", "agents", "--image", "loominal:1", "--service-account", "sa", "--image-pull-secret", "pull"]
MECHANISMS: dict[str, tuple[list[str], dict[str, object]]] = {
    "local": (
        ["--host", "elsewhere", "--cwd", "/srv", "--env", "A=1", "--env", "B=", "--", "run", "--it", "$HOME;reboot"],
        {"host": "elsewhere", "cwd": "/srv", "env": {"A": "1", "B": ""}, "command": ["run", "--it", "$HOME;reboot"]},
    ),
    "ssh": (
        [*SSH, "--connect-timeout", "5s", "--cwd", "/srv", "--env", "A=1", "--command", "run 'two words'"],
        {"host": "box", "user": "ci", "port": 2222, "identityFile": "/k/id", "knownHostsFile": "/k/known",
         "connectTimeoutSeconds": 5, "cwd": "/srv", "env": {"A": "1"}, "command": ["run", "two words"]},
    ),
    "kubernetes": (
        [*PODS, "--context", "c", "--kubeconfig", "/k/config", "--ttl-seconds", "60", "--active-deadline", "1h",
         "--resources", '{"limits": {"cpu": "1"}}', "--arg", "agent", "--arg", "run", "--env", "A=1", "--", "go"],
        {"namespace": "agents", "image": "loominal:1", "serviceAccount": "sa", "imagePullSecret": "pull",
         "context": "c", "kubeconfig": "/k/config", "ttlSecondsAfterFinished": 60, "activeDeadlineSeconds": 3600,
         "resources": {"limits": {"cpu": "1"}}, "args": ["agent", "run"], "env": {"A": "1"}, "command": ["go"]},
    ),
    "github-actions": (
        ["--repo", "acme/shop", "--workflow", "agent.yml", "--ref", "next", "--input", "size=big", "--token-env", "T",
         "--api-url", "https://git.example/api"],
        {"repo": "acme/shop", "workflow": "agent.yml", "ref": "next", "inputs": {"size": "big"}, "tokenEnv": "T",
         "apiUrl": "https://git.example/api"},
    ),
    "webhook": (
        ["--url", "https://ci.example/start", "--method", "PUT", "--header", "X-Key=s3cret", "--body", '{"l": 1}',
         "--secret-env", "S", "--success-code", "200", "--success-code", "204", "--timeout", "7"],
        {"url": "https://ci.example/start", "method": "PUT", "headers": {"X-Key": "s3cret"}, "body": {"l": 1},
         "secretEnv": "S", "successCodes": [200, 204], "timeoutSeconds": 7},
    ),
}  # fmt: skip
FILE = """
[[targets]]
name = "{0}-a"
agentType = "exec"
capabilities = ["python"]
boundaries = ["personal"]
mechanism = "local"
config = {{ command = ["true"], env = {{ KEY = "s3cret" }} }}

[[targets]]
name = "{0}-b"
agentType = "codex"
capabilities = []
boundaries = ["open-source"]
mechanism = "webhook"
enabled = false
config = {{ url = "https://ci.example/start?key=s3cret" }}
"""


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory, scale: float) -> Iterator[Fabric]:
    running = Fabric(tmp_path_factory.mktemp("shell") / "home", scale=scale)
    try:
        running.start()
        yield running
    finally:
        running.stop()


class Shuttle(Typed):
    """Commands on targets."""

    def local(self, name: str, *more: str, code: int = 0, **environment: str) -> None:
        """Add a target of this machine."""
        given = ("--agent-type", "exec", "--boundary", "personal", "--cooldown", "0", *more)
        self("targets", "add", name, "--mechanism", "local", *given, code=code, **environment)

    def seen(self, *names: str) -> list[TargetView]:
        """Return the targets of these names, as a program sees them; those that are not there are left out."""

        async def look(agent: Agent) -> list[TargetView]:
            return [each for each in (await agent.list_targets()).targets if each.name in names]

        return self.asked(look)


@pytest.fixture(scope="module")
def shuttle(fabric: Fabric) -> Shuttle:
    return Shuttle(fabric, "shop")


@pytest.fixture
def name() -> str:
    return f"t-{uuid4().hex[:8]}"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_flag_of_each_mechanism_is_what_others_see(shuttle: Shuttle, name: str, mechanism: str) -> None:
    flags, config = MECHANISMS[mechanism]

    printed = shuttle.json("targets", "add", name, "--mechanism", mechanism, *COMMON, *flags)

    [seen] = shuttle.seen(name)
    assert (seen.mechanism, seen.config) == (mechanism, config)
    assert {field: printed[field] for field in IS_COMMON} == IS_COMMON
    assert (printed["id"], seen.max_concurrent, seen.health_check.enabled) == (seen.id, 3, True)


def test_an_update_changes_what_it_says_and_nothing_else(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--capability", "go", "--tag", "x", "--env", "A=s3cret", "--health-check", "--", "run")
    [before] = shuttle.seen(name)

    dry = shuttle("targets", "update", name, "--idle", "9", "--env", "A=other", "--dry-run")
    assert [present(each) for each in shuttle.seen(name)] == [present(before)]
    said = shuttle("targets", "update", name, "--name", f"{name}-2", "--idle", "9", "--tag", "", "--no-health-check",
                   "--env", "A=other", "--capability", "go", "--capability", "c")  # fmt: skip

    [after] = shuttle.seen(f"{name}-2")
    assert (after.id, after.idle_seconds, after.tags, after.health_check.enabled) == (before.id, 9, (), False)
    assert (after.config, after.capabilities) == (before.config | {"env": {"A": "other"}}, ("go", "c"))
    assert (after.cooldown_seconds, after.health_check.interval_seconds) == (0, 300)
    assert all("idleSeconds: 300 → 9" in each and "s3cret" not in each for each in (dry, said))


def test_another_mechanism_is_told_all_that_it_needs(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--", "run")

    refused = shuttle("targets", "update", name, "--mechanism", "ssh", "--host", "box", "--cwd", "x", code=USAGE)
    shuttle("targets", "update", name, "--mechanism", "ssh", *SSH, "--", "run", "there")

    assert all(each in refused for each in ("--user: it is missing", "--command: it is missing", "--cwd: 'x' is no"))
    [seen] = shuttle.seen(name)
    assert (seen.mechanism, seen.config["host"], seen.config["command"]) == ("ssh", "box", ["run", "there"])


def test_a_file_makes_several_and_with_update_they_become_as_it_says(shuttle: Shuttle, name: str) -> None:
    file, names = FILE.format(name), (f"{name}-a", f"{name}-b")

    dry = shuttle("targets", "add", "--from", "-", "--dry-run", stdin=file)
    assert shuttle.seen(*names) == []
    made = shuttle.json("targets", "add", "--from", "-", stdin=file)
    shuttle("targets", "add", "--from", "-", stdin=file, code=FAILED)  # they are there
    first = shuttle.seen(*names)
    again = shuttle("targets", "add", "--from", "-", "--update", stdin=file)
    assert [present(each) for each in shuttle.seen(*names)] == [present(each) for each in first]
    more = file.replace('"python"', '"go"').replace("enabled = false", 'description = "new"')
    shuttle("targets", "add", "--from", "-", "--update", stdin=more)

    assert (made["total"], [each["name"] for each in made["targets"]]) == (2, list(names))
    assert [(each.enabled, each.capabilities) for each in first] == [(True, ("python",)), (False, ())]
    assert [f"{each}: unchanged" in again for each in names] == [True, True]
    assert [(each.description, each.capabilities) for each in shuttle.seen(*names)] == [("", ("go",)), ("new", ())]
    assert "s3cret" not in dry


def test_what_is_shown_as_json_goes_back_in_and_else_shows_no_secret(shuttle: Shuttle, name: str) -> None:
    shuttle("targets", "add", "--from", "-", stdin=FILE.format(name))
    before = shuttle.seen(f"{name}-a", f"{name}-b")
    listed, shown = shuttle("targets", "list", "--json"), shuttle("targets", "show", f"{name}-b", "--json")

    assert "s3cret" not in "".join(shuttle("targets", "show", f"{name}-{each}") for each in "ab")
    shuttle("targets", "remove", f"{name}-b", "--yes")
    assert [each.name for each in shuttle.seen(f"{name}-a", f"{name}-b")] == [f"{name}-a"]
    shuttle("targets", "add", "--from", "-", stdin=shown)
    shuttle("targets", "add", "--from", "-", "--update", stdin=listed)

    after = shuttle.seen(f"{name}-a", f"{name}-b")
    assert [(each.config, each.enabled, each.agent_type) for each in after] == [
        (each.config, each.enabled, each.agent_type) for each in before
    ]


def test_everything_is_checked_before_anything_is_sent(shuttle: Shuttle, name: str) -> None:
    file = FILE.format(name)
    wrong = file.replace('"webhook"', '"ssh"').replace('["personal"]', "[]")
    told = shuttle("targets", "add", "--from", "-", stdin=wrong, code=USAGE)
    assert all(each in told for each in ("targets[0].boundaries", "targets[1].config.host", "targets[1].config.url"))
    shuttle("targets", "add", "--from", "-", stdin=file.replace("open-source", "no-such"), code=REFUSED)
    flags = ("--capability", "a\nb", "--cooldown", "soon", "--image", "x", "--host", "-oProxyCommand=x", "--port", "0")
    told = shuttle("targets", "add", "$(reboot)", "--mechanism", "ssh", *flags, code=USAGE)
    assert all(f"\n  {each}: " in told for each in (
        "NAME", "--agent-type", "--capability", "--boundary", "--cooldown", "--image", "--host", "--user", "--port",
        "--command",
    ))  # fmt: skip
    assert "mechanism kubernetes" in told

    assert shuttle.seen(f"{name}-a", f"{name}-b") == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("targets", "show", "no-such"), NOT_FOUND),
        (("targets", "update", "no-such", "--idle", "1"), NOT_FOUND),
        (("targets", "remove", "no-such", "--yes"), NOT_FOUND),
        (("targets", "enable", "no-such"), NOT_FOUND),
        (("targets", "disable", "$(x)\x1b[31m"), NOT_FOUND),
        (("targets", "test", "no-such"), NOT_FOUND),
        (("spin-up", "no-such"), NOT_FOUND),
        (("spin-ups", "--target", "no-such"), NOT_FOUND),
        (("spin-ups", "show", "no-such"), NOT_FOUND),
        (("targets", "add"), USAGE),
        (("targets", "add", "x"), USAGE),
        (("targets", "add", "x", "--from", "-"), USAGE),
        (("targets", "update", "x"), USAGE),
        (("spin-ups", "--status", "lost"), USAGE),
        (("spin-ups", "shwo"), USAGE),
    ],
)
def test_what_is_not_there_and_what_is_no_command_have_their_exit_codes(
    shuttle: Shuttle, command: tuple[str, ...], code: int
) -> None:
    assert "\x1b" not in shuttle(*command, code=code)


def test_a_machine_without_an_operators_rights_looks_and_changes_nothing(
    fabric: Fabric, shuttle: Shuttle, name: str, tmp_path: Path
) -> None:
    shutil.copy(fabric.home / "fabric.json", tmp_path / "fabric.json")
    asyncio.run(stranger(fabric, "eve", shuttle.project)).write(machine_credential_path(tmp_path))
    shuttle.local(name, "--env", "A=s3cret", "--", "true")
    theirs = str(tmp_path)

    for command in (
        ("targets", "add", f"{name}-2", "--mechanism", "webhook", "--agent-type", "exec", "--boundary", "personal",
         "--url", "https://ci.example/x"),
        ("targets", "update", name, "--idle", "1"), ("targets", "remove", name, "--yes"), ("targets", "disable", name),
        ("targets", "test", name), ("spin-up", name), ("policy", "set", "--no-cross-project"),
    ):  # fmt: skip
        shuttle(*command, code=REFUSED, LOOMINAL_HOME=theirs)

    assert name in shuttle("targets", "list", LOOMINAL_HOME=theirs)
    assert "s3cret" not in shuttle("targets", "show", name, "--json", LOOMINAL_HOME=theirs)
    [still] = shuttle.seen(name, f"{name}-2")
    assert (still.enabled, still.idle_seconds) == (True, 300)


def test_where_no_fabric_is_every_command_says_so(shuttle: Shuttle, tmp_path: Path) -> None:
    for command in (("targets", "list"), ("spin-ups",), ("policy", "show")):
        shuttle(*command, code=UNREACHABLE, LOOMINAL_HOME=str(tmp_path))


def test_a_test_tells_each_step_and_fails_if_no_agent_could_be_started(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--", "true")
    shuttle.local(f"{name}-bad", "--", "no-such-program")

    good, bad = shuttle("targets", "test", name), shuttle("targets", "test", f"{name}-bad", code=FAILED)
    document = shuttle.json("targets", "test", f"{name}-bad", code=FAILED)

    assert [line.split()[:2] for line in good.splitlines()] == [
        ["target", "ok"], ["allowed", "ok"], ["policy", "ok"], ["check", "ok"],
    ]  # fmt: skip
    assert "no-such-program" in bad
    assert (document["healthy"], "no-such-program" in document["detail"]) == (False, True)
    assert "unhealthy" in shuttle("targets", "list")


def test_a_target_that_is_disabled_starts_nothing_until_it_is_enabled(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--", "true")

    shuttle("targets", "disable", name)
    [disabled] = shuttle.seen(name)
    refused = shuttle("spin-up", name, code=FAILED)
    shuttle("targets", "enable", name)

    [enabled] = shuttle.seen(name)
    assert (disabled.enabled, enabled.enabled) == (False, True)
    assert "`shuttle targets enable`" in refused


async def test_nothing_is_removed_unless_somebody_agrees(fabric: Fabric, project: str, name: str) -> None:
    shell = Typing(Shell(fabric.home.parent), project)
    async with fabric.connect(project=project, operator=True) as operator:
        await operator.add_target(name, "exec", [], ["personal"], "local", {"command": ["true"]})

        unasked, refused = await shell("targets", "remove", name), await shell.answered("n", "targets", "remove", name)
        assert (unasked.returncode, refused.returncode) == (USAGE, FAILED)
        assert ("--yes" in unasked.stderr, (await operator.list_targets()).total) == (True, 1)
        agreed = await shell.answered("y", "targets", "remove", name)

        assert (agreed.returncode, (await operator.list_targets()).total) == (0, 0)


def test_an_agent_is_started_and_waited_for(shuttle: Shuttle, name: str) -> None:
    shuttle.local(
        name, "--capability", name, "--boot-timeout", "60", "--idle", "1h", "--", sys.executable, str(WORKER), name
    )

    launch = shuttle("-q", "spin-up", name, "--wait").strip()

    shown = shuttle.json("spin-ups", "show", launch)
    assert (shown["status"], shown["target"]) == ("registered", name)
    agents = shuttle.asked(lambda operator: operator.discover_agents(capability=name))
    assert [each.guid for each in agents.agents] == [shown["agent"]]
    assert "it has started go on until" in shuttle("targets", "remove", name, "--yes")

    async def gone(operator: Agent) -> None:
        await eventually(lambda: _has_stopped(operator, launch), 60)

    shuttle.asked(gone)  # nothing starts it any more, so it goes


async def _has_stopped(operator: Agent, launch: str) -> bool:
    return (await operator.get_spin_up(launch)).status is LaunchStatus.STOPPED


def test_an_agent_that_does_not_come_fails_with_what_it_printed(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--", "sh", "-c", "echo dropped a stitch >&2; printf '\\033[31mred'; exit 3")

    told = shuttle("spin-up", name, "--wait", code=FAILED)
    listed = shuttle.json("spin-ups", "--target", name, "--status", "failed", "--limit", "5")
    launch = listed["spinUps"][0]["id"]

    assert ("dropped a stitch" in told, "\x1b" in told, launch in told) == (True, False, True)
    assert "dropped a stitch" in shuttle("spin-ups", "show", launch)
    assert [each["target"] for each in listed["spinUps"]] == [name]
    assert "no agent was started" in shuttle("spin-ups", "list", "--target", name, "--status", "registered")
    assert len(shuttle.json("spin-ups", "-n", "1")["spinUps"]) == 1


def test_who_stops_waiting_is_told_how_to_look_again(shuttle: Shuttle, name: str) -> None:
    shuttle.local(name, "--", "sleep", "60")
    environment = os.environ | {"LOOMINAL_HOME": str(shuttle.fabric.home), "LOOMINAL_PROJECT_ID": shuttle.project}
    command = [sys.executable, "-m", "loominal.shuttle.main", "spin-up", name, "--wait"]

    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline().strip() in ("requested", "started")
        waiting.send_signal(signal.SIGINT)
        launch, said = waiting.communicate(timeout=60)
    for each in processes(launch.strip()):
        os.kill(int(each.pid), signal.SIGKILL)

    assert waiting.returncode == INTERRUPTED
    assert f"`shuttle spin-ups show {launch.strip()}`" in said
    assert "Traceback" not in said


def test_the_targets_of_every_project_are_one_list(shuttle: Shuttle, name: str) -> None:
    for project in (shuttle.project, "stall"):
        shuttle.local(name, "--", "true", LOOMINAL_PROJECT_ID=project)

    found = [each for each in shuttle.json("targets", "list", "-A")["targets"] if each["name"] == name]

    assert {each["project"] for each in found} == {shuttle.project, "stall"}
