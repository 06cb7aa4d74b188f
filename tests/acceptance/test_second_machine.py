"""A second machine: two homes that share nothing but a loopback address, with TLS between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

import loominal
from chaos.proxy import Line
from loominal.broker.certificates import ensure_certificates
from loominal.broker.credentials import Credential
from loominal.broker.nkeys import KeyPair, Kind
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.client.enrolling import Enrolling
from loominal.fabric.client.entrance import find_entrance
from loominal.fabric.client.settings import ClientSettings
from loominal.fabric.enrolment import Enrol
from loominal.fabric.hub.access.fabric_records import INVITED
from loominal.fabric.invitation import Token
from loominal.fabric.operations.channels import ListChannels
from loominal.fabric.operations.work import CompleteWork
from loominal.fabric.protocol import PROTO
from loominal.fabric.runtime_file import Mode, machine_credential_path, read_runtime, write_runtime
from loominal.local.processes import running
from loominal.model.errors import BoundaryRefused, BrokerUnavailable, Forbidden, HubUnavailable, LoominalError
from tests.integration.conftest import eventually
from tests.integration.workshop import until_status
from tests.patience import SOON
from tests.ports import free_port

HOST = "127.0.0.2"
PROJECT = "shop"
NOBODY = 65534
HAND = """
import asyncio, loominal

async def main():
    async with loominal.connect("theirs", "hand", ["theirs"]) as hand:
        [head] = (await hand.discover_agents(capability="lead")).agents
        await hand.send_direct_message(head.guid, "I am here")
        [work] = (await hand.claim_work(wait_seconds=50)).work
        await hand.complete_work(work.id, "mended")

asyncio.run(main())
"""
NOTHING_STARTS = 'write `[allow]` and `mechanisms = ["local"]`'
REFUSED, NOT_FOUND, UNREACHABLE, FAILED, USAGE = 4, 3, 5, 1, 2


def run(home: Path, *arguments: str, code: int = 0) -> str:
    """Run a command of `loominal` in a home, expect its exit code, and return what it printed."""
    said, told = run_both(home, *arguments, code=code)
    return said + told if code else said


def run_both(home: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Do as `run`, and return standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "loominal", *arguments],
        env=os.environ | {"LOOMINAL_HOME": str(home), "LOOMINAL_TIMINGS_SCALE": "0.2", "LOOMINAL_PROJECT_ID": PROJECT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def invited(home: Path, *options: str) -> list[str]:
    """Return the command that `loominal invite` printed, without its first word."""
    [line] = run(home, "invite", *options).splitlines()
    program, *arguments = line.split()
    assert program == "loominal"
    return arguments


def another_user() -> tuple[int, list[str]]:
    """Return a user id for another machine's agents, and what a command of theirs begins with.

    Only root can be somebody else, and if it may lend the right to read: Python may lie in a home of root's.
    """
    rights = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    prefix = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *rights]
    probe = [*prefix, sys.executable, "-c", "import loominal"]
    may = os.geteuid() == 0 and shutil.which("setpriv") and subprocess.run(probe, check=False, cwd="/").returncode == 0
    return (NOBODY, prefix) if may else (os.geteuid(), [])


def number_of(command: list[str]) -> str:
    """Return the id of the invitation that a `join` takes."""
    token = Token.from_text(command[-1])
    return Credential(jwt=token.jwt, key=KeyPair.from_seed(token.seed)).name.removeprefix(INVITED)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Path]:
    """A fabric that listens on an address of its own."""
    home = tmp_path_factory.mktemp("first machine") / "home"
    run(home, "up", "--detach", "--listen", HOST)
    yield home
    run(home, "down")
    assert running(home) == []


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """The other machine's home, which has nothing in it yet."""
    return tmp_path / "second" / "home"


async def test_three_commands_make_one_fabric_of_two_machines(first: Path, second: Path) -> None:
    run(second, *invited(first))

    async with (
        loominal.connect("boss", "boss", ["plan"], project=PROJECT, home=first) as boss,
        loominal.connect("hand", "hand", ["python"], project=PROJECT, home=second) as hand,
    ):
        found = await boss.discover_agents(capability="python")
        assert [each.handle for each in found.agents] == ["hand"]
        await boss.send_direct_message("hand", "can you take it?")
        assert [each.message for each in (await hand.read_direct_messages()).messages] == ["can you take it?"]
        offered = await boss.broadcast_work_offer("mend it", capabilities=["python"], boundary="personal")
        [work] = (await hand.claim_work(wait_seconds=SOON)).work
        assert work.id == offered.id
        await hand.complete_work(work.id, "mended")
        assert (await boss.get_work(work.id)).status == "done"


async def test_another_unix_user_joins_and_works_from_a_home_of_its_own(first: Path) -> None:
    uid, prefix = another_user()
    with tempfile.TemporaryDirectory(prefix="loominal-") as home:
        os.chown(home, uid, uid)
        environ = os.environ | {"LOOMINAL_HOME": home, "HOME": home, "LOOMINAL_PROJECT_ID": PROJECT}

        async def theirs(*arguments: str) -> None:
            process = await asyncio.create_subprocess_exec(
                *prefix, sys.executable, *arguments, env=environ, cwd=home, stdin=asyncio.subprocess.DEVNULL
            )
            assert await asyncio.wait_for(process.wait(), SOON) == 0

        await theirs("-m", "loominal", *invited(first))
        async with loominal.connect("head", "boss", ["lead"], project=PROJECT, home=first, operator=True) as head:
            offered = await head.broadcast_work_offer("mend", capabilities=["theirs"], boundary="personal")
            await theirs("-c", HAND)

            said, *_ = (await head.read_direct_messages(wait_seconds=SOON)).messages
            assert (said.message, said.sender.handle) == ("I am here", "theirs")
            assert (await head.get_work(offered.id, wait_seconds=SOON)).status == "done"
            users = {each.user for each in (await head.list_machines()).machines}
        assert any(user.startswith(f"{pwd.getpwuid(uid).pw_name}@") for user in users)
        owners = {path.stat().st_uid for path in Path(home).rglob("*")}  # noqa: ASYNC240 - a few files
        assert owners == {uid}


async def test_a_machine_that_joined_starts_nothing_of_its_own_and_says_so(first: Path, second: Path) -> None:
    run(second, *invited(first))
    assert "takes this machine's credential" in await asyncio.to_thread(run, second, "doctor")

    status = json.loads(run(second, "status", "--json"))
    assert (status["running"], status["mode"], status["projects"]) == (True, "joined", [])
    assert status["nats"]["url"].startswith(f"tls://{HOST}:")
    assert "joined" in run(second, "up", code=REFUSED)
    assert "joined" in run(second, "down")
    assert (read_runtime(second) or pytest.fail("it is not joined any more")).mode is Mode.JOINED
    assert running(second) == []
    assert machine_credential_path(second).stat().st_mode & 0o777 == 0o600

    assert "run it where the fabric runs" in run(second, "machines", code=REFUSED)

    run(second, "join", "--leave")
    assert read_runtime(second) is None


async def test_agents_of_an_invited_machine_stay_within_its_invitation(first: Path, second: Path) -> None:
    run(second, *invited(first, "--project", PROJECT, "--boundary", "open-source"))

    with pytest.raises(Forbidden, match="no grant"):
        async with loominal.connect(project="other", home=second):
            pass
    async with loominal.connect(project=PROJECT, home=second, agent_type="hand", capabilities=["python"]) as hand:
        with pytest.raises(BoundaryRefused):
            await hand.register_agent("hand", capabilities=["python"], boundaries=["personal"])
    with pytest.raises(Forbidden):
        async with loominal.connect(project=PROJECT, home=second, operator=True) as hand:
            await hand.list_machines()


async def test_an_invitation_is_good_for_one_machine_and_the_same_one_again(first: Path, second: Path) -> None:
    command = invited(first)
    run(second, *command)
    before = Credential.read(machine_credential_path(second))

    run(second, *command)
    refusal = run(second.parent / "third", *command, code=REFUSED)

    again = Credential.read(machine_credential_path(second))
    assert (again.name, again.key) == (before.name, before.key)
    assert f"another machine in ({before.name})" in refusal
    [line] = [line for line in run(first, "machines").splitlines() if line.startswith(before.name)]
    assert "another machine showed its invitation" in line


def test_an_invitation_is_taken_back_until_somebody_has_used_it(first: Path, second: Path) -> None:
    command = invited(first)
    number = number_of(command)
    assert any(number in line for line in run(first, "machines").splitlines())

    assert run(first, "invite", "--revoke", number) == f"taken back: {number}\n"

    assert number not in run(first, "machines")
    used = invited(first)
    run(second, *used)
    name = Credential.read(machine_credential_path(second)).name
    assert f"loominal machines --revoke {name}" in run(first, "invite", "--revoke", number_of(used), code=REFUSED)


async def test_of_two_machines_that_show_one_invitation_at_once_one_joins(first: Path, second: Path) -> None:
    command = invited(first)
    homes = [second, second.parent / "third"]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loominal", *command,
            env=os.environ | {"LOOMINAL_HOME": str(home)}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )
        for home in homes
    ]  # fmt: skip
    async with asyncio.timeout(SOON):
        codes = [await process.wait() for process in processes]

    assert sorted(codes) == [0, REFUSED]
    assert [read_runtime(home) is not None for home in homes] == [code == 0 for code in codes]


async def test_a_target_that_weft_may_not_start_says_what_to_write(first: Path) -> None:
    async with loominal.connect("op", "boss", ["plan"], project=PROJECT, home=first, operator=True) as op:
        added = await op.add_target(
            "here", agent_type="exec", capabilities=["go"], boundaries=["personal"], mechanism="local",
            config={"command": ["agent"]},
        )  # fmt: skip
        assert 'mechanisms = ["local"]' in (added.unusable or "")
        with pytest.raises(Forbidden, match="of the mechanism local") as refused:
            await op.spin_up("here")
        assert "reads it when it starts" in refused.value.hint
        await op.remove_target("here")


async def test_a_second_invitation_changes_what_a_machine_may_and_not_who_it_is(first: Path, second: Path) -> None:
    run(second, *invited(first, "--boundary", "open-source"))
    before = Credential.read(machine_credential_path(second)).name

    run(second, *invited(first, "--boundary", "personal"))

    assert Credential.read(machine_credential_path(second)).name == before
    [line] = [line for line in run(first, "grant").splitlines() if before in line]
    assert "boundaries personal " in line


async def test_credentials_of_agents_are_renewed_over_it(first: Path, second: Path) -> None:
    run(second, *invited(first))
    settings = ClientSettings.from_env({}, home=second, project=PROJECT)
    key = KeyPair.generate(Kind.USER)
    request = Enrol(proto=PROTO, agent=str(uuid4()), key=key.public, project=PROJECT)
    enrolling = Enrolling(find_entrance(settings), request, key)

    jwts = set()
    for _ in range(2):
        await enrolling.enrol()
        credential = enrolling.credential()
        assert credential is not None
        assert credential.expires_at is not None
        assert credential.expires_at > datetime.now(UTC)
        jwts.add(credential.jwt)
        await asyncio.sleep(1)  # a JWT names the second in which it was made
    assert len(jwts) == 2


async def test_an_agent_there_says_that_the_link_is_cut_and_goes_on_when_it_is_back(first: Path, second: Path) -> None:
    run(second, *invited(first))
    runtime = read_runtime(second)
    assert runtime is not None
    async with Line(urlsplit(runtime.url).port or 0, host=HOST).running() as line:
        write_runtime(second, msgspec.structs.replace(runtime, url=line.url.replace("nats://", "tls://")))
        async with (
            loominal.connect("planner", "boss", ["plan"], project=PROJECT, home=first) as boss,
            loominal.connect("miner", "hand", ["ore"], project=PROJECT, home=second) as hand,
        ):
            offered = await boss.broadcast_work_offer("dig", capabilities=["ore"], boundary="personal")
            await hand.claim_work(wait_seconds=SOON)
            line.stall()
            for _ in range(2):
                with pytest.raises(BrokerUnavailable, match=r"link to it may be cut|no broker at|is down"):
                    await hand.call("list_channels", ListChannels(), timeout_seconds=3)
            await until_status(boss, offered.id, "scheduled", "ready", seconds=60)  # its lease ran out

            line.mend()

            async def done() -> bool:
                with contextlib.suppress(BrokerUnavailable, HubUnavailable):
                    return (await hand.complete_work(offered.id, "dug")).status == "done"
                return False

            await eventually(done, SOON)
            assert (await boss.get_work(offered.id)).attempt == 1  # nobody had taken it: it was its holder's again


async def test_what_is_wrong_with_an_invitation_is_said_each_in_its_own_way(first: Path, second: Path) -> None:
    short = invited(first, "--expires", "1s")
    token = Token.from_text(invited(first)[1])
    past = Token.from_text(short[1]).expires_at + timedelta(seconds=1)  # it is told in whole seconds
    await eventually(lambda: datetime.now(UTC) > past)

    assert "ended at" in run(second, *short, code=NOT_FOUND)
    assert "copy the whole line" in run(second, "join", token.to_text()[:-20], code=USAGE)
    nobody = Token(urls=(f"tls://{HOST}:{free_port()}",), ca=token.ca, jwt=token.jwt, seed=token.seed,
                   expires_at=token.expires_at)  # fmt: skip
    assert "cannot be reached" in run(second, "join", nobody.to_text(), code=UNREACHABLE)
    assert read_runtime(second) is None


async def test_a_man_in_the_middle_gets_nothing(first: Path, second: Path, tmp_path: Path) -> None:
    token = Token.from_text(invited(first)[1])
    for certificate in (ensure_certificates(tmp_path / "tls", [HOST], datetime.now(UTC)).server, None):
        settings = ServerSettings(
            directory=tmp_path / f"broker {certificate is None}", port=free_port(), host=HOST, certificate=certificate
        )
        async with EmbeddedServer(settings):
            urls = (f"tls://{HOST}:{settings.port}",)
            there = Token(urls=urls, ca=token.ca, jwt=token.jwt, seed=token.seed, expires_at=token.expires_at)
            said = await asyncio.to_thread(run, second, "join", there.to_text(), code=FAILED)
            assert "nothing was sent" in said
    assert read_runtime(second) is None


async def test_a_revoked_machine_is_cut_off_at_once_and_for_good(first: Path, second: Path) -> None:
    run(second, *invited(first))
    name = Credential.read(machine_credential_path(second)).name
    async with (
        loominal.connect("chief", "boss", ["plan"], project=PROJECT, home=first, operator=True) as chief,
        loominal.connect("lost", "hand", ["rust"], project=PROJECT, home=second) as lost,
    ):
        offered = await chief.broadcast_work_offer("mend it", capabilities=["rust"], boundary="personal")
        [work] = (await lost.claim_work(wait_seconds=SOON)).work
        told = asyncio.Event()
        lost.on_control(lambda _: told.set())

        gone = await chief.revoke_machine(name)

        assert (gone.name, gone.agents) == (name, 1)
        assert (await chief.get_work(offered.id)).status == "ready"
        await asyncio.wait_for(told.wait(), SOON)
        with pytest.raises(Forbidden, match="its machine was cut off"):
            await lost.call("complete_work", CompleteWork(work_id=work.id, summary="mended"), timeout_seconds=3)
        await chief.cancel_work(offered.id)
    with pytest.raises(LoominalError):
        async with loominal.connect(project=PROJECT, home=second, timeout_seconds=2):
            pass
    examined = await asyncio.to_thread(run, second, "doctor", code=FAILED)
    assert ("ask for a new invitation" in examined, "asyncio" in examined) == (True, False)
    own = Credential.read(machine_credential_path(first)).name
    run(first, "machines", "--revoke", own, code=REFUSED)


async def test_a_revoked_machine_gives_back_what_it_held_in_every_project(first: Path, second: Path) -> None:
    run(second, *invited(first))
    name = Credential.read(machine_credential_path(second)).name
    async with (
        loominal.connect("chief", project=PROJECT, home=first, operator=True) as chief,
        loominal.connect("boss", "boss", ["plan"], project="elsewhere", home=first) as boss,
        loominal.connect("lost", "hand", ["rust"], project="elsewhere", home=second) as lost,
    ):
        offered = await boss.broadcast_work_offer("mend it", capabilities=["rust"], boundary="personal")
        await lost.claim_work(wait_seconds=SOON)

        await chief.revoke_machine(name)

        async def given_back() -> bool:
            return (await boss.get_work(offered.id)).status == "ready"

        await eventually(given_back, SOON)
        detail = await boss.get_work(offered.id)
        assert [(step.move, step.note) for step in detail.history][-1] == ("release", "its agent was cut off")
        await boss.cancel_work(offered.id)


@pytest.mark.parametrize("left", [False, True])
async def test_a_home_whose_machine_was_revoked_joins_again_as_a_new_one(first: Path, second: Path, left: bool) -> None:
    invitation = invited(first)
    run(second, *invitation)
    name = Credential.read(machine_credential_path(second)).name
    async with loominal.connect(f"ann-{int(left)}", "hand", ["go"], project=PROJECT, home=second) as ann:
        before = ann.guid
    run(first, "machines", "--revoke", name)
    if left:
        run(second, "join", "--leave")

    assert "cut off" in run(second, *invitation, code=REFUSED)
    said = run(second, *invited(first))

    assert "a new one" in said
    assert Credential.read(machine_credential_path(second)).name != name
    async with loominal.connect(f"bob-{int(left)}", "hand", ["go"], project=PROJECT, home=second) as bob:
        assert bob.guid != before
        assert (await bob.get_my_handle()).handle == f"bob-{int(left)}"


def test_a_fabric_that_listens_nowhere_else_invites_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(home, "up", "--detach")
    try:
        assert "loominal up --listen" in run(home, "invite", code=REFUSED)
        assert NOTHING_STARTS not in run(home, "doctor")
        said, told = run_both(home, "up", "--detach", "--listen", "0.0.0.0")
        assert said.startswith("up: broker tls://")
        listening = json.loads(run(home, "status", "--json"))["nats"]
        assert listening["url"].startswith("tls://127.0.0.1:")
        assert "with TLS" in listening["listen"]
        for each in told, run(home, "doctor"):
            assert NOTHING_STARTS in each
            assert str(home / "weft.toml") in each
        assert invited(home)[0] == "join"
        run(home, "grant")
        run(home, "up", "--detach", "--listen", "127.0.0.1")
        assert json.loads(run(home, "status", "--json"))["nats"]["url"].startswith("nats://127.0.0.1:")
        run(home, "grant")
    finally:
        run(home, "down")
