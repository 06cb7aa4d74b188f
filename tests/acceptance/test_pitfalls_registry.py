"""Pitfalls 10 to 19, of identity and the registry: each test is named after what happens instead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from loominal.broker import subjects
from loominal.broker.bucket import Bucket
from loominal.broker.log import Log
from loominal.broker.server import EmbeddedServer
from loominal.broker.server_config import ServerSettings
from loominal.fabric.hub.access.fabric_records import Machine
from loominal.fabric.runtime_file import machine_credential_path
from loominal.model import record as records
from loominal.model.grant import Grant, Visibility
from tests.acceptance.warps import Json, Warp, warp
from tests.freezing import freeze
from tests.integration.conftest import eventually
from tests.integration.fabric import Fabric
from tests.integration.intruder import as_hub
from tests.patience import SOON
from tests.ports import free_port

SEED = re.compile(rb"S[AOUNC][A-Z2-7]{56}")
JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def is_at(asker: Warp, handle: str, status: str) -> Callable[[], Awaitable[bool]]:
    """Return whether the asker sees that agent in that status."""

    async def look() -> bool:
        return bool((await asker.tool("get_agent_info", guid=handle))["status"] == status)

    return look


async def code(asked: Warp, tool: str, **arguments: Json) -> str:
    """Return the code that a tool refuses with, "" if it does not."""
    return str((await asked.tool(tool, **arguments)).get("error", {}).get("code", ""))


@pytest.mark.pitfall(11)
async def test_an_agent_that_was_killed_or_has_ended_is_offline(ann: Warp, fabric: Fabric, project: str) -> None:
    started: dict[str, Warp] = {}
    async with contextlib.AsyncExitStack() as stack:
        for handle in ("killed", "told", "closed"):
            started[handle] = await stack.enter_async_context(warp(fabric.home, project=project))
            await started[handle].tool("join", handle=handle)
        for handle in started:
            await eventually(is_at(ann, handle, "online"), SOON)

        started["killed"].process.kill()
        started["told"].process.terminate()
        assert await started["closed"].leave() == 0

        for handle in started:
            await eventually(is_at(ann, handle, "offline"), SOON)
        assert [each["handle"] for each in (await ann.tool("discover_agents"))["agents"]] == ["ann"]


@pytest.mark.pitfall(12)
async def test_a_warp_ends_with_its_client_and_swallows_no_mail(ann: Warp, fabric: Fabric, project: str) -> None:
    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as eve:
        me = (await eve.tool("join", handle="eve"))["agent"]["guid"]
        eve.ask("tools/call", name="read_direct_messages", arguments={"waitSeconds": 50})
        eve.ask("tools/call", name="wait_for_events", arguments={"waitSeconds": 50})
        await eve.tool("get_my_handle")  # asked later on the same connection: the hub has both waits
        leaving = asyncio.create_task(eve.leave())
        sent = [await ann.tool("send_direct_message", recipientGuid="eve", message="x") for _ in range(3)]
        assert await leaving == 0
        sent.append(await ann.tool("send_direct_message", recipientGuid="eve", message="x"))
        await eventually(is_at(ann, "eve", "offline"), SOON)

    async with warp(fabric.home, project=project, client="gemini-cli-mcp-client") as eve:
        assert (await eve.tool("get_my_handle"))["guid"] == me
        read = await eve.tool("read_direct_messages", waitSeconds=SOON)
        assert [each["id"] for each in read["messages"]] == [each["id"] for each in sent]


@pytest.mark.pitfall(13)
async def test_changes_made_at_once_are_all_kept_and_none_brings_back_who_deregistered(ann: Warp, bob: Warp) -> None:
    for number in range(4):
        await asyncio.gather(
            bob.tool("update_presence", status=("busy", "online")[number % 2]),
            bob.tool("update_presence", currentTaskCount=number),
            bob.tool("update_presence", capabilities=[f"c{number}"]),
            bob.tool("set_handle", handle=f"bob-{number}"),
            bob.tool("read_direct_messages"),
        )
        await eventually(is_at(ann, f"bob-{number}", ("busy", "online")[number % 2]), SOON)
        seen = await ann.tool("get_agent_info", guid=f"bob-{number}")
        assert (seen["currentTaskCount"], seen["capabilities"]) == (number, [f"c{number}"])

    await asyncio.gather(
        *(bob.tool("update_presence", status="online") for _ in range(5)),
        bob.tool("deregister_agent"),
        *(bob.tool("update_presence", currentTaskCount=number) for number in range(5)),
    )
    await asyncio.sleep(1.2)  # two heartbeats of this fabric: it is their coming that must change nothing
    assert [each["handle"] for each in (await ann.tool("discover_agents", includeOffline=True))["agents"]] == ["ann"]
    assert await code(bob, "update_presence", status="online") == "not_registered"


async def a_machine(fabric: Fabric, home: Path, user: str, **granted: Json) -> Path:
    """Return a home as of another user's machine, with a grant of its own."""
    name = f"machine-{uuid4().hex[:8]}"
    async with as_hub(fabric, subjects.FABRIC) as broker:
        bucket = Bucket(broker, subjects.registry_bucket(subjects.FABRIC))
        machine = Machine(name=name, user=user, created_at=datetime.now(UTC))
        await bucket.write(f"machine.{name}", records.encode(machine), revision=0)
        grant = Grant(id=f"g-{name}", user=user, **granted)
        await bucket.write(f"grant.{grant.id}", records.encode(grant), revision=0)
    home.mkdir()  # noqa: ASYNC240 - a small local one
    fabric.keyring.machine_credential(name).write(machine_credential_path(home))
    shutil.copy(fabric.home / "fabric.json", home)
    return home


@pytest.mark.pitfall(14)
async def test_words_outside_the_lists_numbers_outside_the_bounds_and_capabilities_outside_the_grant_are_refused(
    ann: Warp, fabric: Fabric, project: str, tmp_path: Path
) -> None:
    for tool, argument, wrong in (
        ("update_presence", "status", ("sleeping", "", "ONLINE!", 1, ["busy"])),
        ("update_presence", "currentTaskCount", (-1, 1_000_001, 1.5, "many", True)),
        ("discover_agents", "status", ("idle", "deleted")),
        ("discover_agents", "scope", ("world",)),
        ("discover_agents", "limit", (0, 101, -1, "all")),
        ("join", "visibility", ("everyone",)),
        ("send_message", "importance", ("urgent",)),
        ("broadcast_work_offer", "priority", (0, 11, "high")),
        ("broadcast_work_offer", "maxAttempts", (0, 21)),
        ("broadcast_work_offer", "timeoutSeconds", (0, -1, "forever")),
        ("broadcast_work_offer", "notify", ("email",)),
        ("claim_work", "limit", (0, 11)),
        ("claim_work", "waitSeconds", (-1, 51)),
        ("report_progress", "percent", (-1, 101, "half")),
        ("list_work", "status", ("running",)),
        ("get_work", "field", ("everything",)),
        ("wait_for_events", "kinds", (["weather"],)),
        ("complete_work", "artifacts", ([{"kind": "secret", "value": "x"}],)),
    ):
        needed = {"channel": "general", "message": "x", "description": "x", "workId": "w", "summary": "x"}
        known = {name: value for name, value in needed.items() if name in REQUIRED.get(tool, ())}
        for value in wrong:
            if value == "":
                continue  # as good as left out
            assert await code(ann, tool, **known, **{argument: value}) == "invalid_argument", (tool, argument, value)
    before = await ann.tool("get_agent_info", guid="ann")
    assert (before["status"], before["currentTaskCount"]) == ("online", 0)

    narrow = {
        "projects": (project,), "agent_types": ("codex",), "boundaries": ("open-source",), "capabilities": ("go",),
        "visibility": Visibility.USER_ONLY,
    }  # fmt: skip
    home = await a_machine(fabric, tmp_path / "home", "mallory", **narrow)
    async with warp(home, project=project, client="codex-mcp-client", LOOMINAL_AUTOSTART="0") as mallory:
        await eventually(lambda: _may(mallory, agentType="codex", capabilities=["go"]), SOON)
        for refused, wanted in (
            ({"capabilities": ["go", "python"]}, "forbidden"),
            ({"capabilities": ["GO", "root"]}, "forbidden"),
            ({"agentType": "claude-code"}, "forbidden"),
            ({"agentType": "person"}, "forbidden"),
            ({"boundaries": ["personal"]}, "boundary_refused"),
            ({"boundaries": ["corporate"]}, "boundary_refused"),
            ({"visibility": "public"}, "forbidden"),
        ):
            assert await code(mallory, "register_agent", **{"agentType": "codex"} | refused) == wanted, refused
        assert await code(mallory, "update_presence", capabilities=["python"]) == "forbidden"
        assert (await ann.tool("discover_agents", capability="python"))["total"] == 1
        await ann.tool("broadcast_work_offer", description="x", capabilities=["go"], boundary="personal")
        assert (await mallory.tool("claim_work"))["work"] == []


REQUIRED = {
    "send_message": ("channel", "message"),
    "broadcast_work_offer": ("description",),
    "report_progress": ("workId",),
    "get_work": ("workId",),
    "complete_work": ("workId", "summary"),
}


async def _may(asker: Warp, **registration: Json) -> bool:
    return not await code(asker, "register_agent", visibility="user-only", **registration)


@pytest.mark.pitfall(15)
async def test_an_agent_that_was_offline_is_heard_again(ann: Warp, bob: Warp) -> None:
    freeze(bob.process.pid)
    await eventually(is_at(ann, "bob", "offline"), SOON)
    bob.process.send_signal(signal.SIGCONT)
    await eventually(is_at(ann, "bob", "online"), SOON)
    await hears(ann, bob)

    await bob.tool("update_presence", status="offline")
    assert await is_at(ann, "bob", "offline")()
    await bob.tool("update_presence", status="online")
    await eventually(is_at(ann, "bob", "online"), SOON)
    await hears(ann, bob)

    await bob.tool("deregister_agent")
    await bob.tool("join")
    await hears(ann, bob)
    await asyncio.sleep(2)  # longer than an agent of this fabric is online after its last sign of life
    await eventually(is_at(ann, "bob", "online"), SOON)


async def hears(ann: Warp, bob: Warp) -> None:
    """See that bob gets a message that comes while it waits, and work, and keeps what it claimed."""
    waiting = bob.ask("tools/call", name="read_direct_messages", arguments={"waitSeconds": SOON})
    sent = await ann.tool("send_direct_message", recipientGuid="bob", message="x")
    heard = (await bob.answer(waiting))["result"]["structuredContent"]
    assert [each["id"] for each in heard["messages"]] == [sent["id"]]
    offer = await ann.tool("broadcast_work_offer", description="x", capabilities=["go"])
    [item] = (await bob.tool("claim_work", waitSeconds=SOON))["work"]
    assert item["id"] == offer["id"]
    assert (await bob.tool("complete_work", workId=item["id"], summary="did"))["status"] == "done"
    await bob.tool("read_direct_messages")


@pytest.mark.pitfall(16)
async def test_a_filter_on_status_needs_no_second_flag(ann: Warp, bob: Warp, fabric: Fabric, project: str) -> None:
    async with warp(fabric.home, project=project) as gone:
        await gone.tool("join", handle="gone")
    await eventually(is_at(ann, "gone", "offline"), SOON)
    await bob.tool("update_presence", status="busy")

    async def found(**filters: Json) -> list[str]:
        page = await ann.tool("discover_agents", **filters)
        assert page["total"] == len(page["agents"])
        return [each["handle"] for each in page["agents"]]

    async def all_hold() -> bool:
        by_status = [await found(status=status) for status in ("offline", "busy", "online")]
        return (*by_status, await found()) == (["gone"], ["bob"], ["ann"], ["ann", "bob"])

    await eventually(all_hold, SOON)  # on a starved machine bob, too, may seem to be away for a moment
    assert await found(includeOffline=True) == ["ann", "bob", "gone"]


STRANGE = (
    "node.js", "node-js", "node_js", "c++", "c--", "c", "a b", "a  b", "ab", "*", ">", "a.*", "a.>", ".", "deadletter",
    "dead-letter", "$JS", "é", "#", "%2e", "null", "日本語",
)  # fmt: skip


@pytest.mark.pitfall(17)
async def test_capabilities_that_look_alike_are_as_different_as_their_characters(
    ann: Warp, fabric: Fabric, project: str
) -> None:
    async with fabric.connect("able", project=project, capabilities=STRANGE, max_concurrent=100) as able:
        items = {}
        for name in STRANGE:
            offer = await ann.tool("broadcast_work_offer", description="x", requiredCapability=name, maxAttempts=1)
            items[name] = offer["id"]
        for name, item in items.items():
            page = await ann.tool("list_work", capability=name)
            assert ([each["id"] for each in page["items"]], page["total"]) == ([item], 1), name
            assert [each.id for each in (await able.claim_work(capability=name)).work] == [item], name
            await able.fail_work(item, "no")
        for name, item in items.items():
            letters = await ann.tool("list_dead_letter_items", capability=name)
            assert ([each["id"] for each in letters["items"]], letters["total"]) == ([item], 1), name
            await able.update_presence(capabilities=[name])
            found = {
                other: (await able.discover_agents(capability=other, include_offline=True)).total
                for other in ("c", "ab", name)
            }
            assert found == {other: int(other == name) for other in found}, name
        assert (await ann.tool("list_dead_letter_items"))["total"] == len(STRANGE)


@pytest.mark.pitfall(18)
async def test_neither_environment_nor_arguments_make_one_somebody_else(
    ann: Warp, fabric: Fabric, project: str, tmp_path: Path
) -> None:
    me = await ann.tool("get_my_handle")
    home = await a_machine(fabric, tmp_path / "home", "mallory", projects=(project,), every_boundary=True)
    posing: Json = {
        "LOOMINAL_AUTOSTART": "0",
        "USER": "ann",
        "LOGNAME": "ann",
        "LOOMINAL_USER": "test",
        "HOSTNAME": "ann",
    }
    async with warp(home, project=project, LOOMINAL_HANDLE="ann", **posing) as mallory:
        await eventually(lambda: _is_let_in(mallory), SOON)
        him = await mallory.tool("get_my_handle")
        assert him["guid"] != me["guid"]
        assert him["handle"] != "ann"
        assert await code(mallory, "set_handle", handle="ann") == "handle_taken"
        pose = {"guid": me["guid"], "handle": "ann", "from": me["guid"], "user": "test", "projectId": "other"}
        await mallory.tool("register_agent", agentType="codex", metadata=pose)
        await mallory.tool("send_direct_message", recipientGuid="ann", message="x", metadata=pose)
        [message] = (await ann.tool("read_direct_messages", waitSeconds=SOON))["messages"]
        assert message["from"]["guid"] == him["guid"]
        assert await code(mallory, "send_message", channel="general", message="x", sender=me["guid"])
    async with warp(home, project=project, LOOMINAL_AGENT_ID=me["guid"], **posing) as mallory:
        assert await code(mallory, "get_my_handle") == "forbidden"
    async with warp(home, project=f"{project}-other", **posing) as mallory:
        assert await code(mallory, "get_my_handle") == "forbidden"
    async with warp(
        fabric.home, project=project, LOOMINAL_AGENT_ID=me["guid"]
    ) as again:  # its own user's, but it lives
        assert "in use" in (await again.tool("get_my_handle"))["error"]["message"]
    assert (await ann.tool("get_my_handle")) == me


async def _is_let_in(asker: Warp) -> bool:
    return not await code(asker, "join")


@pytest.mark.pitfall(19)
async def test_no_seed_jwt_or_password_is_stored_shown_or_logged(fabric: Fabric, project: str, tmp_path: Path) -> None:
    secrets = {each for place in fabric.home.rglob("*") if place.is_file() for each in SEED.findall(place.read_bytes())}
    assert len(secrets) > 3  # the keys of operator, accounts and this machine
    log = tmp_path / "warp.log"
    told: list[bytes] = []
    async with warp(fabric.home, project=project, LOG_LEVEL="DEBUG", log=log) as ann:
        await everything(ann, told)
    told += [said_by(fabric.home, *command) for command in (("status",), ("status", "--json"), ("doctor", "--json"))]
    logs = [fabric.weft_log.read_bytes(), fabric.broker_settings.log.read_bytes(), log.read_bytes()]
    stored = await all_records(fabric, project)
    assert min(map(len, (*told, *logs))) > 0
    assert len(stored) > 10
    for text in (*told, *logs, *stored):
        assert SEED.findall(text) + JWT.findall(text) == [], text[:300]
        assert not any(secret in text for secret in secrets)

    password = "hunter2-and-more"
    settings = ServerSettings(directory=tmp_path / "foreign", port=free_port())
    settings.directory.mkdir()
    async with EmbeddedServer(settings) as server:
        named: Json = {
            "NATS_URL": server.url.replace("//", f"//somebody:{password}@"), "NATS_PASS": password,
            "NATS_USER": "somebody", "LOG_LEVEL": "DEBUG",
        }  # fmt: skip
        home, told = tmp_path / "open", []
        with start_weft(home, named) as weft_log:
            async with warp(home, project=project, log=tmp_path / "open.log", **named) as ann:
                await eventually(lambda: _is_let_in(ann), SOON)
                await everything(ann, told)
            told += [said_by(home, command, **named) for command in ("status", "doctor")]
        for text in (*told, weft_log.read_bytes(), (tmp_path / "open.log").read_bytes()):
            assert text
            assert password.encode() not in text, text[:500]


async def everything(ann: Warp, told: list[bytes]) -> None:
    """Let an agent use tools of each kind, and keep every answer."""
    for tool, arguments in (
        ("join", {"handle": "ann", "capabilities": ["python"]}),
        ("get_my_handle", {}),
        ("list_channels", {}),
        ("send_message", {"channel": "general", "message": "x"}),
        ("read_messages", {"channel": "general"}),
        ("discover_agents", {}),
        ("get_agent_info", {"guid": "ann"}),
        ("send_direct_message", {"recipientGuid": "ann", "message": "x"}),
        ("read_direct_messages", {}),
        ("broadcast_work_offer", {"taskId": "t", "description": "x", "capabilities": ["python"]}),
        ("claim_work", {"waitSeconds": SOON}),
        ("report_progress", {"workId": "t", "percent": 1}),
        ("complete_work", {"workId": "t", "summary": "x"}),
        ("get_work", {"workId": "t"}),
        ("wait_for_events", {"waitSeconds": 0}),
        ("set_handle", {"handle": "Not A Handle"}),
    ):
        answer = await ann.call("tools/call", name=tool, arguments=arguments)
        assert answer["isError"] == (tool == "set_handle"), (tool, answer)
        assert "leaseToken" not in str(answer)
        told.append(str(answer).encode())


def said_by(home: Path, *command: str, **environ: str) -> bytes:
    """Return all that a command of `loominal` prints."""
    environment = os.environ | {"LOOMINAL_HOME": str(home)} | environ
    done = subprocess.run(
        [sys.executable, "-m", "loominal", *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


async def all_records(fabric: Fabric, project: str) -> list[bytes]:
    """Return every record of the project's and the fabric's own streams."""
    found: list[bytes] = []
    for account in (project, subjects.FABRIC):
        async with as_hub(fabric, account) as broker:
            bucket = Bucket(broker, subjects.registry_bucket(account))
            found += [entry.value for entry in await bucket.entries()]
    async with as_hub(fabric, project) as broker:
        for kind, stream in (
            ("wk", subjects.work_stream(project)),
            ("spec", subjects.work_stream(project)),
            ("ch", subjects.channels_stream(project)),
            ("in", subjects.inbox_stream(project)),
            ("ev", subjects.events_stream(project)),
        ):
            kept = await Log(broker, stream).page(subjects.every(kind, project), 1, 500)
            found += [record.data + str(record.headers).encode() for record in kept]
    return found


@contextlib.contextmanager
def start_weft(home: Path, environ: dict[str, str]) -> Iterator[Path]:
    """Run a weft on somebody else's broker, and yield where its log is."""
    home.mkdir()
    place = home.parent / "open-weft.log"
    environment = os.environ | {"LOOMINAL_HOME": str(home), "API_PORT": str(free_port())} | environ
    with place.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "loominal.weft.main"], env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield place
    finally:
        process.terminate()
        process.wait(SOON)
